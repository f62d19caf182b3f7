import { parseAugmentedName } from '../arc/augment.js'
import { arcSeqLen, arcVocabSize } from '../arc/encode.js'
import { ArcEvaluation } from '../arc/evaluate.js'
import type { Dataset, Split } from '../dataset.js'
import { replaceFile } from '../durable-folder.js'
import { argumentError } from '../errors.js'
import type { Prediction } from '../evaluate.js'
import { table } from '../render/text.js'
import { formatCount, formatPercent } from './output.js'
import { ruleTask } from './rule-task.js'
import type { TaskFormat } from './task-format.js'
import { wilsonInterval } from '../wilson.js'

/** Options of `hrm eval` that tasks read. */
export interface TaskOptions {
  split: Split
  /** File for the answers of ARC tasks. */
  submission?: string
}

/** What a task has to say of the predictions, besides the metrics. */
export interface TaskScore {
  /** Fields of the JSON result. */
  json: Record<string, unknown>
  lines: string[]
}

export interface EvalTask {
  splits: readonly Split[]
  /** Whether a dataset that records no task is one of these. */
  fits: (dataset: Dataset) => boolean
  /** Begins an evaluation: `add` takes every prediction, `finish` ends it. */
  begin: (
    dataset: Dataset,
    options: TaskOptions,
  ) => { add: (prediction: Prediction) => void; finish: () => TaskScore | Promise<TaskScore> }
}

/** Tasks whose predictions mean more than tokens. */
export type EvalTaskName = TaskFormat['task']

const evalTasks: Readonly<Record<EvalTaskName, EvalTask>> = {
  arc: {
    // Grids of the train split are moved on their canvas, and its outputs are known to the model.
    splits: ['test'],
    fits: (dataset) =>
      dataset.seqLen === arcSeqLen &&
      dataset.vocabSize === arcVocabSize &&
      dataset.identifiers().some((name) => parseAugmentedName(name).augmentation !== undefined),
    begin(dataset, { submission }) {
      const evaluation = new ArcEvaluation(dataset)
      return {
        add: (prediction) => evaluation.add(prediction),
        async finish() {
          if (submission !== undefined) {
            const text = JSON.stringify(evaluation.submission())
            await replaceFile('eval', submission, (handle) => handle.writeFile(text))
          }
          const { tasks, uncounted, pass } = evaluation.scores()
          const scores = pass.map(({ k, solved }) => ({
            k,
            solved,
            share: tasks > 0 ? solved / tasks : null,
            interval: tasks > 0 ? wilsonInterval(solved / tasks, tasks) : null,
          }))
          const rows = scores.map(({ k, solved, share, interval }) => [
            `pass@${k}`,
            formatCount(solved),
            formatCount(tasks),
            formatPercent(share),
            interval ? `${formatPercent(interval[0])} … ${formatPercent(interval[1])}` : '-',
          ])
          const left =
            uncounted > 0 ? [`${formatCount(uncounted)} tasks without all outputs or predictions are not counted`] : []
          return {
            json: { arc: { tasks, uncounted, pass: scores } },
            lines: ['', ...table(['attempts', 'solved', 'n', 'share', '95 % interval'], rows), ...left],
          }
        },
      }
    },
  },
  sudoku: ruleTask('sudoku'),
  maze: ruleTask('maze'),
  grid: ruleTask('grid'),
}

export const evalTaskNames = Object.keys(evalTasks) as EvalTaskName[]

/** The task that the dataset records, or that it looks like. */
function guessTask(dataset: Dataset, split: Split): EvalTaskName | undefined {
  const recorded = dataset.metadata(split).task
  return evalTaskNames.find((name) => {
    const { splits, fits } = evalTasks[name]
    return splits.includes(split) && (recorded === undefined ? fits(dataset) : name === recorded)
  })
}

/**
 * Begins the evaluation of the task asked for, or else of that which the dataset shows; undefined where there is nothing
 * besides the metrics.
 *
 * @throws TypeError ERR_HRM_ARGUMENT where options do not fit the task
 */
export function beginTask(
  dataset: Dataset,
  asked: EvalTaskName | undefined,
  options: TaskOptions,
): ReturnType<EvalTask['begin']> | undefined {
  const { split, submission } = options
  const name = asked ?? guessTask(dataset, split)
  if (submission !== undefined && name !== 'arc') {
    throw argumentError(
      '[eval] expected --submission only with the test split of ARC tasks, got another; do leave it out',
    )
  }
  if (name === undefined) return undefined
  const task = evalTasks[name]
  if (task.splits.includes(split)) return task.begin(dataset, options)
  throw argumentError(
    `[eval] expected --split ${task.splits.join(' or ')} with --task ${name}, got ${split}; do pass it`,
  )
}
