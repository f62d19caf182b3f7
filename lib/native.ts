import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { ModelConfig } from './config-types.js'
import { HRMError } from './errors.js'

/** Sizes and constants of one model, as the addon takes them. */
export type NativeConfig = ModelConfig

export interface NativeEngineOptions {
  /** `cpu`, `cuda` or `cuda:N`. */
  device: string
  /** Compute threads, 0 = as many cores as the process may use. */
  threads: number
  /** bf16 on a GPU alone, fp64 and int8 on the CPU alone. */
  precision: 'fp32' | 'fp64' | 'int8' | 'bf16'
  /** `''` = the best the CPU has; else reference, portable, avx2, avx512, avx512vnni, neon. */
  isa: string
}

export interface NativeTrainOptions {
  /** Rows of every batch, B. */
  batchSize: number
  /** 0 = batchSize. */
  microBatchSize: number
  /** Length of the schedule in steps. */
  totalSteps: number
  lr: number
  lrMinRatio: number
  lrWarmupSteps: number
  beta1: number
  beta2: number
  weightDecay: number
  puzzleEmbLr: number
  puzzleEmbWeightDecay: number
  optimizer: 'adam_atan2' | 'adam_atan2_inside'
  /** Decay of the moving average of the weights, 0 = none. */
  ema: number
  /** The decay of step t is min(ema, (1 + t) / (emaWarmup + t)); 0 = no warm-up. */
  emaWarmup: number
  /** Seed of the exploration draws. */
  seed: number
}

/** Row-major int32 arrays: inputs and labels [B, T] (labels < 0 are ignored), puzzleIds [B]. */
export interface NativeBatch {
  inputs: Int32Array
  labels: Int32Array
  puzzleIds: Int32Array
}

/** Exploration draws of one step, instead of the seeded ones: what `rand` and `randint(2, max+1)` return, [B] each. */
export interface NativeDraws {
  u: Float32Array
  minSteps: Int32Array
}

/** Sums over the rows of a batch, with the official names; divide by `count` or by the batch size. */
export interface NativeMetricSums {
  count: number
  accuracy: number
  exact_accuracy: number
  q_halt_accuracy: number
  steps: number
  lm_loss: number
  q_halt_loss: number
  q_continue_loss: number
}

export interface NativeStepResult {
  /** The step just done, from 1. */
  step: number
  /** The learning rate it used. */
  lr: number
  /** Sum of the loss over rows: lm + (q_halt + q_continue) / 2. */
  loss: number
  /** L2 norm of all dense gradients of loss / B. */
  gradNorm: number
  /** The first non-finite tensor ('loss', 'grad.…' or a weight), else ''; then no update was applied and every slot restarts. */
  nonFinite: string
  metrics: NativeMetricSums
}

export interface NativeTensorInfo {
  name: string
  dtype: 'F32' | 'F64' | 'I32' | 'U8'
  shape: number[]
}

/** z <- start state + sigma * N(0, 1) for both states, drawn from the row's key alone. */
export interface NativeStartNoise {
  /** [n], >= 0; 0 = none. */
  sigmas: Float64Array
  /** [n, 3]: low and high word of the seed, and the run. */
  keys: Int32Array
}

export interface NativeSegmentOptions {
  /** Rows of this segment, n <= capacity; rows not halted before continue their carry. */
  rows: number
  /** [n] bytes: != 0 starts the row afresh with the example below. */
  reset: Uint8Array
  /** [n, T]; read only where reset. */
  inputs: Int32Array
  /** [n]; read only where reset. */
  puzzleIds: Int32Array
  /** [n, T]; given for evaluation metrics (read only where reset), else undefined. */
  labels?: Int32Array | undefined
  /** Rows of the previous segment to keep, ascending, in order: they become rows 0…; applied first. */
  keep?: Int32Array | undefined
  /** Gaussian noise on the start states; read only where reset. */
  noise?: NativeStartNoise | undefined
  /**
   * [n]: instead of one segment, run until a row is done: it has done as many segments, or, where `adaptive` [n] is not 0,
   * halts by the model's rule. Not with labels or residual. The rest of a GPU's work that a host would do in between is
   * left out.
   */
  limits?: Int32Array | undefined
  adaptive?: Uint8Array | undefined
  /** Whether to measure `residual`; it costs copies of the state. */
  residual?: boolean | undefined
}

