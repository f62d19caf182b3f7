import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { test } from 'tap'
import { parseAugmentedName, undoAugmentation } from '#dist/arc/augment.js'
import { buildArc, type ArcBuildOptions } from '#dist/arc/build.js'
import { cropGrid, gridCorner } from '#dist/arc/encode.js'
import { gridRows } from '#dist/arc/grid.js'
import { DatasetWriter } from '#dist/dataset-writer.js'
import { Dataset, type Split } from '#dist/dataset.js'
import { hrm, lastJson } from '../cli/process.js'
import { hrmError } from '../data/fixtures.js'
import { task } from './fixtures.js'

/** A task unlike `task` in every augmentation. */
const other = {
  train: [{ input: [[1, 2, 3]], output: [[1], [2], [3]] }],
  test: [
    { input: [[4, 5, 6, 7]], output: [[4], [5], [6], [7]] },
    { input: [[8, 9]], output: [[8], [9]] },
  ],
}

/** A folder as those of ARC: two tasks to train on, one to be evaluated. */
const tree = {
  training: { 'aaa.json': JSON.stringify(task), 'bbb.json': JSON.stringify({ name: 'x', ...task, test: task.train }) },
  evaluation: { 'ccc.json': JSON.stringify(other) },
}

function build(dir: string, options: Partial<ArcBuildOptions> = {}) {
  return buildArc({ sources: [join(dir, 'arc')], outDir: join(dir, 'out'), numAug: 12, seed: 3, ...options })
}

interface ReadPuzzle {
  name: string
  /** As tokens and as grids, with augmentation and translation undone. */
  examples: { inputs: Int32Array; labels: Int32Array; pair: { input: number[][]; output: number[][] } }[]
}

/** All puzzles of a split, group by group. */
async function puzzles(dir: string, split: Split): Promise<ReadPuzzle[][]> {
  const dataset = await Dataset.open(dir)
  const names = dataset.identifiers()
  const [set] = dataset.sets(split)
  const groups: ReadPuzzle[][] = []
  for (let group = 0; group < set!.numGroups; group++) {
    const read: ReadPuzzle[] = []
    for (let puzzle = set!.groupIndices[group]!; puzzle < set!.groupIndices[group + 1]!; puzzle++) {
      const examples: ReadPuzzle['examples'] = []
      let name = ''
      for (let example = set!.puzzleStart(puzzle); example < set!.puzzleStart(puzzle + 1); example++) {
        const { inputs, labels, puzzleId } = dataset.example(split, 'all', example)
        name = names[puzzleId]!
        const { augmentation } = parseAugmentedName(name)
        const [input, output] = [inputs, labels].map((tokens) => {
          const { row, column } = gridCorner(inputs)
          const grid = cropGrid(tokens, row, column)
          return gridRows(augmentation ? undoAugmentation(grid, augmentation) : grid)
        })
        examples.push({ inputs, labels, pair: { input: input!, output: output! } })
      }
      read.push({ name, examples })
    }
    groups.push(read)
  }
  dataset.close()
  return groups
}

