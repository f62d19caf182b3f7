import { dihedral as dihedralView, dihedralCount } from '../dihedral.js'
import type { RandomStream } from '../random.js'

/** A pair as padded tokens with the sizes (rows, columns) of its rectangles. */
export interface TokenPair {
  inputs: Int32Array
  labels: Int32Array
  inputSize: readonly [number, number]
  labelSize: readonly [number, number]
}

/** How pairs are varied. */
export interface Augmentation {
  /** Whether rectangles are rotated and reflected; the canvas is square then. */
  dihedral: boolean
  /** Tokens that are exchanged among each other; fewer than two change nothing. */
  tokens: readonly number[]
  /** Versions besides the pair itself, as far as there are different ones. */
  count: number
}

export const noAugmentation: Augmentation = { dihedral: false, tokens: [], count: 0 }

/** Draws that may fail to give a new version, for each version asked for. */
const DRAWS_PER_VERSION = 4

/** Turns the rectangle in the upper left corner of rows of `columns` cells, and renames its tokens. */
function change(
  tokens: Int32Array,
  [rows, width]: readonly [number, number],
  columns: number,
  symmetry: number,
  renamed: ReadonlyMap<number, number>,
): Int32Array {
  const view = dihedralView(symmetry, rows, width)
  const result = new Int32Array(tokens.length)
  for (let at = 0; at < view.source.length; at++) {
    const from = view.source[at]!
    const token = tokens[Math.floor(from / width) * columns + (from % width)]!
    result[Math.floor(at / view.columns) * columns + (at % view.columns)] = renamed.get(token) ?? token
  }
  return result
}

/** A pair and its different augmented versions; input and output are changed alike. */
export function* augmented(
  pair: TokenPair,
  columns: number,
  { dihedral, tokens, count }: Augmentation,
  random: RandomStream,
): Generator<Pick<TokenPair, 'inputs' | 'labels'>> {
  yield pair
  const permutes = tokens.length > 1
  const keyOf = ({ inputs, labels }: Pick<TokenPair, 'inputs' | 'labels'>) => `${inputs.join()};${labels.join()}`
  const seen = new Set([keyOf(pair)])
  // All symmetries come before any comes again, the identity last.
  const symmetries = dihedral ? [...random.permutation(dihedralCount - 1).map((at) => at + 1), 0] : [0]
  const draws = permutes ? DRAWS_PER_VERSION * count + dihedralCount : symmetries.length
  for (let draw = 0; draw < draws && seen.size <= count; draw++) {
    const symmetry = symmetries[draw % symmetries.length]!
    const order = permutes ? random.permutation(tokens.length) : []
    const renamed = new Map(Array.from(order, (to, from): [number, number] => [tokens[from]!, tokens[to]!]))
    const version = {
      inputs: change(pair.inputs, pair.inputSize, columns, symmetry, renamed),
      labels: change(pair.labels, pair.labelSize, columns, symmetry, renamed),
    }
    const key = keyOf(version)
    if (seen.has(key)) continue
    seen.add(key)
    yield version
  }
}
