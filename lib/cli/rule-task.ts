import { datasetError } from '../dataset-files.js'
import type { Dataset } from '../dataset.js'
import type { Prediction } from '../evaluate.js'
import { table } from '../render/text.js'
import type { EvalTask, TaskScore } from './eval-tasks.js'
import { formatCount, formatPercent } from './output.js'
import { type TaskFormat, taskFormat } from './task-format.js'
import { wilsonInterval } from '../wilson.js'

function formatOf(dataset: Dataset, task: TaskFormat['task']): TaskFormat | undefined {
  return taskFormat(dataset, dataset.vocabulary(), task)
}

/** Counts the answers that are valid by the rules of their task, without a look at the labels. */
class RuleCounts {
  readonly #format: TaskFormat
  readonly #sets = new Map<string, { count: number; valid: number }>()

  constructor(format: TaskFormat) {
    this.#format = format
  }

  readonly add = ({ set, inputs, tokens }: Prediction): void => {
    const counts = this.#sets.get(set) ?? { count: 0, valid: 0 }
    counts.count++
    if (this.#format.valid(inputs, tokens)) counts.valid++
    this.#sets.set(set, counts)
  }

  readonly finish = (): TaskScore => {
    const { task, words } = this.#format
    const sets = [...this.#sets].map(([name, { count, valid }]) => {
      const share = valid / count
      return { name, count, valid, share, interval: wilsonInterval(share, count) }
    })
    const rows = sets.map(({ name, count, share, interval: [low, high] }) => [
      name,
      formatCount(count),
      formatPercent(share),
      `${formatPercent(low)} … ${formatPercent(high)}`,
    ])
    const bySet = Object.fromEntries(sets.map(({ name, ...counts }) => [name, counts]))
    return {
      json: { rules: { task, sets: bySet } },
      lines: ['', ...table(['set', 'n', words.share, '95 % interval'], rows)],
    }
  }
}

/** The evaluation of a task whose answers a checker judges. */
export function ruleTask(name: TaskFormat['task']): EvalTask {
  return {
    splits: ['train', 'test'],
    fits: (dataset) => formatOf(dataset, name) !== undefined,
    begin(dataset) {
      const format = formatOf(dataset, name)
      if (format !== undefined) return new RuleCounts(format)
      const got = `${dataset.seqLen} tokens and the vocabulary ${dataset.vocabSize}`
      throw datasetError(dataset.dir, `the sizes and the vocabulary of the task ${name}`, got)
    },
  }
}
