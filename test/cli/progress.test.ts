import t from 'tap'
import { Progress } from '#dist/cli/progress.js'

t.test('without a terminal a line comes every ten seconds, and the last state once', async (t) => {
  let now = 1000
  t.intercept(performance, 'now', { value: () => now })
  t.intercept(process.stderr, 'isTTY', { value: false })
  const written = t.capture(process.stderr, 'write', () => true)
  const lines = () => written().map(({ args }) => String(args[0]))
  const progress = new Progress('training', 100)
  for (let step = 1; step <= 30; step++) {
    now += 500
    progress.update(step, [`loss ${step}`])
  }
  t.same(lines(), ['training 20/100 | loss 20 | 2.0 it/s | ETA 40 s\n'])
  progress.stop()
  t.same(lines(), ['training 30/100 | loss 30 | 2.0 it/s | ETA 35 s\n'])
  progress.stop()
  t.same(lines(), [], 'not twice')
})

t.test('the rate follows the work, not what was done before a resume', async (t) => {
  let now = 0
  t.intercept(performance, 'now', { value: () => now })
  t.intercept(process.stderr, 'isTTY', { value: false })
  t.capture(process.stderr, 'write', () => true)
  const progress = new Progress('training', 1000, { initial: 500 })
  t.equal(progress.rate, 0)
  now += 1000
  progress.update(504)
  t.equal(progress.rate, 4)
  for (let second = 1; second <= 60; second++) {
    now += 1000
    progress.update(504 + second)
  }
  t.ok(Math.abs(progress.rate - 1) < 0.02, `forgets the first second: ${progress.rate}`)
})

t.test('the estimate is what is left at the rate of late', async (t) => {
  let now = 0
  t.intercept(performance, 'now', { value: () => now })
  t.intercept(process.stderr, 'isTTY', { value: false })
  const written = t.capture(process.stderr, 'write', () => true)
  const progress = new Progress('training', 1000)
  now += 10_000
  progress.update(10)
  t.same(
    written().map(({ args }) => args[0]),
    ['training 10/1000 | 1.0 it/s | ETA 16 min 30 s\n'],
  )
})