export interface NativeSegmentResult {
  /** [n, T] argmax tokens. */
  tokens: Int32Array
  /** [n] logits of the Q head. */
  qHalt: Float32Array
  qContinue: Float32Array
  /** [n] segments done since the row's reset. */
  steps: Int32Array
  /**
   * With labels: [n, 6] per row: cross-entropy (mean over labelled tokens), BCE of q_halt, BCE of q_continue (0),
   * labelled tokens, of them right, 1 if all are right.
   */
  rowStats?: Float64Array
  /** If asked for: [n] |z_H after - z_H before| / |z_H after| of this segment, L2 norms over positions and channels. */
  residual?: Float64Array
}

/** Inference carry of up to `capacity` rows. Sessions share the engine's weights. */
export interface NativeSession {
  segment(options: NativeSegmentOptions): Promise<NativeSegmentResult>
  /** Carry or last logits of this session by trace name, over its whole capacity. */
  read(name: string): Promise<Float32Array | Float64Array | Int32Array | Uint8Array>
  /** Frees the carry once queued segments are done; later calls reject with ERR_HRM_DISPOSED. Idempotent. */
  close(): void
}

/**
 * One model on one device with its own engine thread: promises settle in call order, work never runs on the event loop.
 *
 * Tensor names: parameters and buffers as in official checkpoints without prefix (`inner.H_init`, `inner.H_level.…`);
 * once training: `optimizer.m.<param>`, `optimizer.v.<param>`, `ema.<param>` (with ema), `carry.z_H`, `carry.z_L`,
 * `carry.steps`, `carry.halted`, `carry.inputs`, `carry.labels`, `carry.puzzle_identifiers`;
 * of the last step, for traces: `grad.<param>`, `grad.inner.puzzle_emb.local_weights`, `last.logits`, `last.q_logits` [B,2],
 * `last.target_q_continue`, `last.row_stats` [B,6].
 */
export interface NativeEngine {
  /** What computes: "cpu avx512, 2 threads". */
  readonly description: string
  /** Trainable parameters, without buffers and puzzle embeddings. */
  readonly numParameters: number
  /** Bytes that this engine and its sessions hold now: tensors, tapes, copies of weights and working memory. */
  readonly bytes: number
  /** Initialises all parameters from the seed. */
  init(seed: number): Promise<void>
  /** Parameters, buffers and puzzle embeddings, what a checkpoint's model file holds, in canonical order. */
  modelTensors(): NativeTensorInfo[]
  /** Optimiser moments, averages and carry, what resuming needs besides the model. Empty unless training. */
  trainerTensors(): NativeTensorInfo[]
  /** Any tensor by name, also the trace tensors. */
  tensorInfo(name: string): NativeTensorInfo | undefined
  /** Copies one tensor; F32 as Float32Array, F64 as Float64Array, I32 as Int32Array, U8 as Uint8Array. */
  read(name: string): Promise<Float32Array | Float64Array | Int32Array | Uint8Array>
  /** Overwrites one tensor from an array of its dtype and length. */
  write(name: string, values: Float32Array | Float64Array | Int32Array | Uint8Array): Promise<void>
  /** Allocates optimiser state, gradients and carry; all slots start halted, the step counter at `step`. */
  startTraining(options: NativeTrainOptions, step: number): Promise<void>
  /** One segment, its loss and one update. `draws` replaces the exploration. */
  trainStep(batch: NativeBatch, draws?: NativeDraws): Promise<NativeStepResult>
  /** Frees what startTraining allocated. */
  endTraining(): Promise<void>
  /** Exchanges weights and their moving averages (a second call restores them). */
  swapEma(): Promise<void>
  openSession(capacity: number): Promise<NativeSession>
  /** Frees everything once queued work is done; later calls reject with ERR_HRM_DISPOSED. Idempotent. */
  dispose(): void
}

