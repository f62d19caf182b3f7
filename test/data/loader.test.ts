import { join } from 'node:path'
import fc from 'fast-check'
import { test } from 'tap'
import { type Batch, Dataset, IGNORE_LABEL } from '#dist/dataset.js'
import { evalBatches, TrainLoader, type TrainLoaderState } from '#dist/loader.js'
import { readSafetensors, type SafetensorsFile } from '#dist/safetensors.js'
import { golden, hrmError, npy, smallSplit, unlessGolden, writeSplit } from './fixtures.js'

async function goldenBatches(file: SafetensorsFile, prefix: string): Promise<Batch[]> {
  const batches: Batch[] = []
  const read = async (name: string): Promise<Int32Array> => (await file.read(name)) as Int32Array
  while (file.has(`${prefix}.${batches.length}.inputs`)) {
    const at = `${prefix}.${batches.length}`
    batches.push({
      inputs: await read(`${at}.inputs`),
      labels: await read(`${at}.labels`),
      puzzleIds: await read(`${at}.puzzle_identifiers`),
    })
  }
  if (batches.length === 0) throw new Error(`no ${prefix} batches in ${file.path}`)
  return batches
}

/** Group of 8 puzzles of 1 to 8 examples and a group of one puzzle with 5; the first token of an example is its number. */
function groupedSplit(): Record<string, Uint8Array | string> {
  const sizes = [1, 2, 3, 4, 5, 6, 7, 8, 5, 1]
  const indices = [0]
  for (const size of sizes) indices.push(indices.at(-1)! + size)
  const examples = indices.at(-1)!
  const metadata = JSON.parse(smallSplit()['dataset.json'] as string) as object
  const tokens = Array.from({ length: examples * 4 }, (_, index) => (index % 4 === 0 ? index / 4 : 1))
  return {
    'dataset.json': JSON.stringify({
      ...metadata,
      vocab_size: 50,
      num_puzzle_identifiers: 11,
      total_groups: 3,
      mean_puzzle_examples: 4.2,
    }),
    'all__inputs.npy': npy('|u1', [examples, 4], tokens),
    'all__labels.npy': npy('|u1', [examples, 4], tokens),
    'all__puzzle_identifiers.npy': npy(
      '<i4',
      [10],
      sizes.map((_, index) => index + 1),
    ),
    'all__puzzle_indices.npy': npy('<i4', [11], indices),
    'all__group_indices.npy': npy('<i4', [4], [0, 8, 9, 10]),
  }
}

/** One example, so that batches show which groups were drawn: `groups` groups of one puzzle. */
function plainSplit(groups: number, sets: readonly string[] = ['all']): Record<string, Uint8Array | string> {
  const metadata = JSON.parse(smallSplit()['dataset.json'] as string) as object
  const files: Record<string, Uint8Array | string> = {
    'dataset.json': JSON.stringify({
      ...metadata,
      vocab_size: 256,
      num_puzzle_identifiers: 256,
      total_groups: groups * sets.length,
      mean_puzzle_examples: 1,
      sets,
    }),
  }
  sets.forEach((set, number) => {
    const numbers = Array.from({ length: groups }, (_, index) => number * groups + index)
    const indices = Array.from({ length: groups + 1 }, (_, index) => index)
    files[`${set}__inputs.npy`] = npy(
      '<i4',
      [groups, 4],
      numbers.flatMap((value) => [value, 1, 1, 1]),
    )
    files[`${set}__labels.npy`] = npy(
      '<i4',
      [groups, 4],
      numbers.flatMap((value) => [value, 1, 1, 1]),
    )
    files[`${set}__puzzle_identifiers.npy`] = npy('<i4', [groups], numbers)
    files[`${set}__puzzle_indices.npy`] = npy('<i4', [groups + 1], indices)
    files[`${set}__group_indices.npy`] = npy('<i4', [groups + 1], indices)
  })
  return files
}

function rest(loader: TrainLoader): Batch[] {
  const batches: Batch[] = []
  for (let batch = loader.next(); batch !== undefined; batch = loader.next()) batches.push(batch)
  return batches
}

const ids = (batches: Batch[]): number[] => batches.flatMap((batch) => [...batch.puzzleIds])

