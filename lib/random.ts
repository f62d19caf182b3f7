import { rangeError } from './errors.js'

/** Multipliers and Weyl increments of Philox4x32 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011). */
const M0 = 0xd2511f53
const M1 = 0xcd9e8d57
const W0 = 0x9e3779b9
const W1 = 0xbb67ae85
const ROUNDS = 10

/** Upper 32 bits of the product of two unsigned 32-bit integers. */
function mulHigh(a: number, b: number): number {
  const aLow = a & 0xffff
  const aHigh = a >>> 16
  const bLow = b & 0xffff
  const bHigh = b >>> 16
  const middle = aHigh * bLow + ((aLow * bLow) >>> 16)
  const middle2 = aLow * bHigh + (middle % 0x10000)
  return aHigh * bHigh + Math.floor(middle / 0x10000) + Math.floor(middle2 / 0x10000)
}

/**
 * Philox4x32-10: four random words for a key and a counter, written to `out`.
 *
 * @param key - two unsigned words
 * @param counter - four unsigned words
 * @param out - [4]
 */
export function philox4x32(
  key: readonly [number, number],
  counter: readonly [number, number, number, number],
  out: Uint32Array,
): void {
  let [k0, k1] = key
  let [c0, c1, c2, c3] = counter
  for (let round = 0; round < ROUNDS; round++) {
    const high0 = mulHigh(M0, c0)
    const low0 = Math.imul(M0, c0) >>> 0
    const high1 = mulHigh(M1, c2)
    const low1 = Math.imul(M1, c2) >>> 0
    c0 = (high1 ^ c1 ^ k0) >>> 0
    c1 = low1
    c2 = (high0 ^ c3 ^ k1) >>> 0
    c3 = low0
    k0 = (k0 + W0) >>> 0
    k1 = (k1 + W1) >>> 0
  }
  out[0] = c0
  out[1] = c1
  out[2] = c2
  out[3] = c3
}

/** Seeds are the integers that a double holds exactly. Throws a RangeError with ERR_HRM_ARGUMENT otherwise. */
export function checkSeed(seed: number): void {
  if (!Number.isSafeInteger(seed) || seed < 0) {
    throw rangeError(
      `[seed] expected an integer from 0 to ${Number.MAX_SAFE_INTEGER}, got ${seed}; do pass another seed`,
    )
  }
}

/**
 * What a stream of random words is for. Streams of different purposes never meet, whatever their index; the numbers
 * are part of the formats (datasets and loader positions depend on them), so they never change.
 */
export const purposes = {
  groupOrder: 1,
  groupDraw: 2,
  subsample: 3,
  augmentation: 4,
  grid: 5,
  puzzle: 6,
  gridSplit: 7,
  validation: 8,
  hint: 9,
  translation: 16,
  view: 20,
} as const

export type Purpose = keyof typeof purposes

/**
 * A stream of random numbers that (seed, purpose, index) determine alone, on every platform: any stream can be taken up
 * without running those before it.
 */
export class RandomStream {
  readonly #key: readonly [number, number]
  readonly #counter: [number, number, number, number]
  readonly #block = new Uint32Array(4)
  #used = 4

  /** @param index - 0 ≤ index < 2^53, e.g. the epoch or the number of a puzzle; the stream has 2^34 words. */
  constructor(seed: number, purpose: Purpose, index: number) {
    checkSeed(seed)
    this.#key = [seed >>> 0, Math.floor(seed / 2 ** 32)]
    this.#counter = [0, purposes[purpose], index >>> 0, Math.floor(index / 2 ** 32)]
  }

  /** A uniform unsigned 32-bit integer. */
  nextWord(): number {
    if (this.#used === 4) {
      philox4x32(this.#key, this.#counter, this.#block)
      this.#counter[0] = (this.#counter[0] + 1) >>> 0
      this.#used = 0
    }
    return this.#block[this.#used++]!
  }

  /** A uniform integer in [0, bound), 1 ≤ bound < 2^32, without bias (Lemire, "Fast random integer generation", 2019). */
  nextBelow(bound: number): number {
    const threshold = (2 ** 32 - bound) % bound
    for (;;) {
      const word = this.nextWord()
      if (Math.imul(word, bound) >>> 0 >= threshold) return mulHigh(word, bound)
    }
  }

  /** A uniform permutation of 0 … length-1, [length] int32. */
  permutation(length: number): Int32Array {
    const values = Int32Array.from({ length }, (_, index) => index)
    this.shuffle(values)
    return values
  }

  /** Shuffles in place (Fisher–Yates). */
  shuffle<T>(values: { [index: number]: T; readonly length: number }): void {
    for (let last = values.length - 1; last > 0; last--) {
      const chosen = this.nextBelow(last + 1)
      const value = values[last]!
      values[last] = values[chosen]!
      values[chosen] = value
    }
  }

  /** `count` distinct integers of [0, bound) in random order, in O(count) memory. */
  sample(bound: number, count: number): number[] {
    const moved = new Map<number, number>()
    const chosen: number[] = []
    for (let index = 0; index < count; index++) {
      const at = index + this.nextBelow(bound - index)
      chosen.push(moved.get(at) ?? at)
      moved.set(at, moved.get(index) ?? index)
    }
    return chosen
  }
}