test('demonstrations and pairs of training tasks go to train, tests of evaluation tasks to test', async (t) => {
  const dir = t.testdir({ arc: tree })
  const result = await build(dir)
  t.same(result.splits, {
    train: { groups: 3, puzzles: 39, examples: 13 * (3 + 4 + 1) },
    test: { groups: 1, puzzles: 13, examples: 26 },
  })
  t.match(result, { tasks: 3, repeated: 0, short: 0 })
  const train = await puzzles(join(dir, 'out'), 'train')
  const test = await puzzles(join(dir, 'out'), 'test')
  const expected = [[...task.train, ...task.test], [...task.train, ...task.train], other.train]
  for (const [group, pairs] of expected.entries()) {
    t.equal(train[group]!.length, 13)
    for (const { examples } of train[group]!) {
      t.same(
        examples.map(({ pair }) => pair),
        pairs,
        'every augmentation can be undone',
      )
    }
  }
  for (const { examples } of test[0]!) {
    t.same(
      examples.map(({ pair }) => pair),
      other.test,
    )
  }
  t.same(
    test[0]!.map(({ name }) => name),
    train[2]!.map(({ name }) => name),
    'both splits use the same identifiers',
  )
  t.same(
    train.map(([first]) => first!.name),
    ['aaa', 'bbb', 'ccc'],
  )
  const names = train.flat().map(({ name }) => name)
  t.equal(new Set(names).size, 39)
  t.same(JSON.parse(readFileSync(join(dir, 'out/identifiers.json'), 'utf8')), ['<blank>', ...names])
  t.match(JSON.parse(readFileSync(join(dir, 'out/test/dataset.json'), 'utf8')), {
    pad_id: 0,
    ignore_label_id: 0,
    blank_identifier_id: 0,
    vocab_size: 12,
    seq_len: 900,
    num_puzzle_identifiers: 40,
    total_groups: 1,
    mean_puzzle_examples: 2,
    sets: ['all'],
    task: 'arc',
  })
})

test('in training all pairs of a puzzle but one are moved, input and output alike; in test none', async (t) => {
  const dir = t.testdir({ arc: tree })
  await build(dir, { numAug: 60 })
  const corner = (tokens: Int32Array) => tokens.findIndex((token) => token >= 2)
  let moved = 0
  let pairs = 0
  for (const { examples } of (await puzzles(join(dir, 'out'), 'train')).flat()) {
    for (const { inputs, labels } of examples) {
      // Black in a corner does not shift the first colour, as it has a token of its own.
      t.equal(corner(inputs), corner(labels))
      moved += corner(inputs) > 0 ? 1 : 0
      pairs++
    }
    t.ok(
      examples.some(({ inputs }) => corner(inputs) === 0),
      'one stays in the corner',
    )
  }
  // Of 3, 4 and 1 pairs 2, 3 and 0 are moved, hardly ever to where they were.
  t.ok(moved > 0.98 * (5 / 8) * pairs && moved <= (5 / 8) * pairs, `${moved} of ${pairs} moved`)
  for (const { examples } of (await puzzles(join(dir, 'out'), 'test')).flat()) {
    t.ok(examples.every(({ inputs, labels }) => corner(inputs) === 0 && corner(labels) === 0))
  }
})

test('the same tasks give the same bytes, in whatever files and order they come', async (t) => {
  const dir = t.testdir({ arc: tree })
  const files = [...(await build(dir)).files]
  mkdirSync(join(dir, 'again'))
  writeFileSync(join(dir, 'again/b-evaluation.json.gz'), gzipSync(JSON.stringify({ ccc: other })))
  writeFileSync(join(dir, 'again/a.json'), JSON.stringify({ bbb: { ...task, test: task.train }, aaa: task }))
  const sources = ['b-evaluation.json.gz', 'a.json'].map((name) => join(dir, 'again', name))
  const again = await build(dir, { sources, outDir: join(dir, 'out2') })
  t.same([...again.files], files)
  const twice = await build(dir, { sources: [...sources, ...sources], outDir: join(dir, 'out3') })
  t.same([...twice.files], files, 'a task that comes again changes nothing')
  t.equal(twice.repeated, 3)
  const turned = join(dir, 'again/turned.json')
  writeFileSync(turned, JSON.stringify({ aaa: { ...task, train: task.train.toReversed() } }))
  const first = await build(dir, { sources: [turned, ...sources], outDir: join(dir, 'out6') })
  const last = await build(dir, { sources: [...sources, turned], outDir: join(dir, 'out7') })
  t.same([...last.files], [...first.files], 'nor does it count which of two orders of its pairs comes first')
  t.not((await build(dir, { seed: 4, outDir: join(dir, 'out4') })).hash, again.hash)
  const alone = await build(dir, { sources: [join(dir, 'arc/training/bbb.json')], outDir: join(dir, 'out5') })
  t.equal(alone.splits.test, undefined)
  t.same(
    (await puzzles(join(dir, 'out5'), 'train'))[0],
    (await puzzles(join(dir, 'out'), 'train'))[1],
    'a task has the same augmentations without the others',
  )
})

