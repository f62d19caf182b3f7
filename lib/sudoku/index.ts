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
  buildSudokuFromCsv,
  type CsvBuildOptions,
  type GeneratedBuildOptions,
  type SudokuBuildResult,
} from './build.js'
export { readSudokuCsv, type SudokuRow } from './csv.js'
