import { type RenderOptions, sideBySide, type Style, style } from './text.js'

/** A grid of size x size cells, row-major; digits 1 … size, 0 = empty. */
export interface SudokuGrid {
  size: number
  digits: ArrayLike<number>
  /** The puzzle: cells that hold a digit here are givens. */
  givens?: ArrayLike<number>
  /** The grid one segment earlier: cells that differ from it are changed. */
  previous?: ArrayLike<number> | undefined
}

/** Rows and columns of a box: 2x2 in size 4, 2x3 in size 6, 3x3 in size 9. */
export function boxShape(size: number): { rows: number; columns: number } {
  const rows = Math.floor(Math.sqrt(size))
  return { rows, columns: size / rows }
}

/** Marks the cells that break a rule: a digit twice in a row, column or box, no digit, or a given overwritten. */
export function brokenCells({ size, digits, givens }: SudokuGrid): boolean[] {
  const box = boxShape(size)
  const units = (cell: number) => {
    const row = Math.floor(cell / size)
    const column = cell % size
    return [row, column, Math.floor(row / box.rows) * box.rows + Math.floor(column / box.columns)]
  }
  const seen = [0, 1, 2].map(() => new Map<number, number>())
  const key = (unit: number, digit: number) => unit * (size + 1) + digit
  const isDigit = (digit: number) => digit >= 1 && digit <= size
  for (let cell = 0; cell < size * size; cell++) {
    units(cell).forEach((unit, kind) => {
      const at = key(unit, digits[cell]!)
      seen[kind]!.set(at, (seen[kind]!.get(at) ?? 0) + 1)
    })
  }
  return Array.from({ length: size * size }, (_, cell) => {
    const digit = digits[cell]!
    if (givens && givens[cell] !== 0 && givens[cell] !== digit) return true
    if (digit === 0) return false
    return !isDigit(digit) || units(cell).some((unit, kind) => seen[kind]!.get(key(unit, digit))! > 1)
  })
}

/** Whether every cell holds a digit, no rule is broken and all givens are kept. */
export function isSolved(grid: SudokuGrid): boolean {
  const isDigit = (digit: number) => digit >= 1 && digit <= grid.size
  return Array.from(grid.digits).every(isDigit) && !brokenCells(grid).includes(true)
}

const marks = { broken: '!', changed: '*', none: ' ' }

/** Draws one grid: givens bold, changed cells inverse, broken rules red; plain text marks them `*` and `!` instead. */
export function drawSudoku(grid: SudokuGrid, options: RenderOptions): string[] {
  const { size, digits, givens, previous } = grid
  const box = boxShape(size)
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
    left + Array.from({ length: size / box.columns }, () => '─'.repeat(2 * box.columns + 1)).join(middle) + right
  const lines = [rule('┌', '┬', '┐')]
  for (let row = 0; row < size; row++) {
    if (row > 0 && row % box.rows === 0) lines.push(rule('├', '┼', '┤'))
    let line = ''
    for (let column = 0; column < size; column++) {
      if (column % box.columns === 0) line += '│ '
      line += drawCell(row * size + column)
    }
    lines.push(`${line}│`)
  }
  lines.push(rule('└', '┴', '┘'))
  return lines
}

/** One picture of a filmstrip. */
export interface Frame {
  /** Put above the grid; may hold styles. */
  title: string
  grid: SudokuGrid
}

/** Draws grids with titles beside each other, wrapping at the width of the terminal. */
export function filmstrip(frames: readonly Frame[], options: RenderOptions): string[] {
  const blocks = frames.map(({ title, grid }) => [title, ...drawSudoku(grid, options)])
  return sideBySide(blocks, options.columns)
}
