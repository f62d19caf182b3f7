import { test } from 'tap'
import { Dataset, estimateMemory, HRM, HRMError, listDevices, type TrainRun, verify } from '#dist/index.js'
import { type Callable, callWithOddArguments } from '../binding/odd-arguments.js'
import { figure, long } from '../reliability/figures.js'
import { examples, recipe, tiny, tinyDataset } from './fixtures.js'

/** Fields of which a large number, or none, would be valid, and only slow. */
const sizes = new Set(
  [
    ['vocabSize', 'seqLen', 'hiddenSize', 'numHeads', 'hLayers', 'lLayers', 'hCycles', 'lCycles', 'expansion'],
    ['puzzleEmbNdim', 'numPuzzleIdentifiers', 'maxBatch', 'maxWaitMs', 'maxSegments', 'haltMaxSegments', 'threads'],
    ['batchSize', 'globalBatchSize', 'epochs', 'epochsPerIter', 'maxSteps', 'count', 'votes', 'preset', 'batch'],
  ].flat(),
)

/** A function of a module, or a static one, which no receiver concerns. */
const free = (call: (...list: never[]) => unknown): Callable['call'] => call as Callable['call']

async function firstStep(run: TrainRun): Promise<void> {
  for await (const event of run) if (event.type === 'step') break
}

test('the public functions refuse what they cannot take with errors of their own', async (t) => {
  const data = await tinyDataset(t, { train: 8, test: 3 })
  const folder = t.testdirName
  const origin = process.cwd()
  process.chdir(folder)
  t.teardown(() => process.chdir(origin))
  const model = await HRM.create(tiny, { threads: 1 })
  const other = await HRM.create(tiny, { threads: 1, seed: 1 })
  const disposed = await HRM.create(tiny, { threads: 1 })
  disposed.dispose()
  const spare = await HRM.create(tiny, { threads: 1 })
  const spareData = await Dataset.open(data.dir)
  const closed = await Dataset.open(data.dir)
  closed.close()
  await model.save('saved')
  const [puzzle] = examples(1)
  const signal = new AbortController().signal
  const votes = { count: 2, noise: 1, seed: 3, pick: 'q', task: 'grid', models: [other] }
  const solving = { puzzleId: 1, maxSegments: 2, halting: 'q', signal }

  const methods = (
    prefix: string,
    target: object,
    prototype: object,
    lists: Record<string, () => unknown[]>,
    weights: Record<string, number> = {},
  ): Callable[] =>
    Reflect.ownKeys(prototype)
      .filter((key) => key !== 'constructor')
      .map((key) => {
        const { get, value } = Object.getOwnPropertyDescriptor(prototype, key)!
        const method = (get ?? value) as Callable['call']
        const valid = lists[String(key)]
        return {
          name: `${prefix}.${String(key)}`,
          // Iterations are followed to their end, runs to their first step: the defaults make long ones.
          async call(this: unknown, ...list: unknown[]) {
            const result: unknown = Reflect.apply(method, this, list)
            if (key === 'train') return await firstStep(result as TrainRun)
            if (key === 'segments') for await (const state of result as AsyncIterable<unknown>) void state
            return result
          },
          self: () => target,
          weight: weights[String(key)] ?? 8,
          ...(valid ? { valid } : {}),
        }
      })

  const calls: Callable[] = [
    {
      name: 'HRM.create',
      call: free(async (...list: Parameters<typeof HRM.create>) => (await HRM.create(...list)).dispose()),
      valid: () => [{ ...tiny }, { threads: 1, seed: 5, maxBatch: 2, maxWaitMs: 1, device: 'cpu', precision: 'fp32' }],
    },
    {
      name: 'HRM.load',
      call: free(async (...list: Parameters<typeof HRM.load>) => (await HRM.load(...list)).dispose()),
      valid: () => ['saved', { threads: 1, weights: 'raw', signal, maxBatch: 2 }],
      weight: 4,
    },
    ...methods(
      'model',
      model,
      HRM.prototype,
      {
        solve: () => [
          Int32Array.from(puzzle!),
          { ...solving, puzzleIds: [1], puzzleId: undefined, out: new Int32Array(tiny.seqLen), votes },
        ],
        segments: () => [puzzle, { ...solving }],
        train: () => [data, { ...recipe, maxSteps: 1, evalInterval: 1, finalWeights: 'raw', resume: false, signal }],
        evaluate: () => [data, { split: 'test', batchSize: 2, maxExamples: 2, halting: 'q', maxSegments: 1, signal }],
        save: () => ['saved'],
      },
      { save: 1, train: 4 },
    ).filter(({ name }) => !/dispose/i.test(name)),
    // What ends a model is called on one that has ended.
    ...methods('disposed', disposed, HRM.prototype, {}).map((callable) => ({ ...callable, weight: 1 })),
    {
      name: 'Dataset.open',
      call: free(async (...list: Parameters<typeof Dataset.open>) => (await Dataset.open(...list)).close()),
      valid: () => [data.dir],
      weight: 2,
    },
    ...methods('data', data, Dataset.prototype, {
      metadata: () => ['train'],
      sets: () => ['train'],
      example: () => ['train', 'all', 1],
    }).filter(({ name }) => !/close|dispose/i.test(name)),
    ...methods('closed', closed, Dataset.prototype, { example: () => ['train', 'all', 1] }).map((callable) => ({
      ...callable,
      weight: 1,
    })),
    { name: 'estimateMemory', call: free(estimateMemory), valid: () => [{ ...tiny }, { batch: 2, train: true }] },
    { name: 'verify', call: free(verify), valid: () => ['sudoku', new Int32Array(16).fill(2), new Uint8Array(16)] },
    { name: 'listDevices', call: free(listDevices), weight: 1 },
  ]

  const before = await model.solve(examples(3))
  const total = long ? 100_000 : 3000
  const fits = (field: string, value: unknown) => {
    return !(sizes.has(field) && (value === undefined || (typeof value === 'number' && value > 2)))
  }
  const objects = [
    spare,
    disposed,
    spareData,
    closed,
    HRM.prototype,
    Dataset.prototype,
    AbortSignal.abort(new HRMError('ERR_HRM_IO', 'stop')),
  ]
  const counts = await callWithOddArguments(t, { lists: total, calls, objects, fits })
  for (const name of [
    'HRM.create',
    'model.solve',
    'model.segments',
    'model.train',
    'model.evaluate',
    'estimateMemory',
  ]) {
    const { accepted, refused } = counts.get(name)!
    t.ok(accepted > 0 && refused > 0, `${name}: ${accepted} accepted, ${refused} refused`)
  }
  const sum = (kind: 'accepted' | 'refused') => [...counts.values()].reduce((all, count) => all + count[kind], 0)
  t.equal((await model.solve(examples(3))).length, before.length, 'the model still solves')
  t.equal(data.example('train', 'all', 7).inputs.length, tiny.seqLen, 'the dataset is still open')
  figure(t, 'arguments-facade', {
    lists: total,
    functions: calls.length,
    accepted: sum('accepted'),
    refused: sum('refused'),
    'other errors': 0,
    crashes: 0,
  })
  spareData.close()
  for (const each of [model, other, spare]) each.dispose()
})
