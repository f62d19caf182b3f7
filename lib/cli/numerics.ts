import { readFileSync } from 'node:fs'
import { fromNative, HRMError } from '../errors.js'
import { native, type NativeConfig, type NativeEngine, type NativeEngineOptions } from '../native.js'

/** What PyTorch computes from given weights; the file is written by `scripts/write-vectors.py`. */
interface Vectors {
  config: NativeConfig
  /** Of the initial weights. */
  seed: number
  /** Tensors in place of the initial ones, row-major, float32. */
  given: Record<string, number[]>
  /** [B * T], [B * T] and [B]; labels below 0 are ignored. */
  inputs: number[]
  labels: number[]
  puzzleIds: number[]
  /** Segments of the evaluation, each with its logits. */
  segments: number
  /** By group; of gradients elements i * 2654435761 mod n. `float32Error`: of PyTorch in float32, as a part of the scale. */
  expected: Record<string, { float32Error: number; values: number[] }>
}

export const vectorsFile = new URL('../../vectors/pytorch.json', import.meta.url)

/** The group of values that is farthest from PyTorch, its error and what it may be; both as parts of the group's scale. */
export interface NumericsResult {
  group: string
  error: number
  bound: number
}

type Values = ArrayLike<number>
const prefix = 'grad.'

/** Elements i * 2654435761 mod n, as many as were stored. */
function sample(values: Values, count: number): number[] {
  return Array.from({ length: count }, (_, i) => values[Number((BigInt(i) * 2654435761n) % BigInt(values.length))]!)
}

async function overwrite(engine: NativeEngine, given: Vectors['given'], double: boolean): Promise<void> {
  for (const [name, values] of Object.entries(given)) {
    const single = Float32Array.from(values)
    await engine.write(name, double ? Float64Array.from(single) : single)
  }
}

async function evaluate(engine: NativeEngine, vectors: Vectors): Promise<[string, Values][]> {
  const rows = vectors.puzzleIds.length
  const session = await engine.openSession(rows)
  const inputs = Int32Array.from(vectors.inputs)
  const puzzleIds = Int32Array.from(vectors.puzzleIds)
  const found: [string, Values][] = []
  for (let segment = 1; segment <= vectors.segments; segment++) {
    const reset = new Uint8Array(rows).fill(segment === 1 ? 1 : 0)
    await session.segment({ rows, reset, inputs, puzzleIds })
    found.push([`segment ${segment} logits`, await session.read('last.logits')])
    found.push([`segment ${segment} q`, await session.read('last.q_logits')])
  }
  session.close()
  return found
}

/** One training step from the same weights, with learning rates of 0. */
async function train(engine: NativeEngine, vectors: Vectors): Promise<[string, Values][]> {
  const batchSize = vectors.puzzleIds.length
  await engine.startTraining(
    {
      batchSize,
      microBatchSize: 0,
      totalSteps: 1,
      lr: 0,
      lrMinRatio: 1,
      lrWarmupSteps: 0,
      beta1: 0.9,
      beta2: 0.95,
      weightDecay: 0,
      puzzleEmbLr: 0,
      puzzleEmbWeightDecay: 0,
      optimizer: 'adam_atan2',
      ema: 0,
      emaWarmup: 0,
      seed: 0,
    },
    0,
  )
  const { loss, gradNorm } = await engine.trainStep({
    inputs: Int32Array.from(vectors.inputs),
    labels: Int32Array.from(vectors.labels),
    puzzleIds: Int32Array.from(vectors.puzzleIds),
  })
  const found: [string, Values][] = [
    ['loss', [loss]],
    ['gradient norm', [gradNorm]],
    ['continue target', await engine.read('last.target_q_continue')],
  ]
  for (const [name, { values }] of Object.entries(vectors.expected)) {
    if (name.startsWith(prefix)) found.push([name, sample(await engine.read(name), values.length)])
  }
  return found
}

/** The largest difference over the largest value. */
function largestError(found: Values, expected: readonly number[]): number {
  const scale = Math.max(...expected.map(Math.abs))
  return Math.max(...expected.map((value, at) => Math.abs(found[at]! - value))) / scale
}

/** The L2 norm of the differences over that of the values. */
function relativeNorm(found: Values, expected: readonly number[]): number {
  return Math.hypot(...expected.map((value, at) => found[at]! - value)) / Math.hypot(...expected)
}

/** The rule of `npm run parity` (docs/numerics.md) for each precision; groups without a bound are not compared. */
const rules = {
  fp64: { error: largestError, bound: () => 1e-9 },
  fp32: { error: largestError, bound: (_, float32Error) => Math.max(1e-5, 3 * float32Error) },
  bf16: { error: relativeNorm, bound: (group) => (group === 'segment 1 logits' ? 8e-2 : undefined) },
} as const satisfies Record<
  string,
  {
    error: (found: Values, expected: readonly number[]) => number
    bound: (group: string, float32Error: number) => number | undefined
  }
>

/** The precisions that are compared with PyTorch. */
export type CheckedPrecision = keyof typeof rules

/**
 * Compares an evaluation and a training step of a small model with what PyTorch computes.
 *
 * @returns the group that is closest to its bound, or farthest beyond it
 * @throws HRMError of the device; ERR_HRM_IO where the vectors cannot be read
 */
export async function checkNumerics(
  options: NativeEngineOptions & { precision: CheckedPrecision },
): Promise<NumericsResult> {
  let vectors: Vectors
  try {
    vectors = JSON.parse(readFileSync(vectorsFile, 'utf8')) as Vectors
  } catch (cause) {
    const message = `[doctor] expected a readable ${vectorsFile.pathname}, got ${(cause as Error).message}; do install again`
    throw new HRMError('ERR_HRM_IO', message, { path: vectorsFile.pathname }, { cause })
  }
  const { error: errorOf, bound: boundOf } = rules[options.precision]
  let worst: NumericsResult | undefined
  try {
    const engine = new native.Engine(vectors.config, options)
    try {
      await engine.init(vectors.seed)
      await overwrite(engine, vectors.given, options.precision === 'fp64')
      const found = new Map([...(await evaluate(engine, vectors)), ...(await train(engine, vectors))])
      for (const [group, { float32Error, values }] of Object.entries(vectors.expected)) {
        const bound = boundOf(group, float32Error)
        if (bound === undefined) continue
        // A NaN compares with nothing: it must count as the worst.
        const measured = errorOf(found.get(group) ?? [], values)
        const error = Number.isNaN(measured) ? Infinity : measured
        if (worst === undefined || error / bound > worst.error / worst.bound) worst = { group, error, bound }
      }
    } finally {
      engine.dispose()
    }
  } catch (error) {
    throw fromNative(error)
  }
  return worst!
}
