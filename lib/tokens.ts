import { argumentError, HRMError, rangeError } from './errors.js'
import { show } from './options.js'

/** Arrays of integers that hold token ids. */
export type IntegerArray =
  Int8Array | Uint8Array | Uint8ClampedArray | Int16Array | Uint16Array | Int32Array | Uint32Array

/** One example: `seqLen` token ids, grids flattened row by row. */
export type Example = readonly number[] | IntegerArray

/** One example, a list of examples, or a typed array of k x seqLen ids. */
export type SolveInput = Example | readonly Example[]

export interface TokenLimits {
  /** Ids are below it. */
  vocabSize: number
  /** Tokens of one example. */
  seqLen: number
}

/** A checked copy of the caller's examples. */
export interface TokenRows {
  rows: number
  /** [rows, seqLen] */
  tokens: Int32Array
  /** Whether the caller gave a list, and gets a list. */
  batch: boolean
}

function isIntegerArray(value: unknown): value is IntegerArray {
  return (
    value instanceof Int8Array ||
    value instanceof Uint8Array ||
    value instanceof Uint8ClampedArray ||
    value instanceof Int16Array ||
    value instanceof Uint16Array ||
    value instanceof Int32Array ||
    value instanceof Uint32Array
  )
}

/** Copies ids into `out` from `start` on; `where` names the example in errors. */
function copyIds(
  op: string,
  where: string,
  ids: ArrayLike<unknown>,
  limits: TokenLimits,
  out: Int32Array,
  start: number,
) {
  const { length } = ids
  for (let i = 0; i < length; i++) {
    const id = ids[i]
    if (typeof id !== 'number') throw argumentError(`[${op}] expected ${where}[${i}] to be a token id, got ${show(id)}`)
    if (!Number.isInteger(id) || id < 0 || id >= limits.vocabSize) {
      throw rangeError(`[${op}] expected ${where}[${i}] to be a token id of 0…${limits.vocabSize - 1}, got ${id}`)
    }
    out[start + i] = id
  }
}

function shapeError(op: string, expected: string, found: string): HRMError {
  return new HRMError('ERR_HRM_SHAPE', `[${op}] expected ${expected}, got ${found}`, { expected, found })
}

/**
 * Checks and copies examples.
 *
 * @throws TypeError or RangeError ERR_HRM_ARGUMENT for what is not a token id
 * @throws ERR_HRM_SHAPE for a wrong number of tokens
 */
export function readTokens(op: string, input: unknown, limits: TokenLimits): TokenRows {
  const { seqLen } = limits
  if (isIntegerArray(input)) {
    const { length } = input
    if (length === 0 || length % seqLen !== 0) {
      throw shapeError(op, `${seqLen} tokens, or a multiple for a batch`, `${length}`)
    }
    const tokens = new Int32Array(length)
    copyIds(op, 'input', input, limits, tokens, 0)
    return { rows: length / seqLen, tokens, batch: length > seqLen }
  }
  if (!Array.isArray(input)) {
    throw argumentError(`[${op}] expected token ids as an array or an integer typed array, got ${show(input)}`)
  }
  const batch = Array.isArray(input[0]) || isIntegerArray(input[0])
  if (!batch) {
    if (input.length !== seqLen)
      throw shapeError(op, `${seqLen} tokens or a list of examples`, `${input.length} tokens`)
    const tokens = new Int32Array(seqLen)
    copyIds(op, 'input', input, limits, tokens, 0)
    return { rows: 1, tokens, batch }
  }
  const rows = input.length
  const tokens = new Int32Array(rows * seqLen)
  for (let row = 0; row < rows; row++) {
    const example: unknown = input[row]
    if (!Array.isArray(example) && !isIntegerArray(example)) {
      throw argumentError(`[${op}] expected input[${row}] to be an array of token ids, got ${show(example)}`)
    }
    if (example.length !== seqLen) {
      throw shapeError(op, `${seqLen} tokens in input[${row}]`, `${example.length}`)
    }
    copyIds(op, `input[${row}]`, example, limits, tokens, row * seqLen)
  }
  return { rows, tokens, batch }
}

/** One puzzle id for all rows, or one per row, as [rows]. */
export function readPuzzleIds(
  op: string,
  options: { puzzleId?: unknown; puzzleIds?: unknown },
  rows: number,
  numPuzzleIdentifiers: number,
): Int32Array {
  const ids = new Int32Array(rows)
  const set = (name: string, row: number, id: unknown) => {
    if (typeof id !== 'number') throw argumentError(`[${op}] expected ${name} to be a puzzle id, got ${show(id)}`)
    if (!Number.isInteger(id) || id < 0 || id >= numPuzzleIdentifiers) {
      throw rangeError(`[${op}] expected ${name} to be a puzzle id of 0…${numPuzzleIdentifiers - 1}, got ${id}`)
    }
    ids[row] = id
  }
  const { puzzleId, puzzleIds } = options
  if (puzzleIds === undefined) {
    for (let row = 0; row < rows; row++) set('puzzleId', row, puzzleId ?? 0)
    return ids
  }
  if (puzzleId !== undefined) throw argumentError(`[${op}] expected puzzleId or puzzleIds, got both`)
  if (!Array.isArray(puzzleIds) && !isIntegerArray(puzzleIds)) {
    throw argumentError(`[${op}] expected puzzleIds to be an array, got ${show(puzzleIds)}`)
  }
  if (puzzleIds.length !== rows) throw shapeError(op, `${rows} puzzleIds, one per example`, `${puzzleIds.length}`)
  for (let row = 0; row < rows; row++) set(`puzzleIds[${row}]`, row, puzzleIds[row])
  return ids
}
