import type { NativeConfig, NativeEngine } from '#dist/native.js'
import { puzzlePositions } from '#dist/config.js'
import { RandomStream } from '#dist/random.js'
import type { OnnxRuntime, OnnxSession, OnnxTensor } from './onnxruntime.js'

/** What a segment leaves, row-major: z [B, S, D], logits [B, T, V], q [B]. */
export interface SegmentOutputs {
  zH: Float32Array
  zL: Float32Array
  logits: Float32Array
  qHalt: Float32Array
  qContinue: Float32Array
}

/** One way to run segments of the same model on the same examples. */
export interface Contestant {
  name: string
  /** Lets the next segment start all rows afresh. */
  reset(): void
  segment(): Promise<void>
  /** What the last segment left. */
  outputs(): Promise<SegmentOutputs>
  close(): void
}

export interface OnnxContestant extends Contestant {
  /** Lets the next segment start from these states. */
  continueFrom(states: Pick<SegmentOutputs, 'zH' | 'zL'>): void
}

/** Random tokens [B, T] and puzzle identifiers [B]. */
export interface Examples {
  batch: number
  inputs: Int32Array
  puzzleIds: Int32Array
}

export function randomExamples(config: NativeConfig, batch: number, seed = 0): Examples {
  const stream = new RandomStream(seed, 'grid', 0)
  const draw = (length: number, bound: number) => Int32Array.from({ length }, () => stream.nextBelow(bound))
  return {
    batch,
    inputs: draw(batch * config.seqLen, config.vocabSize),
    puzzleIds: draw(batch, config.numPuzzleIdentifiers),
  }
}

/** This package's addon; the carry stays inside it. */
export async function nativeContestant(name: string, engine: NativeEngine, examples: Examples): Promise<Contestant> {
  const { batch, inputs, puzzleIds } = examples
  const session = await engine.openSession(batch)
  const reset = new Uint8Array(batch).fill(1)
  const read = async (tensor: string) => (await session.read(tensor)) as Float32Array
  return {
    name,
    reset: () => void reset.fill(1),
    async segment() {
      await session.segment({ rows: batch, reset, inputs, puzzleIds })
      reset.fill(0)
    },
    async outputs() {
      const q = await read('last.q_logits')
      return {
        zH: await read('carry.z_H'),
        zL: await read('carry.z_L'),
        logits: await read('last.logits'),
        qHalt: q.filter((_, i) => i % 2 === 0),
        qContinue: q.filter((_, i) => i % 2 === 1),
      }
    },
    close: () => session.close(),
  }
}

/** onnxruntime-node on an exported model; the states go out and come in again with every segment. */
export function onnxContestant(
  name: string,
  runtime: OnnxRuntime,
  session: OnnxSession,
  config: NativeConfig,
  examples: Examples,
): OnnxContestant {
  const { batch, inputs, puzzleIds } = examples
  const state = [batch, puzzlePositions(config) + config.seqLen, config.hiddenSize]
  const stateOf = (values: Float32Array) => new runtime.Tensor('float32', values, state)
  const zeros = stateOf(new Float32Array(state.reduce((a, b) => a * b)))
  const flags = [0, 1].map((flag) => new runtime.Tensor('bool', new Uint8Array(batch).fill(flag), [batch]))
  const fixed = {
    inputs: new runtime.Tensor('int32', inputs, [batch, config.seqLen]),
    puzzle_identifiers: new runtime.Tensor('int32', puzzleIds, [batch]),
  }
  let last: Record<string, OnnxTensor> = { z_h_next: zeros, z_l_next: zeros }
  let reset = flags[1]!
  const read = (output: string) => last[output]!.data as Float32Array
  return {
    name,
    reset: () => void (reset = flags[1]!),
    async segment() {
      last = await session.run({ ...fixed, z_h: last['z_h_next']!, z_l: last['z_l_next']!, reset })
      reset = flags[0]!
    },
    outputs: () =>
      Promise.resolve({
        zH: read('z_h_next'),
        zL: read('z_l_next'),
        logits: read('logits'),
        qHalt: read('q_halt_logits'),
        qContinue: read('q_continue_logits'),
      }),
    continueFrom: ({ zH, zL }) => void (last = { z_h_next: stateOf(zH), z_l_next: stateOf(zL) }),
    close: () => {},
  }
}

/** The largest difference relative to the largest magnitude of `b`; NaN where either holds one. */
function relativeDifference(a: Float32Array, b: Float32Array): number {
  if (a.length !== b.length || a.length === 0) return Number.NaN
  let difference = 0
  let scale = 0
  for (let i = 0; i < a.length; i++) {
    difference = Math.max(difference, Math.abs(a[i]! - b[i]!))
    scale = Math.max(scale, Math.abs(b[i]!))
  }
  return difference / scale
}

/**
 * The largest difference of any output after any of the segments, relative to its largest magnitude. Each segment starts
 * from the states that ours reached: left to themselves, random weights of the paper's size triple a difference with
 * every segment, in any arithmetic, so that after ten segments single precision holds nothing of the true states.
 */
export async function disagreement(ours: Contestant, theirs: OnnxContestant, segments: number): Promise<number> {
  let largest = 0
  ours.reset()
  theirs.reset()
  for (let segment = 0; segment < segments; segment++) {
    await ours.segment()
    await theirs.segment()
    const [expected, got] = [await ours.outputs(), await theirs.outputs()]
    for (const output of Object.keys(expected) as (keyof SegmentOutputs)[]) {
      largest = Math.max(largest, relativeDifference(got[output], expected[output]))
    }
    theirs.continueFrom(expected)
  }
  return largest
}
