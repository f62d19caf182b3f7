import type { Comparison } from '../leaks.js'
import { canonicalGrid, gridInvariant } from './canonical.js'
import { gridKey, tokensToDigits } from './geometry.js'

/**
 * When a test puzzle counts as known from training: for 9×9 where the solution grids are equal up to all symmetries, for
 * smaller sizes (few grids exist, so that nearly all are shared) where the puzzles themselves are.
 */
export function sudokuComparison(seqLen: number): Comparison {
  if (seqLen !== 81) return { compared: 'puzzles', field: 'inputs', quick: (tokens) => gridKey(tokensToDigits(tokens)) }
  return {
    compared: 'solutions up to symmetry',
    field: 'labels',
    quick: (tokens) => gridInvariant(tokensToDigits(tokens)),
    exact: (tokens) => canonicalGrid(tokensToDigits(tokens)),
    // Augmentations share their solution up to symmetry.
    firstOfGroup: true,
  }
}
