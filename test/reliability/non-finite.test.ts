// A NaN or an infinity is seen in the step that has it, changes nothing, and is in no checkpoint.
import { readdirSync, readlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'tap'
import { stateHash } from '#dist/checkpoint.js'
import { resolveModelConfig } from '#dist/config.js'
import { Engine } from '#dist/engine.js'
import { Dataset, HRM, type StepEvent, type TrainEvent, type TrainOptions } from '#dist/index.js'
import { native, type NativeEngine } from '#dist/native.js'
import { readSafetensors } from '#dist/safetensors.js'
import { train } from '#dist/trainer.js'
import { batchOf, config, options, trainOptions } from '../binding/small-engine.js'
import { npy } from '../data/fixtures.js'
import { recipe, rejection, tiny, tinyDataset } from '../facade/fixtures.js'
import { learnedHash, type Place, places, plant } from './planted-values.js'
import { figure, long } from './figures.js'

const below = (bound: number) => Math.floor(Math.random() * bound)

test('a step with a value that is not finite says so and changes nothing, for every place and instruction set', async (t) => {
  const isas = ['', 'reference']
  const perPlace = long ? 100 : 6
  let seen = 0
  let applied = 0
  for (const isa of isas) {
    const engine = new native.Engine(config, { ...options, isa })
    await engine.init(1)
    await engine.startTraining(trainOptions(8), 0)
    let step = 0
    for (let fault = 0; fault < perPlace * places.length; fault++) {
      for (let good = below(4); good >= 0; good--) {
        t.equal((await engine.trainStep(batchOf(8))).nonFinite, '', 'a step without a fault')
        step++
      }
      const { place, expected, mend } = await plant(engine, places[fault % places.length]!)
      const before = await learnedHash(engine)
      const result = await engine.trainStep(batchOf(8))
      t.equal(result.step, ++step)
      t.match(result.nonFinite, expected, `${place} at step ${step}: ${result.nonFinite}`)
      const after = await learnedHash(engine)
      t.equal(after, before, 'weights, moments and averages keep their bits')
      applied += after === before ? 0 : 1
      t.same([...((await engine.read('carry.halted')) as Uint8Array)], Array(8).fill(1), 'every slot restarts')
      seen += expected.test(result.nonFinite) ? 1 : 0
      await mend()
    }
    t.equal((await engine.trainStep(batchOf(8))).nonFinite, '', 'and training goes on')
    engine.dispose()
  }
  figure(t, 'non-finite', {
    'faults planted': perPlace * places.length * isas.length,
    'seen in their step': seen,
    'updates applied': applied,
  })
})

/** An engine into which `before` plants what it likes when a step is asked for, and which `after` mends. */
function watched(
  engine: NativeEngine,
  before: (step: number) => Promise<void>,
  after: () => Promise<void>,
): NativeEngine {
  let step = 0
  const trainStep: NativeEngine['trainStep'] = async (...args) => {
    await before(++step)
    const result = await engine.trainStep(...args)
    await after()
    return result
  }
  return new Proxy(engine, {
    get: (target, key) => {
      if (key === 'trainStep') return trainStep
      const value = Reflect.get(target, key, target) as unknown
      return typeof value === 'function' ? value.bind(target) : value
    },
  })
}

/** Trains as `HRM.train` does, with a fault before the given steps. */
async function trainWith(
  data: Dataset,
  recipe: TrainOptions,
  faults: ReadonlyMap<number, Place>,
): Promise<{ events: TrainEvent[]; error: { code?: string; details?: Record<string, unknown> } | undefined }> {
  const model = resolveModelConfig(tiny)
  const bare = new native.Engine(model, options)
  await bare.init(0)
  let mend = async () => {}
  const engine = new Engine(
    watched(
      bare,
      async (step) => {
        const place = faults.get(step)
        if (place) ({ mend } = await plant(bare, place))
      },
      async () => {
        await mend()
        mend = async () => {}
      },
    ),
  )
  const events: TrainEvent[] = []
  const target = { engine, model, setConfig: () => {}, setVocabulary: () => {} }
  const control = { emit: (event: TrainEvent) => void events.push(event), stopping: false }
  const error = await train(target, data, recipe, control).then(
    () => undefined,
    (reason: unknown) => reason as { code?: string },
  )
  engine.dispose()
  return { events, error }
}

/** Checkpoints of a run folder, by name, whose tensors are not all finite. */
async function spoiled(dir: string): Promise<string[]> {
  const found = []
  for (const name of readdirSync(dir).filter((name) => name.startsWith('step_'))) {
    for (const tensors of ['model.safetensors', 'trainer.safetensors']) {
      const file = await readSafetensors(join(dir, name, tensors))
      for (const tensor of file.names()) {
        const values = (await file.read(tensor)) as ArrayLike<number>
        if (!Array.from(values).every(Number.isFinite)) found.push(`${name}/${tensors}: ${tensor}`)
      }
      await file.close()
    }
  }
  return found
}

const stepsOf = (events: TrainEvent[]) => events.filter((event): event is StepEvent => event.type === 'step')

test('skipping drops such an update, saves nothing of it and resumes exactly', async (t) => {
  const data = await tinyDataset(t)
  const steps = long ? 300 : 36
  const faults = new Map<number, Place>()
  while (faults.size < steps / 3) faults.set(1 + below(steps), faults.size % 2 === 0 ? 'loss' : 'gradient')
  const plan = { ...recipe, epochs: steps / 3, ema: 0.9, onNonFinite: 'skip' } as const
  const dir = join(t.testdirName, 'run')
  const { events, error } = await trainWith(data, { ...plan, checkpoint: { dir, everySteps: 1, keep: steps } }, faults)
  t.equal(error, undefined)
  t.same(
    stepsOf(events)
      .filter(({ nonFinite }) => nonFinite !== undefined)
      .map(({ step }) => step),
    [...faults.keys()].sort((a, b) => a - b),
  )
  const checkpoints = readdirSync(dir).filter((name) => name.startsWith('step_'))
  t.equal(checkpoints.length, steps)
  const found = await spoiled(dir)
  t.same(found, [])
  // From the checkpoint of a skipped step, all later faults included, to the same end.
  const from = [...faults.keys()].find((step) => step < steps)!
  const later = new Map([...faults].filter(([step]) => step > from).map(([step, place]) => [step - from, place]))
  const again = join(t.testdirName, 'again')
  const resumed = await trainWith(
    data,
    { ...plan, checkpoint: { dir: again }, resume: join(dir, `step_${from}`) },
    later,
  )
  t.equal(resumed.error, undefined)
  t.equal(await stateHash(again), await stateHash(dir))
  figure(t, 'non-finite-checkpoints', {
    steps,
    'faulty steps skipped': faults.size,
    'checkpoints read': checkpoints.length,
    'values in them that are not finite': found.length,
  })
})

test('stopping ends the run at that step, and its last checkpoint goes on as if nothing had been', async (t) => {
  const data = await tinyDataset(t)
  const plan = { ...recipe, ema: 0.9 } as const
  const whole = join(t.testdirName, 'whole')
  await trainWith(data, { ...plan, checkpoint: { dir: whole } }, new Map())
  for (const place of places) {
    const dir = join(t.testdirName, place)
    const at = 2 + below(20)
    const checkpoint = { dir, everySteps: 1, keep: 2 }
    const { error } = await trainWith(data, { ...plan, checkpoint }, new Map([[at, place]]))
    t.match(error, { code: 'ERR_HRM_NON_FINITE', details: { step: at, tensor: String } })
    t.equal(readlinkSync(join(dir, 'latest')), `step_${at - 1}`)
    t.same(await spoiled(dir), [])
    const resumed = await trainWith(data, { ...plan, checkpoint, resume: 'auto' }, new Map())
    t.equal(resumed.error, undefined)
    t.equal(await stateHash(dir), await stateHash(whole))
  }
})

test('a weight that is not finite ends a run that skips, too, since no update mends it', async (t) => {
  const data = await tinyDataset(t)
  const dir = join(t.testdirName, 'run')
  const plan = { ...recipe, onNonFinite: 'skip', checkpoint: { dir, everySteps: 1, keep: 9 } } as const
  const { error } = await trainWith(data, plan, new Map([[5, 'weight' as const]]))
  t.match(error, { code: 'ERR_HRM_NON_FINITE', details: { step: 5 } })
  t.equal(readlinkSync(join(dir, 'latest')), 'step_4')
})

test('weights that an update has just made infinite are not saved', async (t) => {
  const data = await tinyDataset(t)
  const dir = join(t.testdirName, 'run')
  // Beyond the range of float after the first update, which the guard has no reason to refuse.
  const wild = { ...recipe, lr: 1e40, lrWarmupSteps: 0, weightDecay: 0 }
  await using model = await HRM.create(tiny)
  const checkpoint = { dir, everySteps: 1 }
  t.match(await rejection(model.train(data, { ...wild, checkpoint }).done()), {
    code: 'ERR_HRM_NON_FINITE',
    message: /^\[save\]/,
    details: { tensor: String },
  })
  t.notOk(readdirSync(dir).some((name) => /^\.tmp|^step_|^latest/.test(name)))
  t.match(await rejection(model.save(join(t.testdirName, 'model'))), { code: 'ERR_HRM_NON_FINITE' })
  // Without a checkpoint in between, the next step finds them, and no skipping helps.
  await using other = await HRM.create(tiny)
  t.match(await rejection(other.train(data, { ...wild, onNonFinite: 'skip' }).done()), {
    code: 'ERR_HRM_NON_FINITE',
    details: { step: 2, tensor: /^inner/ },
  })
})

test('the guard costs less than 1 % of a training step', async (t) => {
  const sizes = long ? { preset: 'paper' as const, rows: 8, runs: 3 } : { preset: 'small' as const, rows: 16, runs: 5 }
  const model = resolveModelConfig({ preset: sizes.preset, vocabSize: 11, seqLen: 81 })
  const engine = new native.Engine(model, { ...options, threads: 2 })
  await engine.init(0)
  await engine.startTraining(trainOptions(sizes.rows), 0)
  const batch = batchOf(sizes.rows, model)
  let stepMs = Infinity
  let blockMs = Infinity
  for (let run = 0; run < sizes.runs; run++) {
    const begin = performance.now()
    await engine.trainStep(batch)
    stepMs = Math.min(stepMs, performance.now() - begin)
    // The sums of squares of the gradients of one block.
    blockMs = Math.min(blockMs, ...(await native.debug.timeStep(engine, 'sum_squares', 1, 50)).ms)
  }
  engine.dispose()
  const guardMs = blockMs * (model.hLayers + model.lLayers)
  const percent = (100 * guardMs) / stepMs
  t.ok(percent < 1, `${percent} %`)
  figure(t, 'guard-cost', {
    model: sizes.preset,
    'batch rows': sizes.rows,
    'training step ms': stepMs.toFixed(1),
    'sums of squares of all blocks ms': guardMs.toFixed(3),
    '% of a step': percent.toFixed(3),
  })
})

/** log(1 + exp(x)), the cross-entropy of sigmoid(-x) with the target 1. */
const softplus = (x: number) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)))