/** Hooks for parity runs and tests; not part of the package's API. */
export interface NativeDebug {
  /** Records sub-module outputs of the next segment of an fp64 or reference engine. */
  startStages(engine: NativeEngine): Promise<void>
  /** Ends the recording: ["self_attn" | "mlp" | "block", values [B,S,D]] in call order. */
  takeStages(engine: NativeEngine): Promise<[string, Float64Array | Float32Array][]>
  /** lr of a step by the warm-up + cosine schedule. */
  learningRate(step: number, base: number, warmup: number, total: number, minRatio: number): number
  /** The variance-compensated truncated normal: `count` seeded values, or one for each u in [erf(-√2), erf(√2)]. */
  truncatedNormal(std: number, seed: number, count: number, u?: Float64Array): Float64Array
  /** Philox4x32-10: four words for (key, counter). */
  philox(key: [number, number], counter: [number, number, number, number]): Uint32Array
  /** Steps for timeStep(). `batched`: the work grows with the batch; `training`: only a training takes this step. */
  timedSteps(): { name: string; batched: boolean; training: boolean }[]
  /** Times one step of the engine's backend at its shapes for `ms`, three runs at least; gflop of one, 0 = memory-bound. */
  timeStep(engine: NativeEngine, step: string, batch: number, ms: number): Promise<{ gflop: number; ms: Float64Array }>
  /** Runs a throughput micro-benchmark of fused multiply-adds: GFLOP/s over `threads` threads. */
  peakFlops(threads: number, isa: string, ms: number): Promise<number>
  /** The same on a GPU, `cuda` or `cuda:N`, on its tensor cores for bf16. */
  gpuPeakFlops(device: string, precision: 'fp32' | 'bf16', ms: number): Promise<number>
}

export interface Native {
  Engine: new (config: NativeConfig, options: NativeEngineOptions) => NativeEngine
  /** CPU features and threads of this machine. */
  cpuInfo(): { isa: string; isas: string[]; threads: number }
  /**
   * The GPUs that this build can use, by index, and why there is none ('' if there is one); `unusable`: one, or a driver, is
   * there all the same.
   */
  gpuInfo(): {
    devices: { name: string; capability: string; multiprocessors: number; memoryBytes: number }[]
    reason: string
    unusable: boolean
  }
  /** Maps a file read-only. Throws ERR_HRM_IO. The mapping lives as long as the buffer. */
  mapFile(path: string): ArrayBuffer
  /** Takes an exclusive flock; undefined when another process holds it. Held until release() or process end. */
  lockFile(path: string): { release(): void } | undefined
  debug: NativeDebug
}

const root = join(dirname(fileURLToPath(import.meta.url)), '..')

/** The value of HRM_DEVICE that runs the GPU code on the CPU, in a checkout: slow, for tests. */
export const cudaOnHost = 'cuda-host'

function load(): Native {
  try {
    if (process.env.HRM_DEVICE === cudaOnHost) {
      return createRequire(import.meta.url)(join(root, 'build/cuda-host/hrm_cuda_host.node')) as Native
    }
    return (createRequire(import.meta.url)('node-gyp-build') as (folder: string) => Native)(root)
  } catch (cause) {
    const why = cause instanceof Error ? (cause.message.split('\n')[0] ?? '') : String(cause)
    throw new HRMError(
      'ERR_HRM_NO_BINARY',
      `[load] expected a native binary for ${process.platform}-${process.arch}, got: ${why}; to compile one ` +
        '(cmake >= 3.25 and a C++20 compiler are needed): npm install-scripts approve hrm-native && npm rebuild hrm-native',
      { platform: process.platform, arch: process.arch },
      { cause },
    )
  }
}

/** The addon; this module alone loads it. */
export const native: Native = load()
