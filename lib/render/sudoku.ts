import { sudokuGeometry } from '../sudoku/geometry.js'
import { type RenderOptions, type Style, style } from './text.js'

/** A grid of size x size cells, row-major; digits 1 … size, 0 = empty. */
export interface SudokuGrid {
  size: number
  digits: ArrayLike<number>
  /** The puzzle: cells that hold a digit here are givens. */
  givens?: ArrayLike<number>
  /** The grid one segment earlier: cells that differ from it are changed. */
  previous?: ArrayLike<number> | undefined
}

/** Marks the cells that break a rule: a digit twice in a row, column or box, no digit, or a given overwritten. */
export function brokenCells({ size, digits, givens }: SudokuGrid): boolean[] {
  const { cells, rowOf, columnOf, boxOf } = sudokuGeometry(size)
  const units = [rowOf, columnOf, boxOf]
  /** How often each digit is in each row, column and box. */
  const counts = units.map(() => new Map<string, number>())
  const key = (unit: number, digit: number) => `${unit} ${digit}`
  for (let cell = 0; cell < cells; cell++) {
    units.forEach((unitOf, kind) => {
      const at = key(unitOf[cell]!, digits[cell]!)
      counts[kind]!.set(at, (counts[kind]!.get(at) ?? 0) + 1)
    })
  }
  return Array.from({ length: cells }, (_, cell) => {
    const digit = digits[cell]!
    const given = givens?.[cell] ?? 0
    if (given !== 0 && given !== digit) return true
    if (digit === 0) return false
    const isDigit = digit >= 1 && digit <= size
    return !isDigit || units.some((unitOf, kind) => counts[kind]!.get(key(unitOf[cell]!, digit))! > 1)
  })
}

const marks = { broken: '!', changed: '*', none: ' ' }

/** Draws one grid: givens bold, changed cells inverse, broken rules red; plain text marks them `*` and `!` instead. */
export function drawSudoku(grid: SudokuGrid, options: RenderOptions): string[] {
  const { size, digits, givens, previous } = grid
  const { boxRows, boxColumns } = sudokuGeometry(size)
  const broken = brokenCells(grid)
  const drawCell = (cell: number) => {
    const digit = digits[cell]!
    const text = digit === 0 ? '.' : digit >= 1 && digit <= size ? String(digit) : '?'
    const changed = previous !== undefined && previous[cell] !== digit
    if (!options.color) return text + (broken[cell] ? marks.broken : changed ? marks.changed : marks.none)
    const formats: string[] = []
    if (broken[cell]) formats.push('red')
    if (changed) formats.push('inverse')
    if (givens && givens[cell] !== 0) formats.push('bold')
    if (digit === 0) formats.push('dim')
    return `${formats.length > 0 ? style(formats as Style, text, options) : text} `
  }
  const rule = (left: string, middle: string, right: string) =>
    left + Array.from({ length: size / boxColumns }, () => '─'.repeat(2 * boxColumns + 1)).join(middle) + right
  const lines = [rule('┌', '┬', '┐')]
  for (let row = 0; row < size; row++) {
    if (row > 0 && row % boxRows === 0) lines.push(rule('├', '┼', '┤'))
    let line = ''
    for (let column = 0; column < size; column++) {
      if (column % boxColumns === 0) line += '│ '
      line += drawCell(row * size + column)
    }
    lines.push(`${line}│`)
  }
  lines.push(rule('└', '┴', '┘'))
  return lines
}
