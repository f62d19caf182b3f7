import { test } from 'tap'
import { join } from 'node:path'
import { HRM, type EvalEvent, type StartEvent, type StepEvent, type TrainEvent } from '#dist/index.js'
import { TrainLoader, validationGroups } from '#dist/loader.js'
import { examples, recipe, rejection, tiny, tinyDataset } from './fixtures.js'

async function collect(run: AsyncIterable<TrainEvent>): Promise<TrainEvent[]> {
  const events: TrainEvent[] = []
  for await (const event of run) events.push(event)
  return events
}

const steps = (events: TrainEvent[]) => events.filter((event): event is StepEvent => event.type === 'step')

test('training lowers the loss and solves what it was taught', async (t) => {
  const data = await tinyDataset(t, { train: 64, test: 16 })
  await using model = await HRM.create(tiny, { seed: 0 })
  const before = (await model.evaluate(data)).sets['all']!
  const events = await collect(model.train(data, { ...recipe, epochs: 40 }))
  const losses = steps(events).map(({ loss }) => loss)
  t.equal(losses.length, 320)
  t.ok(losses.at(-1)! < losses[0]! / 3, `loss ${losses[0]} fell to ${losses.at(-1)}`)
  const after = (await model.evaluate(data)).sets['all']!
  t.ok(after.accuracy! > 0.9 && before.accuracy! < 0.5, `accuracy ${before.accuracy} rose to ${after.accuracy}`)
})

test('events come in order and carry the official metric names', async (t) => {
  const data = await tinyDataset(t)
  await using model = await HRM.create(tiny)
  const events = await collect(model.train(data, { ...recipe, evalEverySteps: 10, ema: 0.9 }))
  const { environment, ...start } = events[0] as StartEvent
  t.same(start, { type: 'start', step: 0, lastStep: 24, totalSteps: 24, resumed: null })
  t.match(environment, { version: /^\d+\.\d+\.\d+/, device: /^(cpu|cuda)/, platform: /-/, node: process.version })
  t.same(
    steps(events).map(({ step }) => step),
    Array.from({ length: 24 }, (_, i) => i + 1),
  )
  t.same(
    events.filter(({ type }) => type === 'eval').map(({ step }) => step),
    [10, 20, 24],
  )
  t.same(events.at(-1), { type: 'end', step: 24, reason: 'completed', checkpoint: null })
  const [first] = steps(events)
  t.same(Object.keys(first!.metrics), [
    'count',
    'accuracy',
    'exact_accuracy',
    'q_halt_accuracy',
    'steps',
    'lm_loss',
    'q_halt_loss',
    'q_continue_loss',
  ])
  t.equal(first!.lr, recipe.lr / recipe.lrWarmupSteps)
  t.ok(first!.itPerSecond > 0 && first!.gradNorm > 0)
  for (const { metrics, loss } of steps(events)) {
    t.ok(Math.abs(loss - metrics.lm_loss - (metrics.q_halt_loss + metrics.q_continue_loss) / 2) < 1e-6)
    t.equal(metrics.accuracy === null, metrics.count === 0)
  }
  for (const event of events) {
    if (event.type !== 'eval') continue
    t.equal(event.sets['all']!.count, 7)
    t.equal(event.emaSets!['all']!.steps, tiny.haltMaxSegments)
    t.not(event.emaSets!['all']!.lm_loss, event.sets['all']!.lm_loss)
  }
})

test('evaluation interval counts epochs', async (t) => {
  const data = await tinyDataset(t)
  await using model = await HRM.create(tiny)
  const events = await collect(model.train(data, { ...recipe, evalInterval: 3 }))
  t.same(
    events.filter(({ type }) => type === 'eval').map(({ step }) => step),
    [9, 18, 24],
  )
})

test('maxSteps ends the run early and keeps the schedule', async (t) => {
  const data = await tinyDataset(t)
  await using model = await HRM.create(tiny)
  const end = await model.train(data, { ...recipe, maxSteps: 5 }).done()
  t.match(end, { step: 5, reason: 'completed' })
})

