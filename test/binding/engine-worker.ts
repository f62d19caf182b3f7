// Run by workers.test.ts, in a worker or as a process of its own: uses the addon in the way that its argument names.
import { isMainThread, parentPort, workerData } from 'node:worker_threads'
import { native } from '#dist/native.js'
import { batchOf, config, options, segmentOf, slowConfig, startedEngine } from './small-engine.js'

const tell = (message: unknown) =>
  isMainThread ? console.log(JSON.stringify(message)) : parentPort?.postMessage(message)
const ROWS = 4
const [way, delay] = isMainThread ? process.argv.slice(2) : [workerData.way, workerData.delay]

const ways: Record<string, () => Promise<void>> = {
  /** Solves one batch and ends, its engine undisposed. */
  async solve() {
    const engine = new native.Engine(config, options)
    await engine.init(1)
    const session = await engine.openSession(2)
    tell(Array.from((await session.segment(segmentOf(2))).tokens))
  },
  /** Trains without end, several steps queued at any time. */
  async train() {
    const engine = await startedEngine(ROWS, slowConfig)
    const batch = batchOf(ROWS, slowConfig)
    await engine.trainStep(batch)
    tell('running')
    for (;;) await Promise.all([engine.trainStep(batch), engine.trainStep(batch), engine.trainStep(batch)])
  },
  /** Solves without end. */
  async segments() {
    const engine = new native.Engine(slowConfig, options)
    await engine.init(1)
    const session = await engine.openSession(ROWS)
    const request = segmentOf(ROWS, slowConfig)
    await session.segment(request)
    tell('running')
    for (;;) await Promise.all([session.segment(request), session.segment(request)])
  },
  /** Leaves by process.exit() while a step runs. */
  async exit() {
    const engine = await startedEngine(ROWS, slowConfig)
    const batch = batchOf(ROWS, slowConfig)
    for (let i = 0; i < 40; i++) void engine.trainStep(batch)
    if (!isMainThread) tell('running')
    setTimeout(() => process.exit(7), Number(delay))
  },
  /** Reaches its end with an engine and a session open, nothing pending. */
  async idle() {
    const engine = await startedEngine(2)
    await engine.openSession(2)
    tell('end')
  },
}

await ways[String(way)]?.()
