import type { NativeMetricSums, NativeSegmentResult } from './native.js'
import type { SolveResult } from './solver.js'

/**
 * Metrics of one training step, with the official names. Losses are divided by the batch size, the rest by `count`.
 */
export interface TrainMetrics {
  /** Rows that halted in this step and have labels. */
  count: number
  /** Mean share of right tokens over the counted rows, 0…1; null when `count` is 0. */
  accuracy: number | null
  /** Share of counted rows whose tokens are all right; null when `count` is 0. */
  exact_accuracy: number | null
  /** Share of counted rows where q_halt >= 0 agrees with being right; null when `count` is 0. */
  q_halt_accuracy: number | null
  /** Mean segments of the counted rows; null when `count` is 0. */
  steps: number | null
  /** Cross-entropy in nats: of each row the mean over its labelled tokens, summed over the rows, divided by the batch size. */
  lm_loss: number
  /** Binary cross-entropy of q_halt with the row being right, divided by the batch size. */
  q_halt_loss: number
  /** Binary cross-entropy of q_continue with its bootstrapped target, divided by the batch size. */
  q_continue_loss: number
}

/**
 * Metrics of one evaluation set after the last segment, with the official names, all divided by `count`; null when it
 * is 0. Rows that only pad the last batch enter `q_halt_loss`, as officially. With halting `q` or
 * votes there is no `lm_loss`.
 */
export interface EvalMetrics {
  /** Examples with at least one labelled token. */
  count: number
  /** Mean share of right tokens, 0…1. */
  accuracy: number | null
  /** Share of examples whose tokens are all right, 0…1. */
  exact_accuracy: number | null
  /** Share of examples where q_halt >= 0 agrees with being right, 0…1. */
  q_halt_accuracy: number | null
  /** Mean segments of an example, with votes of all its runs. */
  steps: number | null
  /** Cross-entropy in nats: of each example the mean over its labelled tokens. */
  lm_loss: number | null
  /** Binary cross-entropy of q_halt with the example being right. */
  q_halt_loss: number | null
}

/** Names of the metrics by which the best checkpoint can be chosen. */
export const evalMetricNames = [
  'accuracy',
  'exact_accuracy',
  'q_halt_accuracy',
  'steps',
  'lm_loss',
  'q_halt_loss',
] as const satisfies readonly (keyof EvalMetrics)[]

/** Normalises the sums of one step over `batchSize` rows. */
export function trainMetrics(sums: NativeMetricSums, batchSize: number): TrainMetrics {
  const perCounted = (sum: number) => (sums.count > 0 ? sum / sums.count : null)
  return {
    count: sums.count,
    accuracy: perCounted(sums.accuracy),
    exact_accuracy: perCounted(sums.exact_accuracy),
    q_halt_accuracy: perCounted(sums.q_halt_accuracy),
    steps: perCounted(sums.steps),
    lm_loss: sums.lm_loss / batchSize,
    q_halt_loss: sums.q_halt_loss / batchSize,
    q_continue_loss: sums.q_continue_loss / batchSize,
  }
}

/** Columns of `rowStats`. */
const stat = { lmLoss: 0, qHaltLoss: 1, labelled: 3, right: 4, allRight: 5, columns: 6 } as const

/** Sums the metrics of one evaluation set. */
export class EvalSums {
  readonly #sums = {
    count: 0,
    accuracy: 0,
    exact_accuracy: 0,
    q_halt_accuracy: 0,
    steps: 0,
    lm_loss: 0,
    q_halt_loss: 0,
  }

  /** Adds row `row` of a segment run with labels, `weight` times: rows that pad a batch are all the same. */
  add(result: NativeSegmentResult, row: number, weight: number): void {
    const stats = result.rowStats?.subarray(row * stat.columns, (row + 1) * stat.columns)
    if (!stats) throw new TypeError('a segment without labels has no metrics')
    const sums = this.#sums
    sums.lm_loss += weight * stats[stat.lmLoss]!
    sums.q_halt_loss += weight * stats[stat.qHaltLoss]!
    const labelled = stats[stat.labelled]!
    if (labelled === 0) return
    const exact = stats[stat.allRight]!
    sums.count += weight
    sums.accuracy += weight * (stats[stat.right]! / labelled)
    sums.exact_accuracy += weight * exact
    sums.q_halt_accuracy += result.qHalt[row]! >= 0 === exact > 0 ? weight : 0
    sums.steps += weight * result.steps[row]!
  }

  /**
   * Adds the answer to one example; it has no cross-entropy, as tokens have none.
   *
   * @param labels - [seqLen] right tokens, < 0 where ignored
   */
  addAnswer({ tokens, qHalt, segments, votes }: SolveResult, labels: Int32Array): void {
    const labelled = labels.reduce((sum, label) => sum + (label >= 0 ? 1 : 0), 0)
    const right = labels.reduce((sum, label, at) => sum + (label >= 0 && label === tokens[at] ? 1 : 0), 0)
    const exact = right === labelled
    const sums = this.#sums
    // BCE of the logit with the target `exact`: softplus of -q or q.
    const logit = exact ? -qHalt : qHalt
    sums.q_halt_loss += Math.max(logit, 0) + Math.log1p(Math.exp(-Math.abs(logit)))
    if (labelled === 0) return
    sums.count++
    sums.accuracy += right / labelled
    sums.exact_accuracy += exact ? 1 : 0
    sums.q_halt_accuracy += qHalt >= 0 === exact ? 1 : 0
    sums.steps += votes?.segments ?? segments
  }

  metrics(): EvalMetrics {
    const { count, ...sums } = this.#sums
    const mean = (sum: number) => (count > 0 ? sum / count : null)
    return {
      count,
      accuracy: mean(sums.accuracy),
      exact_accuracy: mean(sums.exact_accuracy),
      q_halt_accuracy: mean(sums.q_halt_accuracy),
      steps: mean(sums.steps),
      lm_loss: mean(sums.lm_loss),
      q_halt_loss: mean(sums.q_halt_loss),
    }
  }
}
