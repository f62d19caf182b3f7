import { brokenCells, type SudokuGrid } from '../sudoku/broken-cells.js'
import { sudokuGeometry } from '../sudoku/geometry.js'
import { type RenderOptions, type Style, style } from './text.js'

export interface SudokuPicture extends SudokuGrid {
  /** The grid one segment earlier: cells that differ from it are changed. */
  previous?: ArrayLike<number> | undefined
}

const marks = { broken: '!', changed: '*', none: ' ' }

/** Draws one grid: givens bold, changed cells inverse, broken rules red; plain text marks them `*` and `!` instead. */
export function drawSudoku(grid: SudokuPicture, options: RenderOptions): string[] {
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
