import { sudokuGeometry } from './geometry.js'

/** A grid of size x size cells, row-major; digits 1 … size, 0 = empty. */
export interface SudokuGrid {
  size: number
  digits: ArrayLike<number>
  /** The puzzle: cells that hold a digit here are givens. */
  givens?: ArrayLike<number>
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
