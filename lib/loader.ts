import { type Batch, type Dataset, type DatasetMetadata, type DatasetSet, emptyBatch, type Split } from './dataset.js'
import { argumentError, HRMError, rangeError } from './errors.js'
import { checkSeed, RandomStream } from './random.js'

export interface TrainLoaderOptions {
  /** Rows of every batch, B. */
  batchSize: number
  /** Passes over all groups. */
  epochs: number
  /** Decides the order of groups and which puzzle and examples of each are drawn. */
  seed: number
  /**
   * The official cut: the stream is cut into blocks of this many epochs, and what does not fill a batch at the end of a
   * block is dropped, set by set. Must divide `epochs`. Without it there is one stream over the whole run, dropped
   * once at its end, so that the interval of evaluations does not change the data.
   */
  epochsPerIter?: number
}

/** Where a `TrainLoader` stands, as plain JSON. */
export interface TrainLoaderState {
  /** What the position depends on; restoring into a loader that differs is an error. */
  seed: number
  batchSize: number
  epochsPerIter: number | null
  groups: number
  /** Passage being read: block × sets + set with `epochsPerIter`, else 0. */
  passage: number
  /** Epoch within the passage. */
  epoch: number
  /** Groups of that epoch already drawn. */
  position: number
}

function checkCount(name: string, value: number): void {
  if (typeof value !== 'number')
    throw argumentError(`[loader] expected ${name} to be a number, got ${typeof value}; do pass a number`)
  if (!Number.isSafeInteger(value) || value < 1) {
    throw rangeError(`[loader] expected ${name} to be an integer of at least 1, got ${value}; do pass another`)
  }
}

/** Groups that one permutation runs over: those of one set or of all sets in a row. */
class GroupTable {
  readonly #sets: readonly DatasetSet[]
  /** [sets + 1]: groups of set s are starts[s] … starts[s+1]-1. */
  readonly #starts: readonly number[]

  constructor(sets: readonly DatasetSet[]) {
    this.#sets = sets
    const starts = [0]
    for (const set of sets) starts.push(starts.at(-1)! + set.numGroups)
    this.#starts = starts
  }

  get length(): number {
    return this.#starts.at(-1)!
  }

  locate(group: number): { set: DatasetSet; group: number } {
    const index = this.#starts.findLastIndex((start) => start <= group)
    return { set: this.#sets[index]!, group: group - this.#starts[index]! }
  }
}

/**
 * Batches for training as the official loader draws them: each epoch visits every group once in random order, takes
 * one random puzzle of it and, without replacement, as many of its examples as the batch has room for; batches run
 * across the borders of epochs. Unlike the official one it depends on the seed alone and can go on from any batch:
 * the order of an epoch and the draws of each group come from counters, so that its state is a position.
 *
 * Memory is O(groups); examples are read when they are drawn.
 */
export class TrainLoader {
  /** Length of the learning-rate schedule: int(epochs · groups · mean puzzle examples / batch size), as officially. */
  readonly totalSteps: number
  readonly #metadata: DatasetMetadata
  readonly #options: TrainLoaderOptions
  readonly #tables: readonly GroupTable[]
  readonly #epochsPerPassage: number
  readonly #passages: number
  #passage = 0
  #epoch = 0
  #position = 0
  #order: Int32Array | undefined

  /**
   * @throws TypeError, RangeError ERR_HRM_ARGUMENT where an option is invalid
   * @throws HRMError ERR_HRM_DATASET where the dataset has no train split
   *
   * @example
   * const loader = new TrainLoader(data, { batchSize: 384, epochs: 20000, seed: 0 })
   * for (let batch = loader.next(); batch !== undefined; batch = loader.next()) await step(batch)
   */
  constructor(dataset: Dataset, options: TrainLoaderOptions) {
    const { batchSize, epochs, seed, epochsPerIter } = options
    checkCount('batchSize', batchSize)
    checkCount('epochs', epochs)
    checkSeed(seed)
    if (epochsPerIter !== undefined) {
      checkCount('epochsPerIter', epochsPerIter)
      if (epochs % epochsPerIter !== 0) {
        throw rangeError(
          `[loader] expected epochsPerIter to divide epochs ${epochs}, got ${epochsPerIter}; do pass a divisor`,
        )
      }
    }
    const sets = dataset.sets('train')
    this.#metadata = dataset.metadata('train')
    this.#options = { ...options }
    this.#tables = epochsPerIter === undefined ? [new GroupTable(sets)] : sets.map((set) => new GroupTable([set]))
    this.#epochsPerPassage = epochsPerIter ?? epochs
    this.#passages = (epochs / this.#epochsPerPassage) * this.#tables.length
    const { totalGroups, meanPuzzleExamples } = this.#metadata
    this.totalSteps = Math.floor((epochs * totalGroups * meanPuzzleExamples) / batchSize)
  }

