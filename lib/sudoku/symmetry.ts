import type { RandomStream } from '../random.js'
import { sudokuGeometry } from './geometry.js'

/** A change of a grid that turns puzzles into puzzles and solutions into solutions. */
export interface SudokuSymmetry {
  /** [size + 1]: the new digit of each digit; blank (0) stays blank. */
  digits: Uint8Array
  /** Whether rows and columns are exchanged first. */
  transpose: boolean
  /** [size]: the old row of each new row. */
  rows: Uint8Array
  /** [size]: the old column of each new column. */
  columns: Uint8Array
}

/** Shuffles the blocks of `blockSize` lines among each other and the lines inside each block. */
function shuffledLines(size: number, blockSize: number, random: RandomStream): Uint8Array {
  const lines: number[] = []
  for (const block of random.permutation(size / blockSize)) {
    for (const line of random.permutation(blockSize)) lines.push(block * blockSize + line)
  }
  return Uint8Array.from(lines)
}

/**
 * A uniform random symmetry as the official builder draws it: any permutation of the digits, transposition with
 * probability 1/2 (only where boxes are square), bands and their rows, stacks and their columns shuffled.
 */
export function randomSymmetry(size: number, random: RandomStream): SudokuSymmetry {
  const { boxRows, boxColumns } = sudokuGeometry(size)
  const digits = Uint8Array.from([0, ...random.permutation(size).map((digit) => digit + 1)])
  const transpose = boxRows === boxColumns && random.nextBelow(2) === 1
  return {
    digits,
    transpose,
    rows: shuffledLines(size, boxRows, random),
    columns: shuffledLines(size, boxColumns, random),
  }
}

/** The grid after a symmetry: new[i][j] = digits[x[rows[i]][columns[j]]], x the grid, transposed where asked. [size²] */
export function applySymmetry(size: number, symmetry: SudokuSymmetry, grid: ArrayLike<number>): Uint8Array {
  const { digits, transpose, rows, columns } = symmetry
  const result = new Uint8Array(size * size)
  for (let row = 0; row < size; row++) {
    for (let column = 0; column < size; column++) {
      const oldRow = rows[row]!
      const oldColumn = columns[column]!
      const cell = transpose ? oldColumn * size + oldRow : oldRow * size + oldColumn
      result[row * size + column] = digits[grid[cell]!]!
    }
  }
  return result
}
