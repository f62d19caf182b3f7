export { canonicalPuzzle, puzzleInvariant } from './canonical-puzzle.js'
export { canonicalGrid, gridInvariant } from './canonical.js'
export { generatePuzzle, type SudokuPuzzle } from './generator.js'
export {
  digitsToTokens,
  type SudokuGeometry,
  sudokuGeometry,
  type SudokuSize,
  sudokuSizeOfCells,
  sudokuVocabSize,
  tokensToDigits,
} from './geometry.js'
export { allGrids, randomGrid, solveSudoku, type SudokuSolutions, type SudokuVerdict, verifySudoku } from './solver.js'
export { applySymmetry, randomSymmetry, type SudokuSymmetry } from './symmetry.js'
export {
  buildGeneratedSudoku,
  type BuildProgress,
  type BuildResult,
  buildSudokuFromCsv,
  type CsvBuildOptions,
  type GeneratedBuildOptions,
} from './build.js'
export { readSudokuCsv, type SudokuRow } from './csv.js'
export { findLeaks, type LeakReport } from './leaks.js'