test('averaged weights can be what the model keeps', async (t) => {
  const data = await tinyDataset(t)
  await using model = await HRM.create(tiny)
  const events = await collect(model.train(data, { ...recipe, ema: 0.9, finalWeights: 'ema' }))
  const last = events.findLast((event) => event.type === 'eval')!
  t.same((await model.evaluate(data)).sets, last.type === 'eval' && last.emaSets)
})

test('while training another train, save or evaluate is refused and solve works', async (t) => {
  const data = await tinyDataset(t)
  await using model = await HRM.create(tiny)
  const run = model.train(data, { ...recipe, epochs: 1000 })
  for (const other of [model.train(data, recipe).done(), model.save(t.testdirName + '/x'), model.evaluate(data)]) {
    t.match(await rejection(other), { code: 'ERR_HRM_BUSY' })
  }
  for (let i = 0; i < 5; i++) t.equal((await model.solve(examples(3))).length, 3)
  run.stop()
  t.match(await run.done(), { type: 'end', reason: 'stopped' })
  t.equal((await model.evaluate(data)).sets['all']!.count, 7)
})

test('an abort ends the run with its reason', async (t) => {
  const data = await tinyDataset(t)
  await using model = await HRM.create(tiny)
  const reason = new Error('enough')
  await t.rejects(model.train(data, { ...recipe, signal: AbortSignal.abort(reason) }).done(), reason)
  const abort = new AbortController()
  const run = model.train(data, { ...recipe, epochs: 100000, signal: abort.signal })
  let seen = 0
  await t.rejects(async () => {
    for await (const event of run) {
      if (event.type === 'step' && ++seen === 3) abort.abort(reason)
    }
  }, reason)
  t.ok(seen >= 3)
  await model.train(data, { ...recipe, maxSteps: 2 }).done()
})

test('leaving the loop stops the run and waits for it', async (t) => {
  const data = await tinyDataset(t)
  await using model = await HRM.create(tiny)
  const run = model.train(data, { ...recipe, epochs: 100000 })
  for await (const event of run) if (event.type === 'step') break
  t.equal((await run.done()).reason, 'stopped')
  await model.save(`${t.testdirName}/after`)
})

test('disposing ends the run', async (t) => {
  const data = await tinyDataset(t)
  const model = await HRM.create(tiny)
  const run = model.train(data, { ...recipe, epochs: 100000 })
  const reading = async () => {
    for await (const event of run) if (event.type === 'step') model.dispose()
  }
  t.match(await rejection(reading()), { code: 'ERR_HRM_DISPOSED' })
  t.match(await rejection(run.done()), { code: 'ERR_HRM_DISPOSED' })
})

test('values that are not finite stop the run, or are skipped', async (t) => {
  const data = await tinyDataset(t)
  // Steps of 1e38 take the weights to where the next segment overflows.
  const wild = { ...recipe, lr: 1e38, lrWarmupSteps: 0, weightDecay: 0 }
  await using model = await HRM.create(tiny)
  const error = await rejection(model.train(data, wild).done())
  t.match(error, { code: 'ERR_HRM_NON_FINITE', details: { step: Number, tensor: String } })
  // Weights that stay finite while their logits do not: every update from then on is dropped.
  const large = { ...recipe, lr: 1e20, lrWarmupSteps: 0 }
  const first = await rejection((await HRM.create(tiny)).train(data, large).done())
  t.match(first, { code: 'ERR_HRM_NON_FINITE', details: { tensor: /^(loss|grad\.)/ } })
  await using other = await HRM.create(tiny)
  const events = await collect(other.train(data, { ...large, maxSteps: 8, onNonFinite: 'skip' }))
  const skipped = steps(events).filter(({ nonFinite }) => nonFinite !== undefined)
  t.equal(steps(events).length, 8)
  t.equal(skipped[0]!.step, first.details!['step'])
  t.equal(skipped[0]!.nonFinite, first.details!['tensor'])
})

