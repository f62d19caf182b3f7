import type { Comparison } from '../leaks.js'
import { canonicalPuzzle, puzzleInvariant } from './canonical-puzzle.js'
import { canonicalGrid, gridInvariant } from './canonical.js'
import { gridKey, tokensToDigits } from './geometry.js'

/**
 * When a test puzzle counts as known from training: for 9×9 where the solution grids are equal up to all symmetries; for
 * 6×6, where only 49 grids differ in more than symmetry, where the puzzles are equal up to symmetry; for 4×4 where the
 * puzzles themselves are.
 */
export function sudokuComparison(seqLen: number): Comparison {
  // Augmentations are the same up to symmetry, so the first of a group stands for them.
  if (seqLen === 81)
    return {
      compared: 'solutions up to symmetry',
      field: 'labels',
      quick: (tokens) => gridInvariant(tokensToDigits(tokens)),
      exact: (tokens) => canonicalGrid(tokensToDigits(tokens)),
      firstOfGroup: true,
    }
  if (seqLen === 36)
    return {
      compared: 'puzzles up to symmetry',
      field: 'inputs',
      quick: (tokens) => puzzleInvariant(tokensToDigits(tokens)),
      exact: (tokens) => canonicalPuzzle(tokensToDigits(tokens)),
      firstOfGroup: true,
    }
  return { compared: 'puzzles', field: 'inputs', quick: (tokens) => gridKey(tokensToDigits(tokens)) }
}
