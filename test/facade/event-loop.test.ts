import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { Worker } from 'node:worker_threads'
import { test, type Test } from 'tap'
import { HRM } from '#dist/index.js'
import { figure } from '../reliability/figures.js'
import { tiny, tinyDataset } from './fixtures.js'

/** Wide enough for segments of many milliseconds. */
const wide = { ...tiny, hiddenSize: 256, hLayers: 2, lLayers: 2 }

/** Ticks of a 1 ms timer per millisecond while `work` runs, and the milliseconds it took. */
async function tickRate(work: Promise<unknown>): Promise<{ rate: number; ms: number }> {
  let ticks = 0
  const begin = performance.now()
  const timer = setInterval(() => ticks++, 1)
  try {
    await work
  } finally {
    clearInterval(timer)
  }
  const ms = performance.now() - begin
  return { rate: ticks / ms, ms }
}

/** Keeps one other thread busy for so long: what a solve must cost the event loop at least. */
async function busyThread(ms: number): Promise<void> {
  const code = `const end = performance.now() + ${ms}; while (performance.now() < end);`
  const worker = new Worker(code, { eval: true })
  await new Promise((resolve, reject) => worker.once('exit', resolve).once('error', reject))
}

/**
 * At least half of the ticks must arrive that arrive while another thread is busy for the same time. On an idle machine
 * those are nearly one per millisecond; on a busy one both have to wait for a core.
 */
async function assertResponsive(t: Test, id: string, start: () => Promise<unknown>): Promise<void> {
  // The load of a machine changes between the two, so the best of a few tries counts.
  let best = { share: 0, rate: 0, ms: 0 }
  for (let attempt = 0; attempt < 5 && best.share < 0.5; attempt++) {
    const { rate, ms } = await tickRate(start())
    t.ok(ms > 20, `the work takes long enough to measure: ${ms} ms`)
    const { rate: control } = await tickRate(busyThread(ms))
    if (rate / control >= best.share) best = { share: rate / control, rate, ms }
  }
  t.ok(best.share >= 0.5, `${best.share} of the ticks beside a busy thread`)
  figure(t, id, {
    'ticks per ms': best.rate.toFixed(2),
    'share of those beside a busy thread': best.share.toFixed(2),
    'work in ms': best.ms.toFixed(0),
  })
}

const puzzles = Array.from({ length: 32 }, (_, i) => Array.from({ length: tiny.seqLen }, (_, at) => (i + at) % 7))

test('at least half of the ticks of a timer arrive during a solve', async (t) => {
  await using model = await HRM.create(wide, { threads: 1 })
  await assertResponsive(t, 'event-loop-solve', () => model.solve(puzzles))
})

test('at least half of the ticks of a timer arrive during training steps', async (t) => {
  const data = await tinyDataset(t, { train: 32, test: 0 })
  await using model = await HRM.create(wide, { threads: 1 })
  await assertResponsive(t, 'event-loop-train', () =>
    model.train(data, { globalBatchSize: 32, epochs: 100, maxSteps: 3 }).done(),
  )
})

test('reading a file ends before a solve that began earlier', async (t) => {
  await using model = await HRM.create(wide, { threads: 1 })
  const order: string[] = []
  const solving = model.solve([...puzzles, ...puzzles, ...puzzles]).then(() => order.push('solve'))
  await Promise.all(Array.from({ length: 8 }, () => readFile(fileURLToPath(import.meta.url)))).then(() =>
    order.push('files'),
  )
  await solving
  t.same(order, ['files', 'solve'])
})
