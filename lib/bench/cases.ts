import { type ModelConfig, type ModelOptions, resolveModelConfig } from '../config.js'
import { fromNative } from '../errors.js'
import { HRM } from '../model.js'
import { native, type NativeEngine, type NativeEngineOptions } from '../native.js'
import { flops } from '../flops.js'
import type { Case, Sample } from './measure.js'

/**
 * Presets at the tasks that they are timed at: 9x9 Sudoku, 4x4 for the tiny one; mazes are the paper's model at 901 positions.
 * One stack is the plain transformer of the paper's size: a segment passes once over the same eight blocks.
 */
const models = {
  tiny: { preset: 'tiny', vocabSize: 6, seqLen: 16 },
  small: { preset: 'small', vocabSize: 11, seqLen: 81 },
  paper: { preset: 'paper', vocabSize: 11, seqLen: 81 },
  'one-stack': { preset: 'paper', vocabSize: 11, seqLen: 81, hCycles: 1, lCycles: 1 },
  'maze-hard': { preset: 'maze-hard', vocabSize: 6, seqLen: 900 },
} as const satisfies Record<string, ModelOptions>

/** A model to time. */
export type BenchPreset = keyof typeof models
export const benchPresets = Object.keys(models) as BenchPreset[]

/** The configuration of a model to time. */
export function benchConfig(preset: BenchPreset): ModelConfig {
  return resolveModelConfig(models[preset])
}

/** With weights of zero. */
function openEngine(config: ModelConfig, options: NativeEngineOptions): NativeEngine {
  try {
    return new native.Engine(config, options)
  } catch (error) {
    throw fromNative(error)
  }
}

/** Tokens 1 … V-1 in a fixed pattern; what they are does not change the amount of work. */
function tokens(config: ModelConfig, batch: number): Int32Array {
  return Int32Array.from({ length: batch * config.seqLen }, (_, i) => 1 + ((i * 7) % (config.vocabSize - 1)))
}

/** Samples of something that one call runs once. The first run, which packs the weights, does not count. */
async function repeated(run: () => Promise<unknown>, gflop: number): Promise<(ms: number) => Promise<Sample>> {
  await run()
  return async (budget) => {
    const ms: number[] = []
    const end = performance.now() + budget
    do {
      const start = performance.now()
      await run()
      ms.push(performance.now() - start)
    } while (performance.now() < end)
    return { ms, gflop }
  }
}

/** One segment of a batch, the carry going on from run to run. */
export function segmentCase(preset: BenchPreset, batch: number, options: NativeEngineOptions): Case {
  return {
    name: `${preset} segment`,
    batch,
    async prepare() {
      const config = benchConfig(preset)
      const engine = openEngine(config, options)
      await engine.init(0)
      const session = await engine.openSession(batch)
      const reset = new Uint8Array(batch).fill(1)
      const inputs = tokens(config, batch)
      const puzzleIds = new Int32Array(batch)
      const run = async () => {
        await session.segment({ rows: batch, reset, inputs, puzzleIds })
        reset.fill(0)
      }
      return {
        sample: await repeated(run, (flops(config).segment * batch) / 1e9),
        close: () => engine.dispose(),
      }
    },
  }
}

/** A whole `HRM.solve()` of a batch: all segments, no early halting. */
export function solveCase(preset: BenchPreset, batch: number, options: NativeEngineOptions): Case {
  return {
    name: `${preset} solve`,
    batch,
    async prepare() {
      const config = benchConfig(preset)
      const { device, precision, threads, isa } = options
      const given = { ...(threads > 0 ? { threads } : {}), ...(isa === '' ? {} : { isa }) }
      const model = await HRM.create(models[preset], { device, precision, ...given, maxBatch: batch })
      const inputs = tokens(config, batch)
      const gflop = (flops(config).segment * batch * config.haltMaxSegments) / 1e9
      const run = () => model.solve(inputs, { halting: 'max' })
      return { sample: await repeated(run, gflop), close: () => model.dispose() }
    },
  }
}

/** One training step: a segment with gradient, one for the Q target, the backward and the update. */
export function trainCase(preset: BenchPreset, batch: number, options: NativeEngineOptions): Case {
  return {
    name: `${preset} training step`,
    batch,
    async prepare() {
      const config = benchConfig(preset)
      const engine = openEngine(config, options)
      await engine.init(0)
      await engine.startTraining(
        {
          batchSize: batch,
          microBatchSize: 0,
          totalSteps: 1e6,
          lr: 1e-4,
          lrMinRatio: 1,
          lrWarmupSteps: 2000,
          beta1: 0.9,
          beta2: 0.95,
          weightDecay: 0.1,
          puzzleEmbLr: 1e-2,
          puzzleEmbWeightDecay: 0.1,
          optimizer: 'adam_atan2',
          ema: 0,
          emaWarmup: 0,
          seed: 0,
        },
        0,
      )
      const inputs = tokens(config, batch)
      const puzzleIds = new Int32Array(batch)
      const run = () => engine.trainStep({ inputs, labels: inputs, puzzleIds })
      return {
        sample: await repeated(run, (flops(config).trainStep * batch) / 1e9),
        close: () => engine.dispose(),
      }
    },
  }
}

/** One step of the backend, as a block forward, on made-up data. */
export function stepCase(preset: BenchPreset, step: string, batch: number | null, options: NativeEngineOptions): Case {
  return {
    name: `${preset} ${step}`,
    batch,
    async prepare() {
      const engine = openEngine(benchConfig(preset), options)
      return {
        sample: (ms) => native.debug.timeStep(engine, step, batch ?? 1, ms),
        close: () => engine.dispose(),
      }
    },
  }
}
