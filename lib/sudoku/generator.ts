import { rangeError } from '../errors.js'
import type { RandomStream } from '../random.js'
import { type SudokuGeometry, sudokuGeometry } from './geometry.js'
import { randomGrid, solveSudoku } from './solver.js'

/** A puzzle with its only solution, [cells] digits each. */
export interface SudokuPuzzle {
  /** Digits, 0 for blank. */
  puzzle: Uint8Array
  solution: Uint8Array
}

/** Grids tried before a number of holes counts as out of reach. */
const MAX_ATTEMPTS = 500

/** @throws RangeError ERR_HRM_ARGUMENT where no puzzle with one solution can have so many empty cells */
export function checkHoles({ cells, minGivens, size }: SudokuGeometry, holes: number): void {
  const most = cells - minGivens
  if (Number.isInteger(holes) && holes >= 1 && holes <= most) return
  throw rangeError(
    `[sudoku] expected 1 to ${most} empty cells for size ${size}, got ${holes}; do choose a number in this range`,
  )
}

/**
 * Empties exactly `holes` cells of a grid such that it stays the only solution; undefined where the random order of
 * cells does not reach that many.
 */
function dig(
  geometry: SudokuGeometry,
  solution: Uint8Array,
  holes: number,
  random: RandomStream,
): Uint8Array | undefined {
  const puzzle = solution.slice()
  let left = holes
  for (const cell of random.permutation(geometry.cells)) {
    if (left === 0) break
    puzzle[cell] = 0
    if (solveSudoku(geometry.size, puzzle).count === 1) left--
    else puzzle[cell] = solution[cell]!
  }
  return left === 0 ? puzzle : undefined
}

/**
 * A random puzzle with exactly `holes` empty cells and exactly one solution.
 *
 * @param size - 4, 6 or 9
 * @param holes - at most 12, 28, 64 cells; beyond about 9, 24, 57 random search seldom or never succeeds
 * @param nextGrid - completed grids to choose from, @default random ones
 * @throws RangeError ERR_HRM_ARGUMENT where the size or the number of cells is out of reach
 *
 * @example
 * const { puzzle, solution } = generatePuzzle(4, 8, new RandomStream(0, 'puzzle', 0))
 */
export function generatePuzzle(
  size: number,
  holes: number,
  random: RandomStream,
  nextGrid: () => Uint8Array = () => randomGrid(size, random),
): SudokuPuzzle {
  const geometry = sudokuGeometry(size)
  checkHoles(geometry, holes)
  for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
    const solution = nextGrid()
    const puzzle = dig(geometry, solution, holes, random)
    if (puzzle !== undefined) return { puzzle, solution: solution.slice() }
  }
  throw rangeError(
    `[sudoku] expected to find a puzzle of size ${size} with ${holes} empty cells and one solution, got none in ${MAX_ATTEMPTS} attempts; do ask for fewer empty cells`,
  )
}
