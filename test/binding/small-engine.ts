// A model small enough for many engines in one test, and inputs that fit it.
import {
  native,
  type NativeBatch,
  type NativeConfig,
  type NativeEngine,
  type NativeTrainOptions,
} from '#dist/native.js'

export const config: NativeConfig = {
  vocabSize: 7,
  seqLen: 6,
  puzzleEmbNdim: 40,
  numPuzzleIdentifiers: 3,
  hCycles: 2,
  lCycles: 2,
  hLayers: 1,
  lLayers: 1,
  hiddenSize: 32,
  numHeads: 2,
  expansion: 4,
  posEncodings: 'rope',
  ropeTheta: 10000,
  rmsNormEps: 1e-5,
  haltMaxSegments: 4,
  haltExplorationProb: 0.1,
  lossType: 'stablemax_cross_entropy',
  haltOnly: false,
}

/** Sizes at which a training step takes long enough to be interrupted. */
export const slowConfig: NativeConfig = { ...config, seqLen: 32, hiddenSize: 64 }

export const options = { device: 'cpu', threads: 1, precision: 'fp32', isa: '' } as const

export function trainOptions(batchSize: number): NativeTrainOptions {
  return {
    batchSize,
    microBatchSize: 0,
    totalSteps: 1000,
    lr: 1e-3,
    lrMinRatio: 1,
    lrWarmupSteps: 1,
    beta1: 0.9,
    beta2: 0.95,
    weightDecay: 0.1,
    puzzleEmbLr: 1e-2,
    puzzleEmbWeightDecay: 0.1,
    optimizer: 'adam_atan2',
    ema: 0.9,
    emaWarmup: 10,
    seed: 1,
  }
}

export function batchOf(rows: number, { seqLen, vocabSize, numPuzzleIdentifiers }: NativeConfig = config): NativeBatch {
  return {
    inputs: Int32Array.from({ length: rows * seqLen }, (_, i) => i % vocabSize),
    labels: Int32Array.from({ length: rows * seqLen }, (_, i) => (i * 3) % vocabSize),
    puzzleIds: Int32Array.from({ length: rows }, (_, i) => i % numPuzzleIdentifiers),
  }
}

export function segmentOf(rows: number, sizes: NativeConfig = config) {
  const { inputs, puzzleIds } = batchOf(rows, sizes)
  return { rows, reset: new Uint8Array(rows).fill(1), inputs, puzzleIds }
}

export async function startedEngine(rows: number, sizes: NativeConfig = config): Promise<NativeEngine> {
  const engine = new native.Engine(sizes, options)
  await engine.init(1)
  await engine.startTraining(trainOptions(rows), 0)
  return engine
}
