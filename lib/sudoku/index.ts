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
