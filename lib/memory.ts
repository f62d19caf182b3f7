import { type ModelConfig, type ModelOptions, resolveModelConfig, sequencePositions } from './config.js'
import { resolveDevice } from './devices.js'
import { cpuMemory } from './memory-cpu.js'
import { cudaMemory } from './memory-cuda.js'
import { native } from './native.js'
import { checkOptions, choiceOption, integerOption } from './options.js'

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
   * What it runs on; it need not be at hand.
   * @default what `auto` takes here
   */
  device?: 'cpu' | 'cuda'
  /**
   * On the CPU fp32 alone.
   * @default 'bf16' on a GPU, 'fp32' on the CPU
   */
  precision?: 'fp32' | 'bf16'
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
   * Compute threads, 1…1024: on the CPU each has work space of its own.
   * @default those that this process may use
   */
  threads?: number
}

/** Memory that a model will hold, in bytes. */
export interface MemoryEstimate {
  /** Sum of the parts. */
  bytes: number
  /** What it is for, in bytes. */
  parts: MemoryParts
}

/** Bytes by what they are for. */
export interface MemoryParts {
  /** Parameters, puzzle embeddings and start vectors, fp32. */
  weights: number
  /** Copies of the weights as the kernels read them. */
  packed: number
  /** Gradients, both moments and averages. */
  optimiser: number
  /** The states of the sequences and their examples. */
  carry: number
  /** What a segment or step computes, what its gradient needs, and work space. */
  activations: number
}

/** What a model is used for. */
export interface MemoryUse {
  batch: number
  /** Rows computed at a time. */
  sequences: number
  train: boolean
  ema: boolean
  threads: number
}

/** Bytes of z_H and z_L, [batch, S, D] fp32 each. */
function carryBytes(config: ModelConfig, batch: number): number {
  return 2 * batch * sequencePositions(config) * config.hiddenSize * 4
}

/**
 * The memory that a model needs on a device: what `model.bytes` is after a solve of `batch` sequences or a step of training,
 * within 5 %. On the CPU it is that of fp32, with kernels that pack weights; on a GPU come some hundred megabytes that the
 * driver takes for itself.
 *
 * @throws ERR_HRM_CONFIG, ERR_HRM_ARGUMENT
 *
 * @example
 * estimateMemory({ preset: 'paper', vocabSize: 11, seqLen: 81 }, { batch: 384, train: true }).bytes
 */
export function estimateMemory(config: ModelOptions, options: MemoryOptions = {}): MemoryEstimate {
  const op = 'estimateMemory'
  const model = resolveModelConfig(config)
  checkOptions(op, options, ['batch', 'train', 'microBatch', 'ema', 'device', 'threads', 'precision'])
  const batch = integerOption(op, 'batch', options.batch, 1, 2 ** 31, 1)
  const { train = false, ema = false } = options
  const sequences = integerOption(op, 'microBatch', options.microBatch, 1, batch, batch)
  const threads = integerOption(op, 'threads', options.threads, 1, 1024, native.cpuInfo().threads)
  const here = options.device === undefined && resolveDevice(op, {}).device !== 'cpu' ? 'cuda' : 'cpu'
  const device = choiceOption(op, 'device', options.device, ['cpu', 'cuda'], here)
  const precisions = device === 'cpu' ? (['fp32'] as const) : (['bf16', 'fp32'] as const)
  const precision = choiceOption(op, 'precision', options.precision, precisions, precisions[0])
  const use = { batch, sequences, train, ema, threads }
  const parts = device === 'cpu' ? cpuMemory(model, use) : cudaMemory(model, use, precision === 'bf16')
  return { bytes: Object.values(parts).reduce((sum: number, part: number) => sum + part, 0), parts }
}