test('a slow reader misses old steps and nothing else', async (t) => {
  const data = await tinyDataset(t)
  await using model = await HRM.create(tiny)
  const run = model.train(data, { ...recipe, epochs: 500, evalEverySteps: 100 })
  await run.done()
  const events = await collect(run)
  t.equal(steps(events).length, 1024)
  t.equal(steps(events).at(-1)!.step, 1500)
  t.equal(events.filter(({ type }) => type === 'eval').length, 15)
})

test('wrong options and data that do not fit are refused before any work', async (t) => {
  const data = await tinyDataset(t)
  await using model = await HRM.create(tiny)
  const cases: [object, string, RegExp][] = [
    [{ epochs: 0 }, 'ERR_HRM_CONFIG', /epochs/],
    [{ learningRate: 1 }, 'ERR_HRM_CONFIG', /learningRate/],
    [{ checkpoint: {} }, 'ERR_HRM_ARGUMENT', /checkpoint.dir/],
    [{ checkpoint: { dir: 'x', keeps: 3 } }, 'ERR_HRM_ARGUMENT', /keeps/],
    [{ checkpoint: { dir: 'x', keep: 0 } }, 'ERR_HRM_ARGUMENT', /checkpoint.keep/],
    [{ checkpoint: { dir: 'x', best: 'all/luck' } }, 'ERR_HRM_ARGUMENT', /exact_accuracy/],
    [{ checkpoint: { dir: 'x', best: 'none/accuracy' } }, 'ERR_HRM_ARGUMENT', /sets all/],
    [{ resume: 'auto' }, 'ERR_HRM_ARGUMENT', /checkpoint.dir/],
    [{ resume: 3 }, 'ERR_HRM_ARGUMENT', /resume/],
    [{ finalWeights: 'ema' }, 'ERR_HRM_ARGUMENT', /ema/],
    [{ signal: 1 }, 'ERR_HRM_ARGUMENT', /AbortSignal/],
  ]
  for (const [options, code, message] of cases) {
    t.match(await rejection(model.train(data, { ...recipe, ...options }).done()), { code, message }, String(message))
  }
  t.match(await rejection(model.train({} as never, recipe).done()), { code: 'ERR_HRM_ARGUMENT', message: /Dataset/ })
  await using other = await HRM.create({ ...tiny, vocabSize: 9 })
  t.match(await rejection(other.train(data, recipe).done()), { code: 'ERR_HRM_DATASET', message: /vocabSize 9.*got 7/ })
  await using narrow = await HRM.create({ ...tiny, numPuzzleIdentifiers: 2 })
  t.match(await rejection(narrow.evaluate(data)), { code: 'ERR_HRM_DATASET', message: /at most 2/ })
})

test('a halt-only model learns without a continue target and halts where q_halt is above 0', async (t) => {
  const data = await tinyDataset(t, { train: 64, test: 16 })
  const halts = async (maxSteps: number) => {
    await using model = await HRM.create({ ...tiny, haltOnly: true }, { seed: 0 })
    const events = await collect(model.train(data, { ...recipe, epochs: 40, maxSteps, weightDecay: 0 }))
    t.ok(steps(events).every(({ metrics }) => metrics.q_continue_loss === 0))
    // q_continue stays at its start of -5 without a gradient, so by the official rule everything would halt at once.
    const results = await model.solve(examples(32, 500), { halting: 'q' })
    for (const { qHalt, qContinue } of results) t.ok(qContinue === -5 && qHalt > qContinue)
    for (const { qHalt, segments } of results) t.ok(qHalt > 0 || segments === tiny.haltMaxSegments)
    return results.map(({ segments }) => segments)
  }
  t.same(new Set(await halts(40)), new Set([tiny.haltMaxSegments]), 'early on q_halt is below 0')
  t.same(new Set(await halts(60)), new Set([1]), 'once it answers at once, it halts at once')
})

