import type { RandomStream } from '../random.js'
import { checkGrid, type SudokuGeometry, sudokuGeometry } from './geometry.js'

export interface SudokuSolutions {
  /** Solutions found, at most `limit`. */
  count: number
  /** [cells] digits of the first solution found; undefined where there is none. */
  solution: Uint8Array | undefined
}

/** Number of bits set in each possible mask of digits 1 … 9. */
const bitCount = Uint8Array.from({ length: 1024 }, (_, mask) => mask.toString(2).replaceAll('0', '').length)

/** Backtracking over the cell with the fewest candidates; masks have bit d set where digit d is taken. */
class Search {
  readonly #geometry: SudokuGeometry
  readonly #grid: Uint8Array
  readonly #rows: Uint16Array
  readonly #columns: Uint16Array
  readonly #boxes: Uint16Array
  readonly #allDigits: number
  readonly #found: (grid: Uint8Array) => boolean
  readonly #random: RandomStream | undefined

  /** @param found - called with each solution (valid only during the call); true ends the search */
  constructor(geometry: SudokuGeometry, found: (grid: Uint8Array) => boolean, random?: RandomStream) {
    const { size, cells } = geometry
    this.#geometry = geometry
    this.#grid = new Uint8Array(cells)
    this.#rows = new Uint16Array(size)
    this.#columns = new Uint16Array(size)
    this.#boxes = new Uint16Array(size)
    this.#allDigits = 2 ** (size + 1) - 2
    this.#found = found
    this.#random = random
  }

  /** Searches all completions of a grid; nothing is found where the givens contradict each other. */
  run(puzzle: ArrayLike<number>): void {
    for (let cell = 0; cell < puzzle.length; cell++) {
      const digit = puzzle[cell]!
      if (digit === 0) continue
      if ((this.#candidates(cell) & (1 << digit)) === 0) return
      this.#toggle(cell, 1 << digit)
      this.#grid[cell] = digit
    }
    this.#step()
  }

  #candidates(cell: number): number {
    const { rowOf, columnOf, boxOf } = this.#geometry
    const taken = this.#rows[rowOf[cell]!]! | this.#columns[columnOf[cell]!]! | this.#boxes[boxOf[cell]!]!
    return this.#allDigits & ~taken
  }

  #toggle(cell: number, bit: number): void {
    const { rowOf, columnOf, boxOf } = this.#geometry
    this.#rows[rowOf[cell]!]! ^= bit
    this.#columns[columnOf[cell]!]! ^= bit
    this.#boxes[boxOf[cell]!]! ^= bit
  }

  #step(): boolean {
    let fewest = 10
    let chosen = -1
    let candidates = 0
    for (let cell = 0; cell < this.#grid.length && fewest > 1; cell++) {
      if (this.#grid[cell] !== 0) continue
      const mask = this.#candidates(cell)
      const count = bitCount[mask >> 1]!
      if (count === 0) return false
      if (count < fewest) {
        fewest = count
        chosen = cell
        candidates = mask
      }
    }
    if (chosen < 0) return this.#found(this.#grid)
    for (const digit of this.#order(candidates)) {
      this.#toggle(chosen, 1 << digit)
      this.#grid[chosen] = digit
      const done = this.#step()
      this.#grid[chosen] = 0
      this.#toggle(chosen, 1 << digit)
      if (done) return true
    }
    return false
  }

  #order(candidates: number): number[] {
    const digits: number[] = []
    for (let digit = 1; digit <= this.#geometry.size; digit++) if (candidates & (1 << digit)) digits.push(digit)
    this.#random?.shuffle(digits)
    return digits
  }
}

/**
 * Solves a Sudoku by search.
 *
 * @param size - 4, 6 or 9
 * @param puzzle - [size²] digits, 0 for blank, row-major
 * @param limit - solutions after which the search ends, @default 2, enough to tell whether there is exactly one
 * @throws TypeError, RangeError ERR_HRM_ARGUMENT
 *
 * @example
 * const { count, solution } = solveSudoku(9, puzzle)
 */
export function solveSudoku(size: number, puzzle: ArrayLike<number>, limit = 2): SudokuSolutions {
  const geometry = sudokuGeometry(size)
  checkGrid(geometry, 'puzzle', puzzle)
  const result: SudokuSolutions = { count: 0, solution: undefined }
  const search = new Search(geometry, (grid) => {
    result.solution ??= grid.slice()
    result.count++
    return result.count >= limit
  })
  search.run(puzzle)
  return result
}

/** All completed grids of a size, in lexicographic order of their digits; only size 4 (288 grids) is meant. */
export function allGrids(size: number): Uint8Array[] {
  const geometry = sudokuGeometry(size)
  const grids: Uint8Array[] = []
  const search = new Search(geometry, (grid) => {
    grids.push(grid.slice())
    return false
  })
  search.run(new Uint8Array(geometry.cells))
  return grids.toSorted((a, b) => Buffer.compare(a, b))
}

/** A random completed grid. Every grid can come up, though not all equally often. */
export function randomGrid(size: number, random: RandomStream): Uint8Array {
  const geometry = sudokuGeometry(size)
  let result = new Uint8Array(0)
  const search = new Search(
    geometry,
    (grid) => {
      result = grid.slice()
      return true
    },
    random,
  )
  search.run(new Uint8Array(geometry.cells))
  return result
}

/** What `verifySudoku` says. */
export type SudokuVerdict = { valid: true } | { valid: false; reason: string }

/**
 * Whether an answer solves a puzzle: every digit once in each row, column and box, and every given kept.
 *
 * @param puzzle - [size²] digits, 0 for blank
 * @param answer - [size²] any numbers; what is no digit makes the answer invalid
 * @throws TypeError, RangeError ERR_HRM_ARGUMENT where the size, the puzzle or the answer's length is wrong
 */
export function verifySudoku(size: number, puzzle: ArrayLike<number>, answer: ArrayLike<number>): SudokuVerdict {
  const geometry = sudokuGeometry(size)
  checkGrid(geometry, 'puzzle', puzzle)
  if (answer?.length !== geometry.cells) checkGrid(geometry, 'answer', answer)
  const seen = { row: new Uint16Array(size), column: new Uint16Array(size), box: new Uint16Array(size) }
  for (let cell = 0; cell < geometry.cells; cell++) {
    const digit = answer[cell]!
    const row = geometry.rowOf[cell]!
    const column = geometry.columnOf[cell]!
    const where = `row ${row + 1}, column ${column + 1}`
    if (!(Number.isInteger(digit) && digit >= 1 && digit <= size))
      return { valid: false, reason: `no digit in ${where}` }
    const given = puzzle[cell]!
    if (given !== 0 && given !== digit)
      return { valid: false, reason: `${digit} in place of the given ${given} in ${where}` }
    for (const [unit, index] of [
      ['row', row],
      ['column', column],
      ['box', geometry.boxOf[cell]!],
    ] as const) {
      const mask = seen[unit][index]!
      if (mask & (1 << digit)) return { valid: false, reason: `${digit} twice in ${unit} ${index + 1}` }
      seen[unit][index] = mask | (1 << digit)
    }
  }
  return { valid: true }
}