test('a file counts as evaluation by its own name, its folder, or a folder below the path given', async (t) => {
  const one = JSON.stringify(other)
  const dir = t.testdir({
    evaluation: { deep: { 'a.json': one, folder: { 'b.json': one } } },
    plain: { 'evaluation2.json': one, 'c.json': one },
  })
  const split = async (source: string) => {
    const { splits } = await build(dir, {
      sources: [join(dir, source)],
      numAug: 0,
      outDir: join(dir, `out-${source.replaceAll('/', '-')}`),
    })
    return splits.test?.groups ?? 0
  }
  t.equal(await split('evaluation'), 2)
  t.equal(await split('evaluation/deep'), 0, 'folders above the one given do not count')
  t.equal(await split('evaluation/deep/folder/b.json'), 0)
  t.equal(await split('plain'), 1)
  t.equal(await split('plain/evaluation2.json'), 1)
  const direct = t.testdir({ evaluation: { 'a.json': one } })
  t.ok((await build(direct, { sources: [join(direct, 'evaluation/a.json')] })).splits.test)
})

test('a task with a test pair without output is for the test split, without labels', async (t) => {
  const open = { train: other.train, test: [other.test[0]!, { input: [[5, 5]] }] }
  const dir = t.testdir({ arc: { 'aaa.json': JSON.stringify(task), 'open.json': JSON.stringify(open) } })
  const { splits, leaks } = await build(dir)
  t.same(splits.test, { groups: 1, puzzles: 13, examples: 26 })
  t.match(leaks, { testExamples: 2, leaked: 0 })
  for (const { examples } of (await puzzles(join(dir, 'out'), 'test'))[0]!) {
    t.same(examples[0]!.pair, other.test[0])
    t.same(examples[1]!.pair, { input: [[5, 5]], output: [] })
    t.ok(examples[1]!.labels.every((label) => label === -100))
    t.same(cropGrid(examples[1]!.labels), { height: 0, width: 0, cells: new Uint8Array() })
  }
})

test('tasks of one id with other pairs are groups of their own that share identifiers', async (t) => {
  const changed = { ...task, test: [{ input: [[7, 7]], output: [[7]] }] }
  const dir = t.testdir({
    arc: { 'a.json': JSON.stringify({ aaa: task }), 'b.json': JSON.stringify({ aaa: changed }) },
  })
  const { tasks, splits } = await build(dir)
  t.equal(tasks, 2)
  t.match(splits.train, { groups: 2, puzzles: 26 })
  const [first, second] = (await puzzles(join(dir, 'out'), 'train')).map((group) => group.map(({ name }) => name))
  t.same(first, second)
  t.equal(JSON.parse(readFileSync(join(dir, 'out/identifiers.json'), 'utf8')).length, 14)
})

test('symmetric tasks have as many versions as there are', async (t) => {
  // One cell of one colour but black: nine versions, the task among them.
  const dot = { train: [{ input: [[1]], output: [[1]] }], test: [{ input: [[1]], output: [[1]] }] }
  const dir = t.testdir({ arc: { 'dot.json': JSON.stringify(dot) } })
  const { splits, short } = await build(dir, { numAug: 100 })
  t.equal(splits.train!.puzzles, 9)
  t.equal(short, 1)
})

test('test pairs that training has in another augmentation are found', async (t) => {
  const turned = { input: [[4], [9], [2]], output: [[4, 9, 2]] }
  const dir = t.testdir({
    arc: {
      'one.json': JSON.stringify({ train: [turned], test: task.test }),
      evaluation: { 'ccc.json': JSON.stringify({ train: task.train, test: [...other.test, ...other.train] }) },
    },
  })
  t.same((await build(dir)).leaks, {
    compared: 'pairs up to colours and symmetry',
    testExamples: 3,
    leaked: 1,
    firstLeaked: ['ccc test[2]'],
  })
})

