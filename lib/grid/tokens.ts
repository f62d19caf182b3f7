import type { Value, Vocabulary } from '../vocabulary.js'
import type { Grid } from './grid.js'

const padToken = 0

/** The token of each value. */
export function tokensByValue({ values }: Pick<Vocabulary, 'values'>): ReadonlyMap<Value, number> {
  const pairs = values.map((value, token): [Value | null, number] => [value, token])
  return new Map(pairs.slice(padToken + 1) as [Value, number][])
}

/**
 * A grid as tokens in the upper left corner of `rows` × `columns` cells, padded.
 *
 * @returns [rows·columns] int32, or the value or size that the vocabulary does not have
 */
export function gridToTokens(
  { rows: gridRows }: Grid,
  { rows, columns }: Pick<Vocabulary, 'rows' | 'columns'>,
  tokenOf: ReadonlyMap<Value, number>,
): Int32Array | { unknown: string } {
  if (gridRows.length > rows || gridRows[0]!.length > columns)
    return { unknown: `the size ${gridRows.length} x ${gridRows[0]!.length}` }
  const tokens = new Int32Array(rows * columns).fill(padToken)
  for (const [row, values] of gridRows.entries()) {
    for (const [column, value] of values.entries()) {
      const token = tokenOf.get(value)
      if (token === undefined) return { unknown: `the value ${JSON.stringify(value)}` }
      tokens[row * columns + column] = token
    }
  }
  return tokens
}

/** Rows and columns of the rectangle in the upper left corner, by its first row and column; 0 where that is padding. */
export function extentOf(tokens: ArrayLike<number>, { rows, columns }: Vocabulary): [rows: number, columns: number] {
  let height = 0
  while (height < rows && tokens[height * columns] !== padToken) height++
  let width = 0
  while (width < columns && tokens[width] !== padToken) width++
  return [height, width]
}

/** Tokens back as values. */
export interface Decoded {
  /** Cells that are padding are null. */
  rows: (Value | null)[][]
  /** Whether the values are a whole rectangle: no padding inside and, where padding tells the size, none but padding outside. */
  wellFormed: boolean
}

function cut(tokens: ArrayLike<number>, vocabulary: Vocabulary, [height, width]: readonly [number, number]): Decoded {
  const { columns, values } = vocabulary
  const rows = Array.from({ length: height }, (_, row) =>
    Array.from({ length: width }, (_, column) => values[tokens[row * columns + column]!] ?? null),
  )
  return { rows, wellFormed: height > 0 && width > 0 && rows.every((row) => !row.includes(null)) }
}

/** The values of an input. */
export function decodeInput(vocabulary: Vocabulary, input: ArrayLike<number>): Decoded {
  return cut(input, vocabulary, extentOf(input, vocabulary))
}

/** The values of an answer, cut to the size that answers have in this vocabulary. */
export function decodeAnswer(vocabulary: Vocabulary, input: ArrayLike<number>, answer: ArrayLike<number>): Decoded {
  const { answer: size } = vocabulary
  if (size === 'input') return cut(answer, vocabulary, extentOf(input, vocabulary))
  if (size !== 'padding') return cut(answer, vocabulary, size)
  const extent = extentOf(answer, vocabulary)
  const decoded = cut(answer, vocabulary, extent)
  const filled = Array.from(answer).filter((token) => token !== padToken).length
  return { rows: decoded.rows, wellFormed: decoded.wellFormed && filled === extent[0] * extent[1] }
}

/** Values as in JSON: a list of rows, or of values for a sequence. */
export function valuesToJson({ form }: Vocabulary, rows: readonly (readonly (Value | null)[])[]): unknown {
  return form === 'sequence' ? (rows[0] ?? []) : rows
}
