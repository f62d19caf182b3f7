import { setImmediate as turn, setTimeout as sleep } from 'node:timers/promises'
import { test, type Test } from 'tap'
import { HRM } from '#dist/index.js'
import { native, type NativeEngine, type NativeSession } from '#dist/native.js'
import { examples, recipe, tiny, tinyDataset } from '../facade/fixtures.js'
import { figure, long } from './figures.js'

/** Segments and training steps that engines were asked for; the engine takes one at a time. */
let jobs = 0
let atJob: (() => void) | undefined

function counted<T>(job: Promise<T>): Promise<T> {
  jobs++
  atJob?.()
  return job
}

const { Engine } = native
native.Engine = class extends Engine {
  override trainStep(...list: Parameters<NativeEngine['trainStep']>) {
    return counted(super.trainStep(...list))
  }
  override async openSession(capacity: number): Promise<NativeSession> {
    const session = await super.openSession(capacity)
    return {
      segment: (options) => counted(session.segment(options)),
      read: (name) => session.read(name),
      close: () => session.close(),
    }
  }
}

/** Wide enough that a segment of a batch takes milliseconds. */
const wide = { ...tiny, hiddenSize: 64 }

/**
 * Aborts the operation again and again: before it starts, when its first, second, … job is asked for, and at odd moments
 * within and between jobs.
 */
async function abortOften(t: Test, id: string, start: (signal: AbortSignal) => Promise<unknown>): Promise<void> {
  const times = long ? 100 : 20
  let honoured = 0
  let most = 0
  let slowest = 0
  for (let i = 0; i < times; i++) {
    const abort = new AbortController()
    const reason = i % 3 === 0 ? undefined : { number: i }
    let jobsBefore = -1
    let aborted = 0
    const stop = () => {
      jobsBefore = jobs
      aborted = performance.now()
      abort.abort(reason)
    }
    const first = jobs
    if (i % 10 === 0) stop()
    const running = start(abort.signal).then(
      () => ({ ended: true, error: undefined as unknown }),
      (error: unknown) => ({ ended: false, error }),
    )
    if (jobsBefore < 0) {
      // At the n-th job, then after some turns of the loop or some part of a millisecond.
      await new Promise<void>((resolve) => {
        atJob = () => {
          if (jobs > first + (i % 5)) resolve()
        }
      })
      if (i % 4 === 1) await sleep((i * 7) % 5)
      if (i % 4 === 2) for (let n = i % 7; n > 0; n--) await turn()
      atJob = undefined
      stop()
    }
    const { ended, error } = await running
    slowest = Math.max(slowest, performance.now() - aborted)
    most = Math.max(most, jobs - jobsBefore)
    if (!ended && error === abort.signal.reason) honoured++
  }
  t.equal(honoured, times, 'every call rejects with the reason of the signal')
  t.ok(most <= 1, `at most one more job was begun: ${most}`)
  figure(t, id, {
    aborts: times,
    'rejected with signal.reason': honoured,
    'jobs begun after the abort, at most': most,
    'slowest rejection in ms': slowest.toFixed(1),
  })
}

const many = Array.from({ length: 64 }, (_, i) => examples(1, i)[0]!)

test('solve() ends within one segment of an abort', async (t) => {
  await using model = await HRM.create(wide, { maxBatch: 8 })
  const before = await model.solve(examples(4))
  await abortOften(t, 'abort-solve', (signal) => model.solve(many, { maxSegments: 1000, signal }))
  t.same(await model.solve(examples(4)), before, 'the model still solves')
})

test('segments() ends within one segment of an abort', async (t) => {
  await using model = await HRM.create(wide)
  await abortOften(t, 'abort-segments', async (signal) => {
    for await (const state of model.segments(many[0]!, { maxSegments: 60_000, signal })) void state
  })
})

test('train() ends within one step of an abort, also while it evaluates', async (t) => {
  const data = await tinyDataset(t)
  await using model = await HRM.create(wide)
  const options = { ...recipe, epochs: 100_000, evalEverySteps: 2 }
  await abortOften(t, 'abort-train', (signal) => model.train(data, { ...options, signal }).done())
  t.match(await model.train(data, { ...recipe, maxSteps: 2 }).done(), { step: 2 }, 'the model still trains')
})

test('evaluate() ends within one segment of an abort', async (t) => {
  const data = await tinyDataset(t, { test: 40 })
  await using model = await HRM.create(wide)
  const official = { maxSegments: 1000, batchSize: 8 } as const
  await abortOften(t, 'abort-evaluate', (signal) => model.evaluate(data, { ...official, signal }))
  await abortOften(t, 'abort-evaluate-halting', (signal) =>
    model.evaluate(data, { halting: 'q', votes: 3, maxSegments: 1000, signal }),
  )
  t.equal((await model.evaluate(data)).sets['all']!.count, 40, 'the model still evaluates')
})
