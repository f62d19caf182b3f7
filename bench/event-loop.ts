// How late the event loop and files are while a model works, beside as many threads that only spin.
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { Worker } from 'node:worker_threads'
import { Dataset, HRM } from '#dist/index.js'

export const phases = ['idle', 'control', 'training', 'solving'] as const
export type Phase = (typeof phases)[number]

export interface Lag {
  phase: Phase
  /** How late a 1 ms timer fired: 99th percentile (median of the rounds) and worst. */
  p99Ms: number
  maxMs: number
  /** Timers that fired, of those that an idle loop would have fired in this time, one each 1.06 ms. */
  tickShare: number
  /** Median time of fs.promises.readFile on a file of some KB. */
  readFileMs: number
  /** Training steps or solves in this time. */
  done: number
}

const RESOLUTION_MS = 1
const IDLE_TICK_MS = 1.06
const ROWS = 32
const file = fileURLToPath(new URL('../../package.json', import.meta.url))

/** Starts what a phase is about; the function returned ends it and tells how much was done. */
type Start = () => Promise<() => Promise<number>>

const start: Record<'idle' | 'control', (threads: number) => ReturnType<Start>> = {
  idle: async () => async () => 0,
  control: async (threads) => {
    const workers = Array.from({ length: threads }, () => new Worker('for (;;);', { eval: true }))
    await Promise.all(workers.map((worker) => new Promise((resolve) => worker.once('online', resolve))))
    return async () => {
      await Promise.all(workers.map((worker) => worker.terminate()))
      return 0
    }
  },
}

async function startTraining(model: HRM, data: Dataset): ReturnType<Start> {
  let steps = 0
  const run = model.train(data, { globalBatchSize: ROWS, epochs: 1_000_000, evalInterval: 1_000_000 })
  let begun = () => {}
  const first = new Promise<void>((resolve) => (begun = resolve))
  const reading = (async () => {
    for await (const { type } of run) {
      if (type !== 'step') continue
      steps++
      begun()
    }
  })()
  await Promise.race([first, reading])
  return async () => {
    run.stop()
    await reading
    return steps
  }
}

async function startSolving(model: HRM, data: Dataset): ReturnType<Start> {
  const puzzles = Array.from({ length: ROWS }, (_, at) => data.example('train', 'all', at).inputs)
  await model.solve(puzzles, { maxSegments: 1 })
  let solves = 0
  const ending = new AbortController()
  const solving = (async () => {
    while (!ending.signal.aborted) {
      await model.solve(puzzles)
      solves += ROWS
    }
  })()
  return async () => {
    ending.abort()
    await solving
    return solves
  }
}

/** Readings of one phase, over all of its rounds. */
class Readings {
  readonly #p99Ms: number[] = []
  readonly #readMs: number[] = []
  #maxMs = 0
  #ticks = 0
  #tickMs = 0
  #done = 0

  /** Half of the time for the timers, half for the files, so that neither waits for the other. */
  async take(ms: number, begin: Start): Promise<void> {
    const end = await begin()
    const delays = monitorEventLoopDelay({ resolution: RESOLUTION_MS })
    const from = performance.now()
    const timer = setInterval(() => this.#ticks++, RESOLUTION_MS)
    delays.enable()
    await sleep(ms / 2)
    delays.disable()
    clearInterval(timer)
    this.#tickMs += performance.now() - from
    const late = (nanoseconds: number) => Math.max(0, nanoseconds / 1e6 - RESOLUTION_MS)
    this.#p99Ms.push(late(delays.percentile(99)))
    this.#maxMs = Math.max(this.#maxMs, late(delays.max))
    const until = performance.now() + ms / 2
    do {
      const begin = performance.now()
      await readFile(file)
      this.#readMs.push(performance.now() - begin)
      await sleep(RESOLUTION_MS)
    } while (performance.now() < until)
    this.#done += await end()
  }

  lag(phase: Phase): Lag {
    const median = (values: number[]) => values.toSorted((a, b) => a - b)[values.length >> 1]!
    return {
      phase,
      p99Ms: median(this.#p99Ms),
      maxMs: this.#maxMs,
      tickShare: this.#ticks / (this.#tickMs / IDLE_TICK_MS),
      readFileMs: median(this.#readMs),
      done: this.#done,
    }
  }
}

/** Measures every phase for `seconds` in `rounds` turns, as the speed of a machine drifts. */
export async function measureEventLoop(threads: number, seconds: number, rounds: number): Promise<Lag[]> {
  const folder = mkdtempSync(join(tmpdir(), 'hrm-event-loop-'))
  try {
    const hrm = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url))
    const made = ['data', 'sudoku', '--generate', '256', '--size', '9', '-o', join(folder, 'data')]
    execFileSync(process.execPath, [hrm, ...made], { stdio: 'pipe' })
    using data = await Dataset.open(join(folder, 'data'))
    const { vocabSize, seqLen } = data
    await using model = await HRM.create({ preset: 'small', vocabSize, seqLen }, { threads })
    const starts: Record<Phase, Start> = {
      idle: () => start.idle(threads),
      control: () => start.control(threads),
      training: () => startTraining(model, data),
      solving: () => startSolving(model, data),
    }
    const readings = {
      idle: new Readings(),
      control: new Readings(),
      training: new Readings(),
      solving: new Readings(),
    }
    for (let round = 0; round < rounds; round++)
      for (const phase of phases) await readings[phase].take((1000 * seconds) / rounds, starts[phase])
    return phases.map((phase) => readings[phase].lag(phase))
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}
