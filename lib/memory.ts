import type { ModelConfig } from './config.js'
import { puzzlePositions } from './config.js'

/** Memory for the carries of a batch of solve(), when the caller does not choose its size. */
const carryBudgetBytes = 2 ** 26
const mostRows = 32

/** Bytes of the two states z_H and z_L of one sequence, [S, D] fp32 each. */
export function carryRowBytes(config: ModelConfig): number {
  return 2 * (puzzlePositions(config) + config.seqLen) * config.hiddenSize * 4
}

/** Sequences that solve() runs at once. */
export function defaultMaxBatch(config: ModelConfig): number {
  return Math.max(1, Math.min(mostRows, Math.floor(carryBudgetBytes / carryRowBytes(config))))
}
