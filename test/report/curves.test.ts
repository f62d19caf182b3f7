import fc from 'fast-check'
import t from 'tap'
import { maxEvals, maxPoints, RunStory, spread, ThinnedCurves } from '#dist/report/curves.js'
import { wilsonInterval } from '#dist/wilson.js'
import { stepLine } from './fixtures.js'

const event = (step: number, metrics: object = {}, change: object = {}) =>
  JSON.parse(stepLine(step, metrics, change)) as Record<string, unknown>

t.test('a short curve is kept as it is', async (t) => {
  const curves = new ThinnedCurves()
  for (let step = 1; step <= 3; step++) curves.add(event(10 * step))
  t.match(curves.curves(), {
    per: 1,
    logged: 3,
    step: [10, 20, 30],
    loss: [0.1, 0.05, 0.033333],
    lossLow: [0.1, 0.05, 0.033333],
    gradNorm: [10, 20, 30],
    lr: [0.1, 0.1, 0.1],
    exact: [0, 0, 0],
    steps: [2, 2, 2],
    count: [1, 1, 1],
  })
})

t.test('a long curve is thinned evenly to means, with the least and the greatest value of each', async (t) => {
  const curves = new ThinnedCurves()
  const logged = 5 * maxPoints + 3
  for (let step = 1; step <= logged; step++) curves.add(event(step))
  const { per, step, gradNorm, gradNormLow, gradNormHigh, ...rest } = curves.curves()
  t.equal(per, 8)
  t.equal(rest.logged, logged)
  t.equal(step.length, Math.ceil(logged / 8))
  t.equal(gradNorm[10], 84.5, 'the mean of 81 … 88')
  t.equal(gradNormLow[10], 81)
  t.equal(gradNormHigh[10], 88)
  t.equal(gradNorm.at(-1), logged - 1, 'the last point is the mean of what is left')
})

t.test('no number of points exceeds the limit, and every logged step counts once', async () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 9 * maxPoints }), (logged) => {
      const curves = new ThinnedCurves()
      for (let step = 1; step <= logged; step++) curves.add({ step, metrics: { count: 1, exact_accuracy: 1 } })
      const { step, per, count } = curves.curves()
      return (
        step.length <= maxPoints &&
        step.length === Math.ceil(logged / per) &&
        count.reduce((sum, rows) => sum + rows, 0) === logged &&
        count.slice(0, -1).every((rows) => rows === per)
      )
    }),
    { numRuns: 30 },
  )
})

t.test('rates are pooled by the rows they were counted on, and are missing where there were none', async (t) => {
  const curves = new ThinnedCurves()
  for (let step = 1; step <= 2 * maxPoints; step++) {
    const odd = step % 2 === 1
    const none = step > 2 * maxPoints - 2
    curves.add(event(step, { count: none ? 0 : odd ? 3 : 1, exact_accuracy: none ? null : odd ? 1 : 0 }))
  }
  const { exact, count } = curves.curves()
  t.equal(exact[0], 0.75)
  t.equal(count[0], 4)
  t.equal(exact.at(-1), null)
  t.equal(count.at(-1), 0)
})

t.test('values that are not finite are missing', async (t) => {
  const curves = new ThinnedCurves()
  curves.add({ step: 1, loss: null, gradNorm: 'NaN', lr: Infinity })
  t.match(curves.curves(), { loss: [null], lossLow: [null], gradNorm: [null], lr: [null], exact: [null], count: [0] })
})

t.test('evaluations carry their interval, and the best one is found', async (t) => {
  const story = new RunStory()
  const scores = (exact: number | null, count = 200) => ({
    all: {
      count,
      accuracy: 0.9,
      exact_accuracy: exact,
      q_halt_accuracy: 0.8,
      steps: 8,
      lm_loss: 0.1,
      q_halt_loss: 0.2,
    },
  })
  for (const [step, raw, ema] of [
    [10, 0.9, 0.2],
    [20, 0.1, 0.6],
    [30, 0.1, 0.5],
  ] as const)
    story.add(JSON.stringify({ type: 'eval', step, sets: scores(raw), emaSets: scores(ema), seconds: 1 }))
  const { best, evals, evaluated } = story.metrics()
  t.equal(evaluated, 3)
  t.equal(evals.length, 6)
  t.match(best, { step: 20, weights: 'ema', exact: 0.6, count: 200, interval: wilsonInterval(0.6, 200) })
  const unscored = new RunStory()
  unscored.add(JSON.stringify({ type: 'eval', step: 1, sets: scores(null, 0), seconds: 1 }))
  t.match(unscored.metrics(), { best: null, evals: [{ exact: null, interval: null, count: 0 }] })
})

t.test('many evaluations are spread evenly, with the first, the last and the best', async (t) => {
  const story = new RunStory()
  const logged = 3 * maxEvals
  for (let step = 1; step <= logged; step++) {
    const exact_accuracy = step === 101 ? 0.9 : 0.1
    story.add(JSON.stringify({ type: 'eval', step, sets: { all: { count: 10, exact_accuracy } } }))
  }
  const { evals, evaluated, best } = story.metrics()
  t.match([evals.length, evaluated, evals[0]!.step, evals.at(-1)!.step], [maxEvals, logged, 1, logged])
  const gaps = evals.slice(1).map(({ step }, at) => step - evals[at]!.step)
  t.ok(Math.max(...gaps) - Math.min(...gaps) <= 1, 'equally far apart')
  t.equal(best?.step, 101)
  t.same(spread([1, 2, 3], 5), [1, 2, 3])
  t.same(spread([1, 2, 3], 1), [1])
})

t.test('a story tells of starts, ends, dropped updates, failed saves and lines that are none', async (t) => {
  const story = new RunStory()
  const environment = { version: '1', device: 'cpu', cpu: 'x', platform: 'linux-x64', node: 'v20' }
  const lines = [
    JSON.stringify({ type: 'start', step: 0, lastStep: 50, environment }),
    stepLine(10, {}, { itPerSecond: 3.25 }),
    stepLine(20, {}, { nonFinite: 'loss' }),
    JSON.stringify({ type: 'save_error', step: 20, message: 'full' }),
    JSON.stringify({ type: 'end', step: 20, reason: 'stopped' }),
    '{"type":"step","st',
    '[1]',
    '{"step":4}',
    'null',
  ]
  for (const line of lines) story.add(line)
  t.match(story.metrics(), {
    step: 20,
    lastStep: 50,
    end: 'stopped',
    nonFinite: 1,
    saveErrors: 1,
    unreadable: 4,
    starts: [{ step: 0, environment }],
  })
  story.add(JSON.stringify({ type: 'start', step: 20, lastStep: 99, environment: { version: 1 } }))
  t.match(story.metrics(), { end: null, lastStep: 99, starts: [{ step: 0 }, { step: 20, environment: null }] })
})