test('validation groups are scored instead of the test split and never trained on', async (t) => {
  const data = await tinyDataset(t, { train: 24, test: 7 })
  const heldOut = validationGroups(data, 5, 3)
  t.equal(new Set(heldOut).size, 5)
  t.strictSame(validationGroups(data, 5, 3), heldOut)
  t.notSame(validationGroups(data, 5, 4), heldOut)
  t.throws(() => validationGroups(data, 24, 3), { code: 'ERR_HRM_ARGUMENT' })
  const inputs = examples(24).map((row) => row.join())
  const loader = new TrainLoader(data, { batchSize: 1, epochs: 2, seed: 0, heldOut })
  const drawn = new Set<number>()
  for (let batch = loader.next(); batch; batch = loader.next()) drawn.add(inputs.indexOf(batch.inputs.join()))
  t.same(
    [...drawn].toSorted((a, b) => a - b),
    Array.from({ length: 24 }, (_, group) => group).filter((group) => !heldOut.includes(group)),
  )
  t.equal(loader.totalSteps, 38)

  await using model = await HRM.create(tiny)
  const events = await collect(model.train(data, { ...recipe, validationGroups: 5, evalEverySteps: 10 }))
  const evals = events.filter((event): event is EvalEvent => event.type === 'eval')
  t.ok(evals.length > 0)
  for (const { sets } of evals) t.equal(sets['all']!.count, 5)
})

test('a run ends early once evaluations no longer get better, also when it was resumed meanwhile', async (t) => {
  const data = await tinyDataset(t, { train: 24, test: 7 })
  // Without a learning rate nothing gets better after the first evaluation.
  const plan = { ...recipe, epochs: 100, lr: 0, puzzleEmbLr: 0, evalEverySteps: 5, earlyStopPatience: 3 }
  const whole = join(t.testdirName, 'whole')
  {
    await using model = await HRM.create(tiny, { seed: 1 })
    const events = await collect(model.train(data, { ...plan, checkpoint: { dir: whole } }))
    t.match(events.at(-1), { type: 'end', step: 20, reason: 'early_stopped' })
    t.same(
      events.flatMap((event) => (event.type === 'checkpoint' ? [event.best] : [])),
      [true, false, false, false],
    )
  }
  const cut = join(t.testdirName, 'cut')
  await using model = await HRM.create(tiny, { seed: 1 })
  await collect(model.train(data, { ...plan, maxSteps: 11, checkpoint: { dir: cut } }))
  const events = await collect(model.train(data, { ...plan, checkpoint: { dir: cut }, resume: 'auto' }))
  t.match(events.at(-1), { type: 'end', reason: 'early_stopped' })
  t.ok(steps(events).length < 10)

  await t.rejects(model.train(await tinyDataset(t, { test: 0, name: 'untested' }), plan).done(), {
    code: 'ERR_HRM_ARGUMENT',
    message: /validationGroups or a test split/,
  })
})

test('micro-batches sum to the gradient of the whole batch and keep the carry of every slot', async (t) => {
  const data = await tinyDataset(t, { train: 64, test: 0 })
  const run = async (microBatchSize: number, precision: 'fp32' | 'fp64') => {
    await using model = await HRM.create(tiny, { seed: 0, precision })
    return steps(await collect(model.train(data, { ...recipe, epochs: 4, microBatchSize })))
  }
  const whole = await run(0, 'fp64')
  t.ok(whole.some(({ metrics }) => metrics.count > 0 && metrics.count < recipe.globalBatchSize))
  for (const rows of [1, 4]) {
    const parts = await run(rows, 'fp64')
    for (const [index, step] of parts.entries()) {
      const { loss, gradNorm, metrics } = whole[index]!
      t.ok(Math.abs(step.loss - loss) < 1e-9 * loss, `step ${step.step}: loss ${step.loss}, whole ${loss}`)
      t.ok(Math.abs(step.gradNorm - gradNorm) < 1e-7 * gradNorm, `gradient ${step.gradNorm}, whole ${gradNorm}`)
      t.equal(step.metrics.count, metrics.count)
      t.equal(step.metrics.steps, metrics.steps)
    }
  }
  const same = await run(8, 'fp32')
  for (const [index, { loss }] of (await run(0, 'fp32')).entries()) t.equal(same[index]!.loss, loss)
  await t.rejects(run(3, 'fp32'), { code: 'ERR_HRM_CONFIG', message: /micro_batch_size.*divisor/ })
})