test('a batch whose labels are all ignored has lm_loss 0, counts nothing and stays finite', async (t) => {
  const rows = 6
  let largest = 0
  for (const lossType of ['stablemax_cross_entropy', 'softmax_cross_entropy'] as const) {
    for (const precision of ['fp32', 'fp64'] as const) {
      const engine = new native.Engine({ ...config, lossType }, { ...options, precision })
      await engine.init(1)
      await engine.startTraining(trainOptions(rows), 0)
      const { inputs, puzzleIds } = batchOf(rows)
      const labels = new Int32Array(rows * config.seqLen).fill(-100)
      for (let step = 0; step < 6; step++) {
        const { metrics, loss, gradNorm, nonFinite } = await engine.trainStep({ inputs, labels, puzzleIds })
        t.equal(nonFinite, '')
        t.match(metrics, { lm_loss: 0, count: 0, accuracy: 0, exact_accuracy: 0, q_halt_accuracy: 0, steps: 0 })
        // The official row is right when all of its 0 labels are: q_halt is drawn to 1.
        const q = (await engine.read('last.q_logits')) as Float64Array
        const targets = (await engine.read('last.target_q_continue')) as Float64Array
        let halt = 0
        let continues = 0
        for (let row = 0; row < rows; row++) {
          halt += softplus(-q[2 * row]!)
          continues += softplus(q[2 * row + 1]!) - targets[row]! * q[2 * row + 1]!
        }
        for (const [got, expected] of [
          [metrics.q_halt_loss, halt],
          [metrics.q_continue_loss, continues],
          [loss, (halt + continues) / 2],
        ] as const) {
          const error = Math.abs(got - expected) / expected
          largest = Math.max(largest, error)
          t.ok(error < 1e-12, `${got}, by hand ${expected}`)
        }
        t.ok(gradNorm > 0 && Number.isFinite(gradNorm))
        const gradient = (await engine.read('grad.inner.lm_head.weight')) as Float32Array
        t.ok(
          gradient.every((value) => value === 0),
          'the token head learns nothing',
        )
      }
      engine.dispose()
    }
  }
  figure(t, 'ignored-labels', {
    batches: 24,
    lm_loss: 0,
    counted: 0,
    'largest relative error of the q losses': largest.toExponential(1),
  })
})

