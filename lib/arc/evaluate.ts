import { join } from 'node:path'
import { datasetError } from '../dataset-files.js'
import type { Dataset } from '../dataset.js'
import type { Prediction } from '../evaluate.js'
import { parseAugmentedName, undoAugmentation } from './augment.js'
import { arcSeqLen, arcVocabSize, cropGrid } from './encode.js'
import { type ArcGrid, gridKey, gridRows } from './grid.js'
import { ArcBallot } from './vote.js'

/** How many tasks are solved within k attempts for each test input. */
export interface ArcPass {
  /** Attempts for each test input. */
  k: number
  /** Tasks whose test inputs all have the right answer among the first k. */
  solved: number
}

/** How many tasks were solved. */
export interface ArcScores {
  /** Tasks that count: all of their test inputs have a known output and an answer. */
  tasks: number
  /** Tasks that do not. */
  uncounted: number
  /** One entry for each number of attempts. */
  pass: ArcPass[]
}

/** The two attempts for each test input of each task, as ARC Prize takes them. */
export type ArcSubmission = Record<
  string,
  {
    /** The best answer, as rows of colours. */
    attempt_1: number[][]
    /** The next best, or the best once more. */
    attempt_2: number[][]
  }[]
>

/** One test input of a task. */
interface Test {
  /** Key of the input grid. */
  input: string
  /** Key of the output grid; undefined where it is not known. */
  output: string | undefined
  ballot: ArcBallot
}

/** Attempts that the official evaluation counts. */
export const officialAttempts: readonly number[] = [1, 2, 10, 100, 1000]

/**
 * Collects predictions on a test split of ARC tasks: what was predicted for the augmented versions of a task, the
 * augmentation undone, are votes for the answer.
 *
 * @example
 * const arc = new ArcEvaluation(data)
 * await model.evaluate(data, { onPrediction: (prediction) => arc.add(prediction) })
 * await writeFile('submission.json', JSON.stringify(arc.submission()))
 */
export class ArcEvaluation {
  readonly #dataset: Dataset
  readonly #identifiers: readonly string[]
  readonly #tasks = new Map<string, Test[]>()

  /**
   * @throws HRMError ERR_HRM_DATASET where the test split does not hold ARC tasks, each itself besides its augmentations,
   * or has no names of its puzzles
   */
  constructor(dataset: Dataset) {
    if (dataset.seqLen !== arcSeqLen || dataset.vocabSize !== arcVocabSize) {
      const got = `${dataset.seqLen} and ${dataset.vocabSize}`
      throw datasetError(dataset.dir, `${arcSeqLen} tokens and the vocabulary ${arcVocabSize} of ARC`, got)
    }
    this.#dataset = dataset
    this.#identifiers = dataset.identifiers()
    for (const set of dataset.sets('test')) {
      for (let puzzle = 0; puzzle < set.numPuzzles; puzzle++) {
        const name = this.#nameOf(set.identifierOf(puzzle))
        if (parseAugmentedName(name).augmentation !== undefined) continue
        if (this.#tasks.has(name)) throw this.#error('each task once', `${JSON.stringify(name)} twice`)
        const tests: Test[] = []
        for (let example = set.puzzleStart(puzzle); example < set.puzzleStart(puzzle + 1); example++) {
          const { inputs, labels } = dataset.example('test', set.name, example)
          const output = cropGrid(labels)
          tests.push({
            input: gridKey(cropGrid(inputs)),
            output: output.height > 0 ? gridKey(output) : undefined,
            ballot: new ArcBallot(),
          })
        }
        this.#tasks.set(name, tests)
      }
    }
  }

  #error(expected: string, got: string): Error {
    return datasetError(join(this.#dataset.dir, 'test'), expected, got)
  }

  #nameOf(identifier: number): string {
    const name = this.#identifiers[identifier]
    if (name !== undefined) return name
    throw datasetError(join(this.#dataset.dir, 'identifiers.json'), `a name for identifier ${identifier}`, 'none')
  }

  /** Counts the prediction for one example of the test split. @throws HRMError ERR_HRM_DATASET */
  add({ set: setName, example, inputs, puzzleId, tokens, qHalt }: Prediction): void {
    const set = this.#dataset.sets('test').find(({ name }) => name === setName)!
    const name = this.#nameOf(puzzleId)
    const { task, augmentation } = parseAugmentedName(name)
    const original = (cells: Int32Array): ArcGrid =>
      augmentation ? undoAugmentation(cropGrid(cells), augmentation) : cropGrid(cells)
    const test = this.#tasks.get(task)?.[example - set.puzzleStart(set.puzzleOf(example))]
    if (test?.input !== gridKey(original(inputs))) {
      throw this.#error(
        `the task ${JSON.stringify(task)} in the augmentation its name says`,
        `another input in example ${example} of ${JSON.stringify(name)}`,
      )
    }
    test.ballot.add(original(tokens), qHalt)
  }

  /**
   * Tasks solved: of each test input one of the k first answers is right. Counted are tasks whose outputs are all known
   * and all of whose inputs have predictions.
   */
  scores(attempts: readonly number[] = officialAttempts): ArcScores {
    const pass = attempts.map((k) => ({ k, solved: 0 }))
    let counted = 0
    for (const tests of this.#tasks.values()) {
      const ranks = tests.map(({ output, ballot }) => {
        const answers = ballot.ranked()
        if (output === undefined || answers.length === 0) return undefined
        const rank = answers.findIndex(({ grid }) => gridKey(grid) === output)
        return rank < 0 ? Infinity : rank + 1
      })
      if (ranks.includes(undefined)) continue
      counted++
      const needed = Math.max(...(ranks as number[]))
      for (const entry of pass) if (needed <= entry.k) entry.solved++
    }
    return { tasks: counted, uncounted: this.#tasks.size - counted, pass }
  }

  /**
   * The two best answers to each test input; where there is one, it comes twice. Empty predictions are left out; [[0]]
   * stands where nothing is left.
   */
  submission(): ArcSubmission {
    const attempts = ({ ballot }: Test) => {
      const answers = ballot.ranked().filter(({ grid }) => grid.height > 0)
      const [first = [[0]], second = first] = answers.slice(0, 2).map(({ grid }) => gridRows(grid))
      return { attempt_1: first, attempt_2: second }
    }
    return Object.fromEntries([...this.#tasks].map(([id, tests]) => [id, tests.map(attempts)]))
  }
}
