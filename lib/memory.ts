import {
  type ModelConfig,
  type ModelOptions,
  parameterCount,
  puzzlePositions,
  resolveModelConfig,
  swigluInnerSize,
} from './config.js'
import { checkOptions, integerOption } from './options.js'

/** Memory for the carries of a batch of solve(), when the caller does not choose its size. */
const carryBudgetBytes = 2 ** 26
const mostRows = 32

/** Sequences that solve() runs at once, unless the caller chooses. */
export function defaultMaxBatch(config: ModelConfig): number {
  return Math.max(1, Math.min(mostRows, Math.floor(carryBudgetBytes / carryBytes(config, 1))))
}

export interface MemoryOptions {
  /**
   * Sequences at once, >= 1: maxBatch of solve(), or the batch size of the training.
   * @default 1
   */
  batch?: number
  /**
   * Whether the model trains.
   * @default false
   */
  train?: boolean
  /**
   * Rows that a training computes at a time, >= 1, as `microBatchSize`.
   * @default batch
   */
  microBatch?: number
  /**
   * Whether the training averages the weights.
   * @default false
   */
  ema?: boolean
}

export interface MemoryEstimate {
  /** Sum of the parts. */
  bytes: number
  parts: {
    /** Parameters, puzzle embeddings and start vectors, fp32. */
    weights: number
    /** Copies of the weights in the layout of the kernels. */
    packed: number
    /** Gradients, both moments and averages. */
    optimiser: number
    /** The states of the sequences and their examples. */
    carry: number
    /** What one segment computes, and what its gradient needs. */
    activations: number
  }
}

/** Bytes of z_H and z_L, [batch, S, D] fp32 each. */
function carryBytes(config: ModelConfig, batch: number): number {
  return 2 * batch * (puzzlePositions(config) + config.seqLen) * config.hiddenSize * 4
}

/**
 * An estimate of the memory that a model needs on the CPU in fp32.
 *
 * @throws ERR_HRM_CONFIG, ERR_HRM_ARGUMENT
 *
 * @example
 * estimateMemory({ preset: 'paper', vocabSize: 11, seqLen: 81 }, { batch: 384, train: true }).bytes
 */
export function estimateMemory(config: ModelOptions, options: MemoryOptions = {}): MemoryEstimate {
  const op = 'estimateMemory'
  const model = resolveModelConfig(config)
  checkOptions(op, options, ['batch', 'train', 'microBatch', 'ema'])
  const batch = integerOption(op, 'batch', options.batch, 1, 2 ** 31, 1)
  const { train = false, ema = false } = options
  const rows = integerOption(op, 'microBatch', options.microBatch, 1, batch, batch)
  const { hiddenSize: d, vocabSize, seqLen, hLayers, lLayers, numPuzzleIdentifiers, puzzleEmbNdim } = model
  const positions = rows * (puzzlePositions(model) + seqLen)
  const inner = swigluInnerSize(model)
  const dense = parameterCount(model)
  const table = numPuzzleIdentifiers * puzzleEmbNdim
  const packed = (hLayers + lLayers) * (4 * d * d + 3 * inner * d) + vocabSize * d
  // Gradients, those of a further micro-batch, both moments, averages.
  const optimiser = train ? (rows < batch ? 4 : 3) * dense + (ema ? dense + table : 0) : 0
  // What the kernels of one block share: q, k, v, attention output, its projection, gate, up and their product.
  const shared = positions * (6 * d + 3 * inner)
  // What one layer keeps for its gradient: input, q, k, v, attention output, both norms, gate and up.
  const kept = positions * (7 * d + 2 * inner)
  const readout = positions * d + 2 * batch * seqLen * vocabSize
  // A training also has the gradients of the states and, for a continue target, the states of its segment.
  const states = model.haltOnly ? 2 : 4
  const activations = shared + readout + (train ? (hLayers + lLayers) * kept + states * positions * d : 0)
  const parts = {
    weights: 4 * (dense + table + 2 * d),
    packed: 4 * packed * (train ? 2 : 1),
    optimiser: 4 * optimiser,
    carry: carryBytes(model, batch) + 4 * batch * (3 * seqLen + 3),
    activations: 4 * activations,
  }
  return { bytes: Object.values(parts).reduce((sum, part) => sum + part, 0), parts }
}