  /** The next batch, always full; undefined once the data of all epochs are used up. */
  next(): Batch | undefined {
    const { batchSize } = this.#options
    while (this.#passage < this.#passages) {
      const batch = emptyBatch(batchSize, this.#metadata)
      let rows = 0
      while (rows < batchSize && this.#epoch < this.#epochsPerPassage) rows += this.#drawGroup(batch, rows)
      if (rows === batchSize) return batch
      this.#passage++
      this.#epoch = 0
      this.#order = undefined
    }
    return undefined
  }

  /** Draws from the next group into the batch; returns the rows filled. */
  #drawGroup(batch: Batch, firstRow: number): number {
    const { seed, batchSize } = this.#options
    const table = this.#tables[this.#passage % this.#tables.length]!
    // Epochs of all passages in a row, so that no two epochs and no two draws share a stream.
    const epoch = this.#passage * this.#epochsPerPassage + this.#epoch
    const draw = epoch * this.#metadata.totalGroups + this.#position
    const random = new RandomStream(seed, 'groupDraw', draw)
    this.#order ??= new RandomStream(seed, 'groupOrder', epoch).permutation(table.length)
    const { set, group } = table.locate(this.#order[this.#position]!)
    const firstPuzzle = set.groupIndices[group]!
    const puzzle = firstPuzzle + random.nextBelow(set.groupIndices[group + 1]! - firstPuzzle)
    const start = set.puzzleStart(puzzle)
    const size = set.puzzleStart(puzzle + 1) - start
    const count = Math.min(size, batchSize - firstRow)
    const examples = random.sample(size, count).map((index) => start + index)
    set.readExamples(
      examples,
      examples.map(() => puzzle),
      batch,
      firstRow,
    )
    this.#position++
    if (this.#position === table.length) {
      this.#position = 0
      this.#epoch++
      this.#order = undefined
    }
    return count
  }

  /** The position after the last batch, to be kept in a checkpoint. */
  state(): TrainLoaderState {
    return { ...this.#identity(), passage: this.#passage, epoch: this.#epoch, position: this.#position }
  }

  #identity(): Pick<TrainLoaderState, 'seed' | 'batchSize' | 'epochsPerIter' | 'groups'> {
    const { seed, batchSize, epochsPerIter } = this.#options
    return { seed, batchSize, epochsPerIter: epochsPerIter ?? null, groups: this.#metadata.totalGroups }
  }

  /**
   * Goes to a position: the batches that follow are those that followed there.
   *
   * @throws HRMError ERR_HRM_CHECKPOINT where the state is malformed or from a loader of other options
   */
  restore(state: TrainLoaderState): void {
    const mine: Record<string, unknown> = this.#identity()
    const theirs = (state ?? {}) as unknown as Record<string, unknown>
    const mismatch = (field: string, expected: unknown): HRMError =>
      new HRMError(
        'ERR_HRM_CHECKPOINT',
        `[loader] expected ${field} ${String(expected)} in the saved position, got ${String(theirs[field])}; do resume with the dataset and options it was saved with`,
        { field, expected, found: theirs[field] },
      )
    for (const [field, value] of Object.entries(mine)) if (theirs[field] !== value) throw mismatch(field, value)
    const below = (field: 'passage' | 'epoch' | 'position', bound: number): number => {
      const value = theirs[field]
      if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0 || value >= bound) {
        throw mismatch(field, `from 0 to ${bound - 1}`)
      }
      return value
    }
    const passage = below('passage', this.#passages + 1)
    const table = this.#tables[passage % this.#tables.length]!
    const epoch = below('epoch', this.#epochsPerPassage + 1)
    const position = below('position', table.length)
    this.#passage = passage
    this.#epoch = epoch
    this.#position = position
    this.#order = undefined
  }
}

/** A batch of evaluation; rows from `count` on are padding. */
export interface EvalBatch {
  /** Name of the set. */
  set: string
  /** Number of the first example within the set. */
  first: number
  batch: Batch
  /** Rows that hold examples. */
  count: number
}

/**
 * The examples of a split set by set, in order. The last batch of a set is filled up with pad tokens, ignored labels
 * and blank identifiers.
 *
 * @param options.maxExamples - examples of each set at most, @default all
 * @throws TypeError, RangeError ERR_HRM_ARGUMENT; HRMError ERR_HRM_DATASET where the split is absent
 */
export function* evalBatches(
  dataset: Dataset,
  split: Split,
  batchSize: number,
  options: { maxExamples?: number } = {},
): Generator<EvalBatch, void, undefined> {
  checkCount('batchSize', batchSize)
  if (options.maxExamples !== undefined) checkCount('maxExamples', options.maxExamples)
  for (const set of dataset.sets(split)) {
    const total = Math.min(set.numExamples, options.maxExamples ?? Infinity)
    let puzzle = 0
    for (let start = 0; start < total; start += batchSize) {
      const count = Math.min(batchSize, total - start)
      const batch = emptyBatch(batchSize, set.metadata)
      const examples: number[] = []
      const puzzles: number[] = []
      for (let example = start; example < start + count; example++) {
        while (set.puzzleStart(puzzle + 1) <= example) puzzle++
        examples.push(example)
        puzzles.push(puzzle)
      }
      set.readExamples(examples, puzzles, batch)
      yield { set: set.name, first: start, batch, count }
    }
  }
}
