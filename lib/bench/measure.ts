import { monitorEventLoopDelay } from 'node:perf_hooks'
import { native } from '../native.js'
import { summarise } from './statistics.js'

/** Times of some runs in milliseconds, and the arithmetic of one run, 0 where memory sets its pace. */
export interface Sample {
  ms: ArrayLike<number>
  gflop: number
}

/** One thing to time. */
export interface Case {
  name: string
  /** Sequences at once; null where the work does not depend on it. */
  batch: number | null
  prepare(): Promise<{
    /** Runs for `ms`, at least once. */
    sample: (ms: number) => Promise<Sample>
    close: () => void
  }>
}

/** Where the multiply-add peak is measured: on a GPU, or on threads of the CPU. */
export type Ceiling = { device: string; precision: 'fp32' | 'bf16' } | { threads: number; isa: string }

/** GFLOP/s, measured for `ms`. */
function measurePeak(ceiling: Ceiling, ms: number): Promise<number> {
  return 'device' in ceiling
    ? native.debug.gpuPeakFlops(ceiling.device, ceiling.precision, ms)
    : native.debug.peakFlops(ceiling.threads, ceiling.isa, ms)
}

/** One line of a result. */
export interface Row {
  name: string
  batch: number | null
  /** Median and shortest time of a run. */
  ms: number
  bestMs: number
  /** Interquartile range over the median. */
  spread: number
  runs: number
  /** By the median; null where memory sets the pace. */
  gflops: number | null
  /** Multiply-adds in GFLOP/s (fp32; in bf16 on a GPU), measured between the samples, and the share of it that was reached. */
  peakGflops: number
  percentOfPeak: number | null
  /** How late a 1 ms timer of the main thread fired while the case ran, 99th percentile (median of the samples) and worst. */
  lagP99Ms: number
  lagMaxMs: number
}

const MIN_RUNS = 3
/** Of one case, where MIN_SAMPLE_MS and MAX_SAMPLE_MS allow. */
const SAMPLES = 10
const MIN_SAMPLE_MS = 500
/** An interruption waits for a sample to end. */
const MAX_SAMPLE_MS = 1000
const MAX_PEAK_MS = 300

/**
 * Runs one case for `budgetMs` in samples of a second at most, measuring the peak before each, as a machine's speed drifts.
 *
 * @param signal - ends it within one sample by rejecting with its reason
 */
export async function measure(what: Case, ceiling: Ceiling, budgetMs: number, signal: AbortSignal): Promise<Row> {
  const { sample, close } = await what.prepare()
  try {
    const wantedMs = Math.min(Math.max(budgetMs / SAMPLES, MIN_SAMPLE_MS), MAX_SAMPLE_MS)
    const sampleMs = Math.max(1, Math.round(Math.min(budgetMs, wantedMs)))
    const peakMs = Math.min(MAX_PEAK_MS, sampleMs)
    const times: number[] = []
    const peaks: number[] = []
    const lags: { p99: number; max: number }[] = []
    let gflop = 0
    const end = performance.now() + budgetMs
    do {
      signal.throwIfAborted()
      peaks.push(await measurePeak(ceiling, peakMs))
      signal.throwIfAborted()
      const lag = monitorEventLoopDelay({ resolution: 1 })
      lag.enable()
      const taken = await sample(sampleMs)
      lag.disable()
      for (const ms of Array.from(taken.ms)) times.push(ms)
      gflop = taken.gflop
      lags.push({ p99: lag.percentile(99) / 1e6 - 1, max: lag.max / 1e6 - 1 })
    } while (performance.now() < end || times.length < MIN_RUNS)
    const { median, best, spread, runs } = summarise(times)
    const peakGflops = summarise(peaks).median
    const gflops = gflop > 0 ? gflop / (median / 1000) : null
    return {
      name: what.name,
      batch: what.batch,
      ms: median,
      bestMs: best,
      spread,
      runs,
      gflops,
      peakGflops,
      percentOfPeak: gflops === null ? null : (100 * gflops) / peakGflops,
      lagP99Ms: Math.max(0, summarise(lags.map(({ p99 }) => p99)).median),
      lagMaxMs: Math.max(0, ...lags.map(({ max }) => max)),
    }
  } finally {
    close()
  }
}
