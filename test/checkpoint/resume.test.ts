import { createHash } from 'node:crypto'
import { readFileSync, readlinkSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test, type Test } from 'tap'
import { stateHash } from '#dist/checkpoint.js'
import { type Dataset, HRM, type TrainEvent, type TrainOptions } from '#dist/index.js'
import { RandomStream } from '#dist/random.js'
import { figure, long } from '../reliability/figures.js'
import { examples, recipe, rejection, tiny, tinyDataset } from '../facade/fixtures.js'

const full = { ...recipe, ema: 0.95, evalEverySteps: 10 } satisfies TrainOptions

/** Trains in a fresh model, as a new process would, and returns all events. */
async function run(data: Dataset, options: TrainOptions, threads = 1, seed = 0): Promise<TrainEvent[]> {
  await using model = await HRM.create(tiny, { seed, threads })
  const events: TrainEvent[] = []
  for await (const event of model.train(data, options)) events.push(event)
  return events
}

async function reference(t: Test, data: Dataset): Promise<string> {
  const dir = join(t.testdirName, 'reference')
  await run(data, { ...full, checkpoint: { dir } })
  return stateHash(dir)
}

const metrics = (dir: string) =>
  readFileSync(join(dir, 'metrics.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as TrainEvent)

test('a run cut anywhere and resumed ends in the same state, with any threads', { timeout: 3_600_000 }, async (t) => {
  const data = await tinyDataset(t, { train: 32 })
  const steps = long ? 400 : 24
  const random = new RandomStream(1, 'subsample', 0)
  // Before, at and after an evaluation and a checkpoint, and anywhere.
  const cuts = long ? Array.from({ length: 20 }, () => 1 + random.nextBelow(steps - 1)) : [1, 2, 9, 10, 11, 23]
  const options = { ...full, epochs: steps / 4 }
  const whole = join(t.testdirName, 'whole')
  await run(data, { ...options, checkpoint: { dir: whole } })
  const expected = await stateHash(whole)
  let equal = 0
  const threads = [1, 2, 4]
  for (const [at, before] of threads.entries()) {
    for (const cut of long ? cuts : cuts.filter((_, index) => index % 3 === at)) {
      const dir = join(t.testdirName, `threads${before}cut${cut}`)
      await run(data, { ...options, maxSteps: cut, checkpoint: { dir } }, before)
      // Another seed: what the new model starts with must not matter. Nor must the number of threads.
      const events = await run(data, { ...options, checkpoint: { dir }, resume: 'auto' }, threads[(at + 1) % 3], 9)
      t.match(events[0], { type: 'start', step: cut, lastStep: steps, resumed: join(dir, `step_${cut}`) })
      const found = await stateHash(dir)
      t.equal(found, expected, `cut after step ${cut}`)
      if (found === expected) equal++
      rmSync(dir, { recursive: true })
    }
  }
  figure(t, 'resume', { steps, cuts: cuts.length, threads: threads.join(' '), equal_states: equal })
})

test('the number of threads changes nothing', async (t) => {
  const data = await tinyDataset(t)
  const expected = await reference(t, data)
  for (const threads of [2, 4]) {
    const dir = join(t.testdirName, `threads${threads}`)
    await run(data, { ...full, checkpoint: { dir } }, threads)
    t.equal(await stateHash(dir), expected, `${threads} threads`)
  }
})

test('a run stopped at any moment, also in an evaluation, resumes exactly', async (t) => {
  const data = await tinyDataset(t, { train: 24, test: 60 })
  const expected = await reference(t, data)
  const dir = join(t.testdirName, 'stopped')
  let stops = 0
  for (let steps = 0; steps < 24;) {
    await using model = await HRM.create(tiny, { seed: stops })
    const training = model.train(data, { ...full, checkpoint: { dir }, resume: 'auto' })
    let wait = 0
    for await (const event of training) {
      steps = event.step
      // Stops a little later each time: during a step, an evaluation or a checkpoint.
      if (event.type === 'step' && (event.step % 10 === 0 || ++wait === 3)) {
        stops++
        setTimeout(() => training.stop(), stops % 4)
      }
      if (event.type === 'end' && event.reason === 'stopped') steps = Math.min(steps, 23)
    }
  }
  t.ok(stops > 3, `${stops} stops`)
  t.equal(await stateHash(dir), expected)
  const lines = metrics(dir)
  t.same(
    lines.filter(({ type }) => type === 'eval').map(({ step }) => step),
    [10, 20, 24],
  )
})

test('an abort saves what was done', async (t) => {
  const data = await tinyDataset(t)
  const expected = await reference(t, data)
  const dir = join(t.testdirName, 'aborted')
  const abort = new AbortController()
  const reason = new Error('enough')
  await t.rejects(async () => {
    await using model = await HRM.create(tiny)
    for await (const event of model.train(data, { ...full, checkpoint: { dir }, signal: abort.signal })) {
      if (event.type === 'step' && event.step === 5) abort.abort(reason)
    }
  }, reason)
  await run(data, { ...full, checkpoint: { dir }, resume: 'auto' })
  t.equal(await stateHash(dir), expected)
})

test('metrics.jsonl has each step once, also after a resume from an older checkpoint', async (t) => {
  const data = await tinyDataset(t)
  const dir = join(t.testdirName, 'run')
  await run(data, { ...full, checkpoint: { dir, everySteps: 8, keep: 9 } })
  const events = await run(data, { ...full, checkpoint: { dir, keep: 9 }, resume: join(dir, 'step_8') })
  t.match(events[0], { step: 8 })
  const steps = metrics(dir)
    .filter(({ type }) => type === 'step')
    .map(({ step }) => step)
  t.same(
    steps,
    Array.from({ length: 24 }, (_, i) => i + 1),
  )
  t.equal(metrics(dir).filter(({ type }) => type === 'end').length, 1)
  t.equal(await stateHash(join(dir, 'step_24')), await stateHash(join(dir, 'step_24-2')))
  t.equal(readlinkSync(join(dir, 'latest')), 'step_24-2')
})

test('a run goes on in another folder from a checkpoint of the first', async (t) => {
  const data = await tinyDataset(t)
  const expected = await reference(t, data)
  const first = join(t.testdirName, 'first')
  const second = join(t.testdirName, 'second')
  await run(data, { ...full, maxSteps: 6, checkpoint: { dir: first } })
  await run(data, { ...full, checkpoint: { dir: second }, resume: first })
  t.equal(await stateHash(second), expected)
})

test('a checkpoint of version 0.1.0, without the keys that came later, resumes', async (t) => {
  const data = await tinyDataset(t)
  const dir = join(t.testdirName, 'old')
  await using model = await HRM.create(tiny, { seed: 0 })
  await model.train(data, { ...full, maxSteps: 10, checkpoint: { dir } }).done()
  const checkpoint = join(dir, 'step_10')
  const { self, ...hashes } = JSON.parse(readFileSync(join(checkpoint, 'hash.json'), 'utf8')) as {
    self: string
    sha256: Record<string, string>
  }
  const sha256 = (body: string) => createHash('sha256').update(body).digest('hex')
  const later = ['no_ACT_continue', 'micro_batch_size', 'validation_groups', 'early_stop_patience', 'patience']
  for (const name of ['config.json', 'trainer.json']) {
    const body = readFileSync(join(checkpoint, name), 'utf8')
    const without = (key: string, value: unknown) => (later.includes(key) ? undefined : value)
    const old = `${JSON.stringify(JSON.parse(body, without), null, 2)}\n`
    t.not(old, body, name)
    writeFileSync(join(checkpoint, name), old)
    hashes.sha256[name] = sha256(old)
  }
  t.not(sha256(JSON.stringify(hashes)), self)
  const signed = { ...hashes, self: sha256(JSON.stringify(hashes)) }
  writeFileSync(join(checkpoint, 'hash.json'), `${JSON.stringify(signed, null, 1)}\n`)
  await model.train(data, { ...full, checkpoint: { dir }, resume: 'auto' }).done()
  t.equal(await stateHash(dir), await reference(t, data))
})

test('resuming with what does not fit is refused', async (t) => {
  const data = await tinyDataset(t)
  const dir = join(t.testdirName, 'run')
  await run(data, { ...full, maxSteps: 4, checkpoint: { dir } })
  const cases: [TrainOptions, RegExp][] = [
    [{ resume: false }, /without checkpoints/],
    [{ resume: 'auto', globalBatchSize: 4 }, /batchSize/],
    [{ resume: 'auto', seed: 7 }, /seed/],
    [{ resume: 'auto', ema: 0 }, /ema/],
    [{ resume: join(dir, 'nothing') }, /nothing/],
  ]
  for (const [options, message] of cases) {
    const error = await rejection(run(data, { ...full, checkpoint: { dir }, ...options }))
    t.match(error, { code: 'ERR_HRM_CHECKPOINT', message }, String(message))
  }
  await using other = await HRM.create({ ...tiny, lCycles: 3 })
  const training = other.train(data, { ...full, checkpoint: { dir }, resume: 'auto' })
  t.match(await rejection(training.done()), { code: 'ERR_HRM_CHECKPOINT', message: /lCycles/ })
  const changed = await tinyDataset(t, { train: 24, test: 8, name: 'other' })
  t.match(await rejection(run(changed, { ...full, checkpoint: { dir }, resume: 'auto' })), { message: /dataset/ })
})

test('latest and best load as paths, with the weights they were scored with', async (t) => {
  const data = await tinyDataset(t)
  const dir = join(t.testdirName, 'run')
  const events = await run(data, { ...full, checkpoint: { dir, best: 'all/lm_loss' } })
  const evaluations = events.flatMap((event) => (event.type === 'eval' ? [event] : []))
  const least = Math.min(...evaluations.map(({ emaSets }) => emaSets!['all']!.lm_loss!))
  const best = evaluations.find(({ emaSets }) => emaSets!['all']!.lm_loss === least)!
  t.equal(realpathSync(join(dir, 'best')), realpathSync(join(dir, `step_${best.step}`)))
  for (const [path, weights, sets] of [
    [join(dir, 'best'), undefined, best.emaSets],
    [join(dir, 'best'), 'raw', best.sets],
    [dir, 'ema', evaluations.at(-1)!.emaSets],
    [join(dir, 'latest'), 'raw', evaluations.at(-1)!.sets],
  ] as const) {
    await using model = await HRM.load(path, weights ? { weights } : {})
    t.same((await model.evaluate(data)).sets, sets, `${path} ${weights}`)
  }
})

test('a saved model loads with the same answers, and saving again replaces it', async (t) => {
  const dir = join(t.testdir(), 'saved')
  await using model = await HRM.create(tiny, { seed: 3 })
  const expected = await model.solve(examples(4))
  await model.save(dir)
  await using loaded = await HRM.load(dir)
  t.same(await loaded.solve(examples(4)), expected)
  t.same(loaded.config, model.config)
  await using other = await HRM.create(tiny, { seed: 4 })
  await other.save(dir)
  await using replaced = await HRM.load(dir)
  t.notSame(await replaced.solve(examples(4)), expected)
  t.match(await rejection(other.save(t.testdirName)), { code: 'ERR_HRM_CHECKPOINT' })
  t.match(await rejection(HRM.load(dir, { weights: 'ema' })), { code: 'ERR_HRM_CHECKPOINT', message: /trainer/ })
  t.match(await rejection(HRM.load(t.testdirName)), { code: 'ERR_HRM_CHECKPOINT', message: /config.json/ })
})

test('an equal score does not replace the best checkpoint, also after a resume', async (t) => {
  const data = await tinyDataset(t)
  const dir = join(t.testdirName, 'run')
  // Every evaluation runs the same number of segments.
  const checkpoint = { dir, best: 'all/steps', keep: 1 }
  await run(data, { ...full, maxSteps: 20, checkpoint })
  t.equal(readlinkSync(join(dir, 'best')), 'step_10')
  const events = await run(data, { ...full, checkpoint, resume: 'auto' })
  t.equal(readlinkSync(join(dir, 'best')), 'step_10')
  const saved = events.flatMap((event) => (event.type === 'checkpoint' ? [event] : []))
  t.match(saved, [{ step: 24, best: false, path: join(dir, 'step_24') }])
})