test('what cannot be built is an error and leaves nothing', async (t) => {
  const dir = t.testdir({
    arc: tree,
    evaluation: { 'ccc.json': JSON.stringify({ ...other, test: [other.test[1]] }) },
    empty: {},
  })
  const sources = [join(dir, 'arc'), join(dir, 'evaluation')]
  t.match(await hrmError(() => build(dir, { sources })), {
    code: 'ERR_HRM_DATASET',
    message: /one evaluation task "ccc", got others in .*arc.*ccc\.json and .*evaluation.ccc\.json/,
  })
  for (const name of ['empty', 'none']) {
    t.match(await hrmError(() => build(dir, { sources: [join(dir, name)] })), {
      code: 'ERR_HRM_DATASET',
      message: new RegExp(`${name}; do check`),
    })
  }
  await t.rejects(build(dir, { numAug: -1 }), { code: 'ERR_HRM_ARGUMENT' })
  await t.rejects(build(dir, { signal: AbortSignal.abort(new Error('stop')) }), { message: 'stop' })
  await t.rejects(Dataset.open(join(dir, 'out')), { message: /no such folder/ })
})

test('hashing tells how far it is, and ends where its caller throws', async (t) => {
  const description = {
    padId: 0,
    ignoreLabelId: 0,
    blankIdentifierId: 0,
    vocabSize: 3,
    seqLen: 2,
    numPuzzleIdentifiers: 1,
  }
  const filled = async (dir: string, onHash: (done: number, total: number) => void) => {
    const writer = await DatasetWriter.create(dir, { onHash })
    const split = writer.split('train', description)
    split.beginSet('all')
    split.example([1, 2], [2, 1])
    split.endPuzzle(0)
    split.endGroup()
    await split.finish()
    return writer
  }
  const dir = t.testdir({})
  const seen: [number, number][] = []
  await (await filled(join(dir, 'out'), (done, total) => seen.push([done, total]))).commit(['<blank>'])
  const size = seen[0]![1]
  t.same(seen.at(-1), [size, size])
  t.ok(seen.length === 6 && seen.every(([done], at) => at === 0 || done > seen[at - 1]![0]))
  const stopped = await filled(join(dir, 'stopped'), () => AbortSignal.abort().throwIfAborted())
  await t.rejects(stopped.commit(['<blank>']), { name: 'AbortError' })
  stopped.abort()
  await t.rejects(Dataset.open(join(dir, 'stopped')), { code: 'ERR_HRM_DATASET' })
})

test('hrm data arc builds, warns of leaks and says what it wrote', async (t) => {
  const twin = { ...tree, training: { ...tree.training, 'ddd.json': JSON.stringify(other) } }
  const dir = t.testdir({ arc: twin })
  const args = ['data', 'arc', 'arc/training', 'arc/evaluation', '-o', 'out', '--num-aug', '5', '--seed', '7']
  const json = await hrm([...args, '--json'], { cwd: dir })
  t.equal(json.code, 0, json.stderr)
  const dataset = await Dataset.open(join(dir, 'out'))
  t.match(lastJson(json.stdout), {
    type: 'result',
    dir: 'out',
    tasks: 4,
    seed: 7,
    splits: { train: { groups: 4, puzzles: 24 }, test: { groups: 1, puzzles: 6, examples: 12 } },
    leaks: { testExamples: 2, leaked: 2 },
    hash: await dataset.hash(),
    sha256: Object,
  })
  t.match(json.stderr, /warning: 2 of 2 test puzzles also occur in train/)
  t.match(json.stderr, /write 4\/4/)
  t.equal(dataset.metadata('train').task, 'arc')
  dataset.close()
  const plain = await hrm(args, { cwd: dir })
  t.match(plain.stdout, /^out\/train: 4 puzzles in 24 versions, [0-9]+ examples\nout\/test: .*\nsha256 [0-9a-f]{64}\n$/)
  t.equal((await hrm(['data', 'arc', '-o', 'out2'], { cwd: dir })).code, 2)
  t.equal((await hrm(['data', 'arc', 'nothing', '-o', 'out2'], { cwd: dir })).code, 3)
})
