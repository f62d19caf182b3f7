import { native, type NativeConfig, type NativeEngine } from '#dist/native.js'
import { flops } from '#dist/flops.js'

/** One thing to time: `prepare` builds it and returns one run of it; `gflop` is the arithmetic of one run. */
export interface Case {
  name: string
  batch: number
  gflop: number
  prepare(): Promise<{ run: () => Promise<void>; close: () => void }>
}

export const paper: NativeConfig = {
  vocabSize: 11,
  seqLen: 81,
  puzzleEmbNdim: 512,
  numPuzzleIdentifiers: 1,
  hCycles: 2,
  lCycles: 2,
  hLayers: 4,
  lLayers: 4,
  hiddenSize: 512,
  numHeads: 8,
  expansion: 4,
  posEncodings: 'rope',
  ropeTheta: 10000,
  rmsNormEps: 1e-5,
  haltMaxSegments: 16,
  haltExplorationProb: 0.1,
  lossType: 'stablemax_cross_entropy',
  haltOnly: false,
}
const small: NativeConfig = { ...paper, hiddenSize: 128, puzzleEmbNdim: 128, numHeads: 4, hLayers: 2, lLayers: 2 }
const tiny: NativeConfig = {
  ...paper,
  vocabSize: 6,
  seqLen: 16,
  hiddenSize: 64,
  puzzleEmbNdim: 64,
  numHeads: 2,
  hLayers: 1,
  lLayers: 1,
  haltMaxSegments: 4,
}

interface Settings {
  threads: number
  isa: string
}

async function openEngine(config: NativeConfig, settings: Settings): Promise<NativeEngine> {
  const engine = new native.Engine(config, { device: 'cpu', precision: 'fp32', ...settings })
  await engine.init(0)
  return engine
}

/** Tokens 1 … V-1 in a fixed pattern; what they are does not change the amount of work. */
function tokens(config: NativeConfig, batch: number): Int32Array {
  return Int32Array.from({ length: batch * config.seqLen }, (_, i) => 1 + ((i * 7) % (config.vocabSize - 1)))
}

function segmentCase(name: string, config: NativeConfig, batch: number, settings: Settings): Case {
  return {
    name: `${name} segment`,
    batch,
    gflop: (flops(config).segment * batch) / 1e9,
    async prepare() {
      const engine = await openEngine(config, settings)
      const session = await engine.openSession(batch)
      const reset = new Uint8Array(batch).fill(1)
      const inputs = tokens(config, batch)
      const puzzleIds = new Int32Array(batch)
      const run = async () => {
        await session.segment({ rows: batch, reset, inputs, puzzleIds })
        reset.fill(0)
      }
      return { run, close: () => engine.dispose() }
    },
  }
}

function trainCase(name: string, config: NativeConfig, batch: number, settings: Settings): Case {
  return {
    name: `${name} training step`,
    batch,
    gflop: (flops(config).trainStep * batch) / 1e9,
    async prepare() {
      const engine = await openEngine(config, settings)
      await engine.startTraining(
        {
          batchSize: batch,
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
      const run = async () => {
        await engine.trainStep({ inputs, labels: inputs, puzzleIds })
      }
      return { run, close: () => engine.dispose() }
    },
  }
}

/** The cases of `npm run bench`, in order: the 27M model of the paper, then the presets people train on a CPU. */
export function cases(settings: Settings): Case[] {
  return [
    segmentCase('paper', paper, 1, settings),
    segmentCase('paper', paper, 8, settings),
    segmentCase('paper', paper, 32, settings),
    trainCase('paper', paper, 8, settings),
    segmentCase('small', small, 32, settings),
    trainCase('small', small, 32, settings),
    segmentCase('tiny', tiny, 64, settings),
    trainCase('tiny', tiny, 64, settings),
  ]
}
