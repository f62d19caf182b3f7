// NaN and infinities where training can meet them, planted in a running engine.
import { createHash } from 'node:crypto'
import type { NativeEngine } from '#dist/native.js'

export type Place = 'weight' | 'loss' | 'gradient'
export const places: readonly Place[] = ['weight', 'loss', 'gradient']
const bad = [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]

export interface Fault {
  place: Place
  /** What the guard must name. */
  expected: RegExp
  /** Puts the weights back. */
  mend: () => Promise<void>
}

const below = (bound: number) => Math.floor(Math.random() * bound)

/** Overwrites tensors by functions of their values; resolves to the way back. */
async function change(
  engine: NativeEngine,
  edits: Record<string, (values: Float32Array) => void>,
): Promise<() => Promise<void>> {
  const before = new Map<string, Float32Array>()
  for (const [name, edit] of Object.entries(edits)) {
    const values = (await engine.read(name)) as Float32Array
    before.set(name, values.slice())
    edit(values)
    await engine.write(name, values)
  }
  return async () => {
    for (const [name, values] of before) await engine.write(name, values)
  }
}

const scale = (factor: number) => (values: Float32Array) => values.forEach((value, at) => (values[at] = value * factor))

/** One element of a weight; of a table a whole channel, as a step may use any of its rows. Start vectors are no weights. */
async function plantInWeight(engine: NativeEngine): Promise<Fault> {
  const weights = engine.modelTensors().filter(({ name }) => !name.endsWith('_init'))
  const { name, shape } = weights[below(weights.length)]!
  const value = bad[below(bad.length)]!
  const [rows = 1, width = 1] = shape
  const table = /embed|puzzle_emb/.test(name)
  const mend = await change(engine, {
    [name]: (values) => {
      const at = below(table ? width : values.length)
      for (let row = 0; row < (table ? rows : 1); row++) values[row * width + at] = value
    },
  })
  return { place: 'weight', expected: new RegExp(`^${name.replaceAll('.', '\\.')}$`), mend }
}

/** Finite weights whose logits overflow, or a state that goes on and is not finite. */
async function plantInLoss(engine: NativeEngine): Promise<Fault> {
  const halted = (await engine.read('carry.halted')) as Uint8Array
  const going = halted.indexOf(0)
  let mend = async () => {}
  if (going >= 0 && Math.random() < 0.5) {
    await change(engine, {
      [Math.random() < 0.5 ? 'carry.z_H' : 'carry.z_L']: (values) => {
        const width = values.length / halted.length
        values[going * width + below(width)] = bad[below(bad.length)]!
      },
    })
  } else mend = await change(engine, { 'inner.lm_head.weight': (values) => values.fill(3e38) })
  return { place: 'loss', expected: /^loss$/, mend }
}

/**
 * Finite weights with a finite loss: gate and up give activations of about 1e34 that down brings back. The gradient of down
 * is their product with that of the block's output, which q_continue makes large: it says never where its target is 1.
 */
async function plantInGradient(engine: NativeEngine): Promise<Fault> {
  const mlp = 'inner.H_level.layers.0.mlp'
  const mend = await change(engine, {
    [`${mlp}.gate_up_proj.weight`]: scale(1e18),
    [`${mlp}.down_proj.weight`]: scale(1e-36),
    'inner.q_head.weight': (values) => values.fill(0).fill(1e16, values.length / 2),
    'inner.q_head.bias': (values) => values.set([1e30, -1e30]),
  })
  return { place: 'gradient', expected: /^grad\./, mend }
}

/** Plants a fault that the next step meets. */
export function plant(engine: NativeEngine, place: Place): Promise<Fault> {
  return { weight: plantInWeight, loss: plantInLoss, gradient: plantInGradient }[place](engine)
}

/** SHA-256 of weights, optimiser moments and averages; not of the carry, which every step changes. */
export async function learnedHash(engine: NativeEngine): Promise<string> {
  const hash = createHash('sha256')
  for (const { name } of [...engine.modelTensors(), ...engine.trainerTensors()]) {
    if (name.startsWith('carry.')) continue
    const { buffer, byteOffset, byteLength } = await engine.read(name)
    hash.update(name).update(new Uint8Array(buffer, byteOffset, byteLength))
  }
  return hash.digest('hex')
}
