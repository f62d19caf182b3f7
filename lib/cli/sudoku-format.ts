import type { SudokuSize } from '../sudoku/geometry.js'

/** Token of an empty cell; 0 is padding, digit d is token d + 1. */
const blankToken = 1

/** How a model of a Sudoku size writes its grids. */
export interface SudokuFormat {
  size: number
  /** Digits of tokens: 0 for an empty cell, -1 for padding. */
  digits: (tokens: ArrayLike<number>) => number[]
}

/** The format of models of a size, whose vocabulary is padding, empty, 1 … size. */
export function sudokuFormat(size: SudokuSize): SudokuFormat {
  return { size, digits: (tokens) => Array.from(tokens, (token) => token - blankToken) }
}

/** Reads a grid as size² characters, `.` or `0` for an empty cell; undefined where it is none. */
export function sudokuTokens(text: string, { size }: SudokuFormat): number[] | undefined {
  if (text.length !== size * size || !new RegExp(`^[.0-${size}]*$`).test(text)) return undefined
  return Array.from(text, (cell) => (cell === '.' ? 0 : Number(cell)) + blankToken)
}

/** Writes a grid as size² characters, `?` where a token is no digit. */
export function sudokuText(format: SudokuFormat, tokens: ArrayLike<number>): string {
  return format
    .digits(tokens)
    .map((digit) => (digit > 0 ? String(digit) : digit === 0 ? '.' : '?'))
    .join('')
}
