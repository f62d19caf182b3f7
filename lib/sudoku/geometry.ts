import { argumentError, rangeError } from '../errors.js'

/** Sizes of grids: 4×4 with boxes of 2×2, 6×6 with boxes of 2 rows × 3 columns, 9×9 with boxes of 3×3. */
export type SudokuSize = 4 | 6 | 9

export interface SudokuGeometry {
  /** Rows, columns and digits of the grid. */
  size: SudokuSize
  /** Cells of the grid: size². */
  cells: number
  boxRows: number
  boxColumns: number
  /** [cells]: the row, column and box of each cell, row-major. */
  rowOf: Uint8Array
  columnOf: Uint8Array
  boxOf: Uint8Array
  /** Fewest givens that any puzzle with one solution has; for 6×6 and 9×9 known by exhaustive search. */
  minGivens: number
}

function makeGeometry(size: SudokuSize, boxRows: number, boxColumns: number, minGivens: number): SudokuGeometry {
  const rowOf = Uint8Array.from({ length: size * size }, (_, cell) => Math.floor(cell / size))
  const columnOf = Uint8Array.from({ length: size * size }, (_, cell) => cell % size)
  const boxOf = rowOf.map(
    (row, cell) => Math.floor(row / boxRows) * (size / boxColumns) + Math.floor(columnOf[cell]! / boxColumns),
  )
  return { size, cells: size * size, boxRows, boxColumns, rowOf, columnOf, boxOf, minGivens }
}

const geometries = new Map<number, SudokuGeometry>([
  [4, makeGeometry(4, 2, 2, 4)],
  [6, makeGeometry(6, 2, 3, 8)],
  [9, makeGeometry(9, 3, 3, 17)],
])

/** @throws RangeError ERR_HRM_ARGUMENT where the size is not 4, 6 or 9 */
export function sudokuGeometry(size: number): SudokuGeometry {
  const geometry = geometries.get(size)
  if (geometry === undefined) throw rangeError(`[sudoku] expected size 4, 6 or 9, got ${size}; do pass one of these`)
  return geometry
}

/** Checks a grid of digits: 0 (blank) … size. @throws TypeError, RangeError ERR_HRM_ARGUMENT */
export function checkGrid(geometry: SudokuGeometry, name: string, grid: ArrayLike<number>): void {
  if (grid?.length !== geometry.cells) {
    throw argumentError(`[sudoku] expected ${geometry.cells} cells in ${name}, got ${grid?.length}; do pass all cells`)
  }
  for (let cell = 0; cell < grid.length; cell++) {
    const digit = grid[cell]!
    if (Number.isInteger(digit) && digit >= 0 && digit <= geometry.size) continue
    throw rangeError(
      `[sudoku] expected digits from 0 to ${geometry.size} in ${name}, got ${digit} in cell ${cell}; do pass digits`,
    )
  }
}

/** Tokens of a Sudoku dataset: 0 is padding, 1 a blank cell, digit d is d+1. */
export const sudokuPadToken = 0

/** Vocabulary of a Sudoku dataset: padding, blank and the digits. */
export function sudokuVocabSize(size: SudokuSize): number {
  return size + 2
}

/** The size of the grids of a dataset by its tokens per example; undefined where they are no Sudoku grid. */
export function sudokuSizeOfCells(cells: number): SudokuSize | undefined {
  return [...geometries.values()].find((geometry) => geometry.cells === cells)?.size
}

/** A grid as a key of maps and sets. */
export function gridKey(digits: Uint8Array): string {
  return Buffer.from(digits).toString('latin1')
}

/** Digits (0 = blank) as tokens, [cells] each. */
export function digitsToTokens(
  digits: ArrayLike<number>,
  tokens: Uint8Array = new Uint8Array(digits.length),
): Uint8Array {
  for (let cell = 0; cell < digits.length; cell++) tokens[cell] = digits[cell]! + 1
  return tokens
}

/** Tokens as digits; padding (0) becomes blank. */
export function tokensToDigits(tokens: ArrayLike<number>): Uint8Array {
  return Uint8Array.from(tokens, (token) => Math.max(0, token - 1))
}