test('training and evaluating on ignored labels alone reports nulls, never NaN', async (t) => {
  const { dir } = await tinyDataset(t)
  for (const [split, count] of [
    ['train', 24],
    ['test', 7],
  ] as const) {
    writeFileSync(
      join(dir, split, 'all__labels.npy'),
      npy('|u1', [count, tiny.seqLen], Array(count * tiny.seqLen).fill(0)),
    )
  }
  using data = await Dataset.open(dir)
  await using model = await HRM.create(tiny)
  const run = model.train(data, { ...recipe, maxSteps: 9, evalEverySteps: 4, ema: 0.9 })
  const none = { count: 0, accuracy: null, exact_accuracy: null, q_halt_accuracy: null, steps: null }
  for await (const event of run) {
    if (event.type === 'step') {
      t.match(event.metrics, { ...none, lm_loss: 0 })
      const { loss, gradNorm, metrics } = event
      for (const value of [loss, gradNorm, metrics.q_halt_loss, metrics.q_continue_loss]) t.ok(Number.isFinite(value))
    } else if (event.type === 'eval') {
      for (const { all } of [event.sets, event.emaSets!]) t.same(all, { ...none, lm_loss: null, q_halt_loss: null })
    }
  }
})

test('a gradient whose square is no float is not applied, as the moments could not hold it', async (t) => {
  for (const isa of ['', 'reference']) {
    const engine = new native.Engine({ ...config, lossType: 'softmax_cross_entropy' }, { ...options, isa })
    await engine.init(1)
    await engine.startTraining(trainOptions(8), 0)
    const head = (await engine.read('inner.lm_head.weight')) as Float32Array
    await engine.write(
      'inner.lm_head.weight',
      head.map((_, i) => 1e22 * Math.sin(i)),
    )
    const before = await learnedHash(engine)
    const { nonFinite, gradNorm } = await engine.trainStep(batchOf(8))
    t.ok(Number.isFinite(gradNorm) && gradNorm > 1.9e19, `a gradient of ${gradNorm}`)
    t.match(nonFinite, /^grad\./)
    t.equal(await learnedHash(engine), before)
    engine.dispose()
  }
})