void test(
  'evaluation batches are those of the official loader',
  { skip: unlessGolden('ckpt/loader_batches.safetensors') },
  async (t) => {
    for (const [data, file] of [
      ['sudoku-tiny', 'loader_batches'],
      ['grouped-tiny', 'grouped_batches'],
    ] as const) {
      const dataset = await Dataset.open(join(golden, 'ckpt', data))
      const recorded = await readSafetensors(join(golden, 'ckpt', `${file}.safetensors`))
      const expected = await goldenBatches(recorded, 'test')
      const counts: number[] = []
      for (let index = 0; index < expected.length; index++)
        counts.push(((await recorded.read(`test.${index}.global_batch_size`)) as Int32Array)[0]!)
      const found = [...evalBatches(dataset, 'test', expected[0]!.puzzleIds.length)]
      t.same(
        found.map(({ count }) => count),
        counts,
      )
      t.same(
        found.map(({ batch }) => batch),
        expected,
      )
      t.ok(found.every(({ set }) => set === 'all'))
      dataset.close()
      await recorded.close()
    }
  },
)

void test(
  'training batches keep what holds of the official ones',
  { skip: unlessGolden('ckpt/loader_batches.safetensors') },
  async (t) => {
    const dataset = await Dataset.open(join(golden, 'ckpt/sudoku-tiny'))
    const recorded = await readSafetensors(join(golden, 'ckpt/loader_batches.safetensors'))
    const official = await goldenBatches(recorded, 'train')
    const loader = new TrainLoader(dataset, { batchSize: 4, epochs: 2, seed: 0, epochsPerIter: 2 })
    const found = rest(loader)
    t.equal(found.length, official.length)
    t.equal(loader.totalSteps, 3)
    const set = dataset.sets('train')[0]!
    const groupOf = new Map<string, number>()
    for (let group = 0; group < set.numGroups; group++) {
      for (
        let example = set.puzzleStart(set.groupIndices[group]!);
        example < set.puzzleStart(set.groupIndices[group + 1]!);
        example++
      ) {
        const { inputs, labels } = dataset.example('train', 'all', example)
        groupOf.set(`${inputs.join()}|${labels.join()}`, group)
      }
    }
    const groups = (batches: Batch[]): number[] =>
      batches.flatMap(({ inputs, labels }) =>
        Array.from({ length: 4 }, (_, row) => {
          const cut = (values: Int32Array): string => values.subarray(row * 81, row * 81 + 81).join()
          const group = groupOf.get(`${cut(inputs)}|${cut(labels)}`)
          if (group === undefined) throw new Error(`row ${row} is no example of the dataset`)
          return group
        }),
      )
    for (const batches of [official, found]) {
      const drawn = groups(batches)
      t.same(drawn.slice(0, 6).toSorted(), [0, 1, 2, 3, 4, 5], 'first epoch')
      t.same(drawn.slice(6).toSorted(), [0, 1, 2, 3, 4, 5], 'second epoch, though it starts inside a batch')
    }
    dataset.close()
    await recorded.close()
  },
)

void test('padding rows hold pad tokens, ignored labels and the blank identifier', async (t) => {
  const files = smallSplit()
  const metadata = JSON.parse(files['dataset.json'] as string) as object
  files['dataset.json'] = JSON.stringify({ ...metadata, pad_id: 5, blank_identifier_id: 2, ignore_label_id: null })
  const dataset = await Dataset.open(writeSplit(t.testdir(), 'test', files))
  const batches = [...evalBatches(dataset, 'test', 4)]
  t.equal(batches.length, 2)
  const { batch, count } = batches[1]!
  t.equal(count, 2)
  t.same(
    [...batch.inputs.subarray(8)],
    Array.from({ length: 8 }, () => 5),
  )
  t.same(
    [...batch.labels.subarray(8)],
    Array.from({ length: 8 }, () => IGNORE_LABEL),
  )
  t.same([...batch.puzzleIds], [3, 3, 2, 2])
  t.same(
    [...evalBatches(dataset, 'test', 4, { maxExamples: 3 })].map((found) => found.count),
    [3],
  )
  dataset.close()
})

