import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test, type Test } from 'tap'
import { resolveModelConfig } from '#dist/config.js'
import { Engine } from '#dist/engine.js'
import { HRM, type SolveResult } from '#dist/index.js'
import { native, type NativeEngineOptions } from '#dist/native.js'
import { Solver } from '#dist/solver.js'
import { examples, recipe, rejection, tiny, tinyDataset } from './fixtures.js'

async function create(t: Test, options = {}): Promise<HRM> {
  const model = await HRM.create(tiny, { seed: 1, precision: 'int8', ...options })
  t.teardown(() => model.dispose())
  return model
}

/** A solver whose Q head is wide awake: its logits show every change of the states. */
async function awakeSolver(t: Test, options: Partial<NativeEngineOptions>, maxBatch: number): Promise<Solver> {
  const config = resolveModelConfig({ ...tiny, haltMaxSegments: 12 })
  const engine = new native.Engine(config, { device: 'cpu', threads: 1, precision: 'int8', isa: '', ...options })
  t.teardown(() => engine.dispose())
  await engine.init(3)
  const weight = Float32Array.from({ length: 2 * config.hiddenSize }, (_, i) => -3 * Math.sin(1 + i * i))
  await engine.write('inner.q_head.weight', weight)
  return new Solver(new Engine(engine), config, { maxBatch, maxWaitMs: 0 })
}

test('an int8 model solves close to the fp32 one, on every instruction set', async (t) => {
  const logits = async (options: Partial<NativeEngineOptions>) => {
    const solver = await awakeSolver(t, options, 20)
    const results = (await solver.solve(examples(20), { maxSegments: 1 })) as SolveResult[]
    return results.flatMap(({ qHalt, qContinue }) => [qHalt, qContinue])
  }
  const size = (values: number[]) => Math.sqrt(values.reduce((sum, value) => sum + value ** 2, 0) / values.length)
  const exact = await logits({ precision: 'fp32' })
  for (const isa of native.cpuInfo().isas) {
    const tested = await logits({ isa })
    const error = size(tested.map((value, i) => value - exact[i]!)) / size(exact)
    // One segment of the untrained model; a block alone loses 1 %.
    t.ok(error > 1e-4 && error < 0.1, `${isa}: ${error}`)
  }
})

test('an int8 model is refused training, and goes on solving', async (t) => {
  const data = await tinyDataset(t)
  const model = await create(t)
  const dir = join(t.testdirName, 'run')
  const run = model.train(data, { ...recipe, checkpoint: { dir } })
  t.match(await rejection(run.done()), { code: 'ERR_HRM_CONFIG', message: /int8/ })
  t.notOk(existsSync(dir), 'no run folder is begun')
  t.equal((await model.solve(examples(1)[0]!)).tokens.length, tiny.seqLen)
  const { sets } = await model.evaluate(data)
  t.equal(sets['all']?.count, 7)
})

test('the engine itself refuses to train in int8', async (t) => {
  for (const isa of native.cpuInfo().isas) {
    const options = { device: 'cpu', threads: 1, precision: 'int8', isa } as const
    const engine = new native.Engine(resolveModelConfig(tiny), options)
    t.teardown(() => engine.dispose())
    await engine.init(0)
    const training = {
      batchSize: 2,
      microBatchSize: 0,
      totalSteps: 4,
      lr: 1e-3,
      lrMinRatio: 1,
      lrWarmupSteps: 0,
      beta1: 0.9,
      beta2: 0.95,
      weightDecay: 0,
      puzzleEmbLr: 1e-3,
      puzzleEmbWeightDecay: 0,
      optimizer: 'adam_atan2',
      ema: 0,
      emaWarmup: 0,
      seed: 0,
    } as const
    t.match(await rejection(engine.startTraining(training, 0)), { code: 'ERR_HRM_CONFIG', message: /int8/ })
  }
})

test('a checkpoint of an int8 model holds the fp32 weights', async (t) => {
  const dir = t.testdir()
  const [quantised, exact] = [await create(t), await create(t, { precision: 'fp32' })]
  await quantised.solve(examples(2))
  await quantised.save(join(dir, 'int8'))
  await exact.save(join(dir, 'fp32'))
  const weights = (name: string) => readFileSync(join(dir, name, 'model.safetensors'))
  t.ok(weights('int8').equals(weights('fp32')))
  const loaded = await HRM.load(join(dir, 'int8'), { precision: 'int8' })
  t.teardown(() => loaded.dispose())
  t.same(await loaded.solve(examples(3)), await quantised.solve(examples(3)))
})

test('with halting q an int8 sequence ends with the same bits as alone, for any batch and number of threads', async (t) => {
  const puzzles = examples(30)
  const single = await awakeSolver(t, {}, 1)
  const alone: SolveResult[] = []
  for (const puzzle of puzzles) alone.push((await single.solve(puzzle, { halting: 'q' })) as SolveResult)
  t.ok(new Set(alone.map(({ segments }) => segments)).size >= 3, 'sequences halt after different segments')
  for (const [maxBatch, threads] of [
    [2, 1],
    [7, 2],
    [64, 3],
    [5, 4],
  ] as const) {
    const many = await awakeSolver(t, { threads }, maxBatch)
    t.same(await many.solve(puzzles, { halting: 'q' }), alone, `maxBatch ${maxBatch}, ${threads} threads`)
  }
})
