import { appendFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { MetricsFile } from '#dist/report/metrics-file.js'
import { stepLine, writeMetrics } from './fixtures.js'

t.test('a growing file is read from where it ended, lines only when they are whole', async (t) => {
  const dir = t.testdir()
  const path = join(dir, 'metrics.jsonl')
  const file = new MetricsFile(path)
  t.equal(await file.read(), false, 'no file yet')
  const [first, second] = [stepLine(1), stepLine(2)]
  writeFileSync(path, `${first}\n${second.slice(0, 30)}`)
  t.equal(await file.read(), true)
  t.same(file.metrics().train.step, [1])
  t.equal(await file.read(), false)
  appendFileSync(path, `${second.slice(30)}\n`)
  t.equal(await file.read(), true)
  t.match(file.metrics(), { unreadable: 0, train: { step: [1, 2] } })
})

t.test('a file that a resumed run has cut is read anew', async (t) => {
  const dir = t.testdir()
  const path = join(dir, 'metrics.jsonl')
  writeMetrics(
    dir,
    [1, 2, 3].map((step) => stepLine(step)),
  )
  const file = new MetricsFile(path)
  await file.read()
  // The cut file takes the place of the old one, and may have grown beyond it before it is looked at.
  const cut = [stepLine(1), ...[20, 30, 40, 50].map((step) => stepLine(step))]
  writeFileSync(join(dir, 'new'), cut.map((line) => `${line}\n`).join(''))
  renameSync(join(dir, 'new'), path)
  t.equal(await file.read(), true)
  t.same(file.metrics().train.step, [1, 20, 30, 40, 50])
})

t.test('characters of several bytes and lines across chunks stay whole', async (t) => {
  const dir = t.testdir()
  const long = 'é'.repeat(2 ** 20)
  const end = JSON.stringify({ type: 'end', step: 3, reason: `x${long}` })
  writeMetrics(dir, [stepLine(1, {}, { note: long }), stepLine(2, {}, { note: `x${long}` }), '', stepLine(3), end])
  const file = new MetricsFile(join(dir, 'metrics.jsonl'))
  await file.read()
  t.match(file.metrics(), { unreadable: 0, train: { step: [1, 2, 3] } })
  t.ok(file.metrics().end === `x${long}`, 'no character is cut in two')
})

t.test('100,000 lines are read in seconds and give a small page', async (t) => {
  const dir = t.testdir()
  writeMetrics(
    dir,
    Array.from({ length: 100_000 }, (_, at) => stepLine(at + 1, { accuracy: Math.sqrt(at) / 400 })),
  )
  const file = new MetricsFile(join(dir, 'metrics.jsonl'))
  const begin = performance.now()
  await file.read()
  const metrics = file.metrics()
  t.ok(performance.now() - begin < 25_000, `${Math.round(performance.now() - begin)} ms`)
  t.match(metrics.train, { logged: 100_000, per: 128 })
  t.ok(JSON.stringify(metrics).length < 200_000)
})

t.test('reading stops when it is aborted, and names a file that cannot be read', async (t) => {
  const dir = t.testdir({ 'metrics.jsonl': {} })
  await t.rejects(new MetricsFile(join(dir, 'metrics.jsonl')).read(), { code: 'ERR_HRM_IO', message: /metrics\.jsonl/ })
  writeFileSync(join(dir, 'other'), stepLine(1))
  const reason = new Error('enough')
  await t.rejects(new MetricsFile(join(dir, 'other')).read(AbortSignal.abort(reason)), reason)
})
