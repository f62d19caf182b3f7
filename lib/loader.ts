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
  /** Groups that are never drawn, as `validationGroups` names them. @default none */
  heldOut?: readonly number[]
}

/** Where a `TrainLoader` stands, as plain JSON. */
export interface TrainLoaderState {
  /** What the position depends on; restoring into a loader that differs is an error. */
  seed: number
  batchSize: number
  epochsPerIter: number | null
  /** Groups that are drawn. */
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

/** Groups of several sets in a row. */
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

  /** The groups of one set, and all of them where none is given. */
  of(set?: DatasetSet): Int32Array {
    const first = set === undefined ? 0 : this.#starts[this.#sets.indexOf(set)]!
    return Int32Array.from({ length: set?.numGroups ?? this.length }, (_, index) => first + index)
  }
}

/**
 * The groups of the training split that a validation of `count` groups holds out, ascending, counted over all sets in a
 * row: a group is a puzzle with its augmentations, so that none of them is trained on.
 *
 * @throws RangeError ERR_HRM_ARGUMENT where no group would be left to train on
 */
export function validationGroups(dataset: Dataset, count: number, seed: number): number[] {
  const { length } = new GroupTable(dataset.sets('train'))
  if (count >= length)
    throw rangeError(
      `[loader] expected fewer validation groups than the ${length} of the training split, got ${count}; do hold out fewer`,
    )
  return new RandomStream(seed, 'validation', 0).sample(length, count).toSorted((a, b) => a - b)
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
  readonly #table: GroupTable
  /** Groups that each passage runs over, in turn. */
  readonly #passageGroups: readonly Int32Array[]
  readonly #groups: number
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
    const table = new GroupTable(sets)
    this.#table = table
    const heldOut = new Set(options.heldOut)
    this.#passageGroups = (epochsPerIter === undefined ? [undefined] : sets)
      .map((set) => table.of(set).filter((group) => !heldOut.has(group)))
      .filter((groups) => groups.length > 0)
    this.#groups = this.#passageGroups.reduce((sum, { length }) => sum + length, 0)
    this.#epochsPerPassage = epochsPerIter ?? epochs
    this.#passages = (epochs / this.#epochsPerPassage) * this.#passageGroups.length
    this.totalSteps = Math.floor((epochs * this.#groups * this.#metadata.meanPuzzleExamples) / batchSize)
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
    const groups = this.#passageGroups[this.#passage % this.#passageGroups.length]!
    // Epochs of all passages in a row, so that no two epochs and no two draws share a stream.
    const epoch = this.#passage * this.#epochsPerPassage + this.#epoch
    const draw = epoch * this.#metadata.totalGroups + this.#position
    const random = new RandomStream(seed, 'groupDraw', draw)
    this.#order ??= new RandomStream(seed, 'groupOrder', epoch).permutation(groups.length)
    const { set, group } = this.#table.locate(groups[this.#order[this.#position]!]!)
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
    if (this.#position === groups.length) {
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
    return { seed, batchSize, epochsPerIter: epochsPerIter ?? null, groups: this.#groups }
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
    const epoch = below('epoch', this.#epochsPerPassage + 1)
    const position = below('position', this.#passageGroups[passage % this.#passageGroups.length]!.length)
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
  /** [count] numbers of the examples within the set. */
  examples: readonly number[]
  batch: Batch
  /** Rows that hold examples. */
  count: number
}

/** Batches of the examples that lie at these places, in this order; the last one is filled up. */
function* fullBatches(
  set: DatasetSet,
  places: Iterable<{ example: number; puzzle: number }>,
  batchSize: number,
): Generator<EvalBatch, void, undefined> {
  let examples: number[] = []
  let puzzles: number[] = []
  const take = (): EvalBatch => {
    const batch = emptyBatch(batchSize, set.metadata)
    set.readExamples(examples, puzzles, batch)
    const taken = examples
    examples = []
    puzzles = []
    return { set: set.name, examples: taken, batch, count: taken.length }
  }
  for (const { example, puzzle } of places) {
    examples.push(example)
    puzzles.push(puzzle)
    if (examples.length === batchSize) yield take()
  }
  if (examples.length > 0) yield take()
}

function* places(set: DatasetSet, puzzles: Iterable<number>, most: number) {
  let taken = 0
  for (const puzzle of puzzles)
    for (let example = set.puzzleStart(puzzle); example < set.puzzleStart(puzzle + 1); example++) {
      if (taken++ === most) return
      yield { example, puzzle }
    }
}

/**
 * The examples of a split set by set, in order; with `groups` only those of the first puzzle of each of these groups
 * (counted over all sets in a row). The last batch of a set is filled up with pad tokens, ignored labels and blank
 * identifiers.
 *
 * @param options.maxExamples - examples of each set at most, @default all
 * @throws TypeError, RangeError ERR_HRM_ARGUMENT; HRMError ERR_HRM_DATASET where the split is absent
 */
export function* evalBatches(
  dataset: Dataset,
  split: Split,
  batchSize: number,
  options: { maxExamples?: number; groups?: readonly number[] } = {},
): Generator<EvalBatch, void, undefined> {
  checkCount('batchSize', batchSize)
  if (options.maxExamples !== undefined) checkCount('maxExamples', options.maxExamples)
  const sets = dataset.sets(split)
  const table = new GroupTable(sets)
  for (const set of sets) {
    const puzzles = options.groups
      ?.map((group) => table.locate(group))
      .filter((place) => place.set === set)
      .map(({ group }) => set.groupIndices[group]!)
    yield* fullBatches(
      set,
      places(set, puzzles ?? Array(set.numPuzzles).keys(), options.maxExamples ?? Infinity),
      batchSize,
    )
  }
}