void test('an epoch visits each group once, in another order each time', async (t) => {
  const dataset = await Dataset.open(writeSplit(t.testdir(), 'train', plainSplit(30)))
  const drawn = ids(rest(new TrainLoader(dataset, { batchSize: 7, epochs: 7, seed: 3 })))
  t.equal(drawn.length, 210, 'batches run across the borders of epochs')
  const epochs = Array.from({ length: 7 }, (_, epoch) => drawn.slice(epoch * 30, epoch * 30 + 30))
  for (const epoch of epochs)
    t.same(
      epoch.toSorted((a, b) => a - b),
      Array.from({ length: 30 }, (_, group) => group),
    )
  t.equal(new Set(epochs.map(String)).size, 7)
  dataset.close()
})

void test('a puzzle gives different examples, as many as the batch has room for', async (t) => {
  const dataset = await Dataset.open(writeSplit(t.testdir(), 'train', groupedSplit()))
  const set = dataset.sets('train')[0]!
  const seenPuzzles = new Set<number>()
  const seenExamples = new Set<number>()
  const batchSize = 6
  for (const { inputs, puzzleIds } of rest(new TrainLoader(dataset, { batchSize, epochs: 300, seed: 0 }))) {
    let row = 0
    while (row < batchSize) {
      const puzzle = puzzleIds[row]! - 1
      seenPuzzles.add(puzzle)
      const start = set.puzzleStart(puzzle)
      const size = set.puzzleStart(puzzle + 1) - start
      const count = Math.min(size, batchSize - row)
      const examples = Array.from({ length: count }, (_, index) => inputs[(row + index) * 4]!)
      t.equal(new Set(examples).size, count, 'without replacement')
      for (const example of examples) {
        if (example < start || example >= start + size) t.fail(`example ${example} is not of puzzle ${puzzle}`)
        seenExamples.add(example)
      }
      row += count
    }
    t.equal(row, batchSize)
  }
  t.equal(seenPuzzles.size, 10, 'every puzzle is drawn')
  t.equal(seenExamples.size, 42, 'every example is drawn')
  dataset.close()
})

void test('epochsPerIter drops the partial batch of each block, the single stream only the last', async (t) => {
  const dataset = await Dataset.open(writeSplit(t.testdir(), 'train', plainSplit(10)))
  const load = (epochsPerIter?: number): number[] =>
    ids(
      rest(
        new TrainLoader(dataset, {
          batchSize: 4,
          epochs: 6,
          seed: 1,
          ...(epochsPerIter === undefined ? {} : { epochsPerIter }),
        }),
      ),
    )
  const stream = load()
  t.equal(stream.length, 60)
  t.equal(load(1).length, 6 * 8)
  t.equal(load(2).length, 60)
  t.equal(load(3).length, 2 * 28)
  t.same(load(6), stream, 'one block is the stream')
  t.same(load(3).slice(0, 28), stream.slice(0, 28))
  t.same(load(3).slice(28), stream.slice(30, 58), 'blocks draw what the stream draws')
  t.equal(new TrainLoader(dataset, { batchSize: 4, epochs: 6, seed: 1, epochsPerIter: 3 }).totalSteps, 15)
  dataset.close()
})

void test('several sets are mixed in one stream and follow each other with epochsPerIter', async (t) => {
  const dataset = await Dataset.open(writeSplit(t.testdir(), 'train', plainSplit(6, ['a', 'b'])))
  const stream = ids(rest(new TrainLoader(dataset, { batchSize: 4, epochs: 2, seed: 0 })))
  t.same(
    stream.slice(0, 12).toSorted((a, b) => a - b),
    Array.from({ length: 12 }, (_, index) => index),
  )
  t.ok(stream.slice(0, 6).some((id) => id >= 6) && stream.slice(0, 6).some((id) => id < 6), 'mixed')
  const cut = ids(rest(new TrainLoader(dataset, { batchSize: 4, epochs: 4, seed: 0, epochsPerIter: 2 })))
  t.same(
    cut.map((id) => (id < 6 ? 'a' : 'b')).join(''),
    'a'.repeat(12) + 'b'.repeat(12) + 'a'.repeat(12) + 'b'.repeat(12),
  )
  dataset.close()
})

void test('the seed decides the data', async (t) => {
  const dataset = await Dataset.open(writeSplit(t.testdir(), 'train', groupedSplit()))
  const load = (seed: number): Batch[] => rest(new TrainLoader(dataset, { batchSize: 5, epochs: 9, seed }))
  t.same(load(4), load(4))
  t.notSame(load(4), load(5))
  t.same(
    load(0)
      .slice(0, 2)
      .map(({ inputs }) => [...inputs].filter((_, index) => index % 4 === 0)),
    [
      [3, 5, 4, 41, 40],
      [41, 2, 1, 40, 36],
    ],
    'the same on every platform and in every version',
  )
  dataset.close()
})

