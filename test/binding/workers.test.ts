import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { Worker } from 'node:worker_threads'
import { test } from 'tap'
import { native } from '#dist/native.js'
import { figure, long } from '../reliability/figures.js'
import { config, options, segmentOf } from './small-engine.js'

const script = new URL('./engine-worker.js', import.meta.url)
const times = long ? 100 : 10
/** What ends a process or a worker in the middle of a step. */
const endings = ['train', 'segments', 'exit'] as const

async function solveHere(): Promise<number[]> {
  const engine = new native.Engine(config, options)
  await engine.init(1)
  const session = await engine.openSession(2)
  const { tokens } = await session.segment(segmentOf(2))
  engine.dispose()
  return Array.from(tokens)
}

async function solveInWorker(): Promise<unknown> {
  const worker = new Worker(script, { workerData: { way: 'solve' } })
  const ended = once(worker, 'exit')
  const [tokens] = await once(worker, 'message')
  const [code] = await ended
  return { tokens, code }
}

test('workers load, use and leave the addon in turn', async (t) => {
  const tokens = await solveHere()
  for (let i = 0; i < times; i++) t.strictSame(await solveInWorker(), { tokens, code: 0 })
  figure(t, 'workers-in-turn', { workers: times, 'same answers': times })
})

test('eight workers at once get the results of the main thread', async (t) => {
  const tokens = await solveHere()
  let workers = 0
  const next = async () => {
    while (workers < times) {
      workers++
      t.strictSame(await solveInWorker(), { tokens, code: 0 })
    }
  }
  await Promise.all(Array.from({ length: 8 }, next))
  t.strictSame(await solveHere(), tokens)
  figure(t, 'workers-at-once', { workers, 'at once': 8, 'same answers': workers })
})

for (const way of endings) {
  const title =
    way === 'exit' ? 'a worker can call process.exit() in the middle of a step' : `a worker can be terminated in ${way}`
  test(title, async (t) => {
    const tokens = await solveHere()
    for (let i = 0; i < times; i++) {
      const delay = (i * 7) % 40
      const worker = new Worker(script, { workerData: { way, delay } })
      const ended = once(worker, 'exit')
      await once(worker, 'message')
      if (way === 'exit') t.strictSame(await ended, [7])
      else {
        await sleep(delay)
        t.equal(await worker.terminate(), 1)
      }
    }
    t.strictSame(await solveHere(), tokens, 'the main thread still solves, to the same tokens')
    figure(t, `workers-${way === 'exit' ? 'exit' : `terminated-in-${way}`}`, { workers: times, crashes: 0 })
  })
}

test('a process survives the worker that alone had loaded the addon', (t) => {
  const host = `
    const { Worker } = require('node:worker_threads')
    const worker = new Worker(${JSON.stringify(fileURLToPath(script))}, { workerData: { way: 'train' } })
    worker.once('message', async () => {
      await worker.terminate()
      setTimeout(() => console.log('alive'), 300)
    })`
  const { status, signal, stdout } = spawnSync(process.execPath, ['-e', host], { encoding: 'utf8', timeout: 60_000 })
  t.match({ status, signal, stdout }, { status: 0, signal: null, stdout: 'alive\n' })
  t.end()
})

const run = (...argv: string[]) =>
  spawnSync(process.execPath, [fileURLToPath(script), ...argv], { encoding: 'utf8', timeout: 60_000 })

test('process.exit() in the middle of a step ends the process at once with its code', (t) => {
  for (let i = 0; i < times; i++) {
    const { status, signal, stderr } = run('exit', String((i * 11) % 90))
    t.match({ status, signal, stderr }, { status: 7, signal: null, stderr: '' })
  }
  figure(t, 'process-exit', { processes: times, signals: 0, 'exit code kept': times })
  t.end()
})

test('an idle engine keeps no process alive, a pending promise does', (t) => {
  t.match(run('idle'), { status: 0, signal: null, stdout: '"end"\n' })
  t.match(run('solve'), { status: 0, signal: null, stdout: /^\[\d/ })
  t.end()
})
