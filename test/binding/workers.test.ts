import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { Worker } from 'node:worker_threads'
import { test } from 'tap'
import { native } from '#dist/native.js'
import { config, options, segmentOf } from './small-engine.js'

const script = new URL('./engine-worker.js', import.meta.url)
const long = process.env.HRM_TEST_LONG === '1'

async function solveHere(): Promise<number[]> {
  const engine = new native.Engine(config, options)
  await engine.init(1)
  const session = await engine.openSession(2)
  const { tokens } = await session.segment(segmentOf(2))
  engine.dispose()
  return Array.from(tokens)
}

async function solveInWorker(): Promise<unknown> {
  const worker = new Worker(script, { workerData: 'solve' })
  const ended = once(worker, 'exit')
  const [tokens] = await once(worker, 'message')
  const [code] = await ended
  return { tokens, code }
}

test('workers load, use and leave the addon in turn', async (t) => {
  const tokens = await solveHere()
  for (let i = 0; i < (long ? 100 : 10); i++) t.strictSame(await solveInWorker(), { tokens, code: 0 })
})

test('eight workers at once get the results of the main thread', async (t) => {
  const tokens = await solveHere()
  for (let round = 0; round < (long ? 13 : 1); round++) {
    const results = await Promise.all(Array.from({ length: 8 }, solveInWorker))
    t.strictSame(
      results,
      Array.from({ length: 8 }, () => ({ tokens, code: 0 })),
    )
  }
})

for (const way of ['train', 'segments']) {
  test(`a worker can be terminated in the middle of ${way}`, async (t) => {
    for (let i = 0; i < (long ? 100 : 10); i++) {
      const worker = new Worker(script, { workerData: way })
      await once(worker, 'message')
      await sleep((i * 7) % 40)
      t.equal(await worker.terminate(), 1)
    }
    t.strictSame(await solveHere(), await solveHere(), 'the main thread still solves')
  })
}

test('a process survives the worker that alone had loaded the addon', (t) => {
  const host = `
    const { Worker } = require('node:worker_threads')
    const worker = new Worker(${JSON.stringify(fileURLToPath(script))}, { workerData: 'train' })
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
  for (let i = 0; i < (long ? 100 : 8); i++) {
    const { status, signal, stderr } = run('exit', String((i * 11) % 90))
    t.match({ status, signal, stderr }, { status: 7, signal: null, stderr: '' })
  }
  t.end()
})

test('an idle engine keeps no process alive, a pending promise does', (t) => {
  t.match(run('idle'), { status: 0, signal: null, stdout: '"end"\n' })
  t.match(run('solve'), { status: 0, signal: null, stdout: /^\[\d/ })
  t.end()
})
