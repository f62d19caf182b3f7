import {
  type ModelConfig,
  type ModelOptions,
  parameterCount,
  puzzlePositions,
  resolveModelConfig,
  swigluInnerSize,
} from './config.js'
import { native } from './native.js'
import { checkOptions, integerOption } from './options.js'

// As in cpu/simd: elements of a panel of weights with AVX-512, of a cache line; rows that a thread works on at once.
const panelWidth = 32
const lineFloats = 16
const taskRows = 84

/** Memory for the carries of a batch of solve(), when the caller does not choose its size. */
const carryBudgetBytes = 2 ** 26
const mostRows = 32

/** Sequences that solve() runs at once, unless the caller chooses. */
export function defaultMaxBatch(config: ModelConfig): number {
  return Math.max(1, Math.min(mostRows, Math.floor(carryBudgetBytes / carryBytes(config, 1))))
}

/** What the memory is for. */
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
  /**
   * Compute threads, >= 1: each has work space of its own.
   * @default those that this process may use
   */
  threads?: number
}

/** Memory that a model will hold, in bytes. */
export interface MemoryEstimate {
  /** Sum of the parts. */
  bytes: number
  /** What it is for, in bytes. */
  parts: {
    /** Parameters, puzzle embeddings and start vectors, fp32. */
    weights: number
    /** Copies of the weights in the layout of the kernels. */
    packed: number
    /** Gradients, both moments and averages. */
    optimiser: number
    /** The states of the sequences and their examples. */
    carry: number
    /** What a segment or step computes, what its gradient needs, and the work space of the threads. */
    activations: number
  }
}

/** Bytes of z_H and z_L, [batch, S, D] fp32 each. */
function carryBytes(config: ModelConfig, batch: number): number {
  return 2 * batch * positionsOf(config) * config.hiddenSize * 4
}

/** Positions of a sequence, S: those of the puzzle embedding and the tokens. */
function positionsOf(config: ModelConfig): number {
  return puzzlePositions(config) + config.seqLen
}

const roundUp = (value: number, unit: number): number => Math.ceil(value / unit) * unit

/** Floats of a matrix of activations, whose rows are padded (cpu/simd/matrix.h). */
function matrixFloats(rows: number, width: number): number {
  const lines = Math.ceil(width / lineFloats)
  return rows * (lines >= 8 && lines % 2 === 0 ? lines + 1 : lines) * lineFloats
}

/** Floats of the packed weights of one layout (cpu/simd/packed_weights.cc). */
function packedFloats(model: ModelConfig, transposed: boolean): number {
  const { hiddenSize: d, vocabSize: v, hLayers, lLayers } = model
  const inner = swigluInnerSize(model)
  // Columns of each product are rounded up to panels.
  const panels = (columns: number, depth: number) => roundUp(columns, panelWidth) * depth
  const layer = transposed
    ? 2 * panels(d, d) + panels(d, 2 * d) + panels(d, 2 * inner) + panels(inner, d)
    : panels(3 * d, d) + panels(d, d) + panels(2 * inner, d) + panels(d, inner)
  return (hLayers + lLayers) * layer + (transposed ? panels(d, v) : panels(v, d) + panels(2, d))
}

/** Rows of the sequences that a thread has to itself; 0 where threads share sequences (cpu/simd/block_stages.h). */
function ownRows(sequences: number, positions: number, threads: number): number {
  const share = Math.ceil(sequences / threads)
  if (sequences * 10 < share * threads * 9) return 0
  const rounds = Math.max(1, Math.floor((Math.floor((sequences * positions) / threads) + taskRows / 2) / taskRows))
  return Math.ceil(sequences / Math.min(sequences, rounds * threads)) * positions
}

/**
 * The memory that a model needs on the CPU in fp32: what `model.bytes` is after a solve of `batch` sequences or a step of
 * training, within 5 %.
 *
 * @throws ERR_HRM_CONFIG, ERR_HRM_ARGUMENT
 *
 * @example
 * estimateMemory({ preset: 'paper', vocabSize: 11, seqLen: 81 }, { batch: 384, train: true }).bytes
 */
export function estimateMemory(config: ModelOptions, options: MemoryOptions = {}): MemoryEstimate {
  const op = 'estimateMemory'
  const model = resolveModelConfig(config)
  checkOptions(op, options, ['batch', 'train', 'microBatch', 'ema', 'threads'])
  const batch = integerOption(op, 'batch', options.batch, 1, 2 ** 31, 1)
  const { train = false, ema = false } = options
  const sequences = integerOption(op, 'microBatch', options.microBatch, 1, batch, batch)
  const threads = integerOption(op, 'threads', options.threads, 1, 1024, native.cpuInfo().threads)
  const { hiddenSize: d, vocabSize, seqLen, hLayers, lLayers, numHeads, numPuzzleIdentifiers, puzzleEmbNdim } = model
  const positions = positionsOf(model)
  const rows = sequences * positions
  const inner = swigluInnerSize(model)
  const dense = parameterCount(model)
  const table = numPuzzleIdentifiers * puzzleEmbNdim
  // Gradients, those of a further micro-batch, both moments, averages.
  const optimiser = train ? (sequences < batch ? 4 : 3) * dense + (ema ? dense + table : 0) : 0

  // Tensors of a segment: the input, the logits and, in training, the gradients of both and the states of the segment
  // that q_continue learns from.
  const perSequence = positions * d + seqLen * vocabSize
  const states = train && !model.haltOnly && model.haltMaxSegments > 1 ? 2 * positions * d : 0
  const tensors = train
    ? sequences * (positions * d + perSequence + states + puzzleEmbNdim) + batch * (seqLen * vocabSize + puzzleEmbNdim)
    : batch * (perSequence + puzzleEmbNdim + seqLen)
  // Work space of a block: q, k, v and attention output, of the batch or of each thread's sequences; then the operands of
  // the gradients of its weights.
  const own = ownRows(sequences, positions, threads)
  const forward = own > 0 ? 0 : matrixFloats(rows, 3 * d) + matrixFloats(rows, d)
  const backward =
    2 * matrixFloats(rows, d) + matrixFloats(rows, inner) + matrixFloats(rows, 2 * inner) + matrixFloats(rows, 3 * d)
  const readout = matrixFloats(sequences * seqLen, d)
  // What a layer keeps for its gradient: input, attention output, both norms; q, k, v; gate and up; a few sums.
  const sums = 2 * rows + 2 * sequences * numHeads * roundUp(positions, panelWidth)
  const kept =
    4 * matrixFloats(rows, d) + matrixFloats(rows, 3 * d) + matrixFloats(rows, 2 * roundUp(inner, lineFloats)) + sums
  const thread =
    (train ? 2 : 1) * matrixFloats(taskRows, inner) +
    2 * (positions + d / numHeads) * panelWidth +
    matrixFloats(own, 3 * d) +
    matrixFloats(own, d)
  const activations =
    tensors + forward + threads * thread + (train ? backward + readout + (hLayers + lLayers) * kept : 0)
  const parts = {
    weights: 4 * (dense + table + 2 * d),
    packed: 4 * (packedFloats(model, false) + (train ? packedFloats(model, true) : 0)),
    optimiser: 4 * optimiser,
    // Besides the states two examples a slot, the present and the next.
    carry: carryBytes(model, batch) + 4 * batch * (4 * seqLen + 3),
    activations: 4 * activations,
  }
  return { bytes: Object.values(parts).reduce((sum, part) => sum + part, 0), parts }
}