void test('a loader restored from JSON at any batch goes on with the same batches', async (t) => {
  const dir = writeSplit(t.testdir(), 'train', groupedSplit())
  const dataset = await Dataset.open(dir)
  await fc.assert(
    fc.asyncProperty(
      fc.nat(1000),
      fc.integer({ min: 1, max: 9 }),
      fc.constantFrom(undefined, 1, 2, 3, 6),
      async (seed, batchSize, epochsPerIter) => {
        const options = { batchSize, epochs: 6, seed, ...(epochsPerIter === undefined ? {} : { epochsPerIter }) }
        const whole = new TrainLoader(dataset, options)
        const states: string[] = []
        const batches: (Batch | undefined)[] = []
        do {
          states.push(JSON.stringify(whole.state()))
          batches.push(whole.next())
        } while (batches.at(-1) !== undefined)
        states.forEach((state, index) => {
          const again = new TrainLoader(dataset, options)
          again.restore(JSON.parse(state) as TrainLoaderState)
          t.same(JSON.stringify(again.state()), state)
          t.same(again.next(), batches[index])
          t.same(again.next(), batches[index + 1])
        })
      },
    ),
    { numRuns: 25 },
  )
  dataset.close()
})

void test('a state that does not fit is refused', async (t) => {
  const dataset = await Dataset.open(writeSplit(t.testdir(), 'train', groupedSplit()))
  const loader = new TrainLoader(dataset, { batchSize: 5, epochs: 9, seed: 0 })
  loader.next()
  const state = loader.state()
  const changes = [
    { seed: 1 },
    { batchSize: 4 },
    { epochsPerIter: 3 },
    { groups: 4 },
    { passage: 2 },
    { passage: -1 },
    { epoch: 10 },
    { position: 3 },
    { position: 0.5 },
    { position: '1' },
  ]
  for (const change of changes) {
    const changed = { ...state, ...change } as TrainLoaderState
    const error = await hrmError(() => loader.restore(changed))
    t.match(error, { code: 'ERR_HRM_CHECKPOINT', message: new RegExp(Object.keys(change)[0]!) })
  }
  for (const value of [null, undefined, 3, 'x', []]) {
    t.match(await hrmError(() => loader.restore(value as unknown as TrainLoaderState)), { code: 'ERR_HRM_CHECKPOINT' })
  }
  t.same(loader.state(), state, 'a refused state changes nothing')
  dataset.close()
})

void test('wrong options are argument errors', async (t) => {
  const dataset = await Dataset.open(writeSplit(t.testdir(), 'train', plainSplit(3)))
  const good = { batchSize: 2, epochs: 4, seed: 0 }
  for (const change of [
    { batchSize: 0 },
    { batchSize: 1.5 },
    { epochs: -1 },
    { seed: -1 },
    { epochsPerIter: 3 },
    { epochsPerIter: 0 },
  ]) {
    t.throws(() => new TrainLoader(dataset, { ...good, ...change }), { name: 'RangeError', code: 'ERR_HRM_ARGUMENT' })
  }
  t.throws(() => new TrainLoader(dataset, { ...good, epochs: '4' as unknown as number }), {
    name: 'TypeError',
    code: 'ERR_HRM_ARGUMENT',
  })
  t.throws(() => [...evalBatches(dataset, 'train', 0)], { code: 'ERR_HRM_ARGUMENT' })
  t.throws(() => [...evalBatches(dataset, 'test', 2)], { code: 'ERR_HRM_DATASET' })
  dataset.close()
})

void test('the schedule has the official length', async (t) => {
  const files = plainSplit(100)
  const dataset = await Dataset.open(writeSplit(t.testdir(), 'train', files))
  for (const [batchSize, epochs, steps] of [
    [384, 20000, 5208],
    [7, 3, 42],
    [301, 3, 0],
  ] as const) {
    t.equal(new TrainLoader(dataset, { batchSize, epochs, seed: 0 }).totalSteps, steps)
  }
  dataset.close()
})
