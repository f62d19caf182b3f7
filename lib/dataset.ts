import { existsSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { setImmediate as yieldToEventLoop } from 'node:timers/promises'
import {
  arrayFile,
  type DatasetMetadata,
  datasetError,
  type FileHashes,
  hashOfHashes,
  readHashes,
  readIdentifiers,
  readJson,
  readMetadata,
  type SetField,
  setFields,
  sha256OfFile,
  type Split,
  splitFiles,
  splitNames,
} from './dataset-files.js'
import { HRMError, rangeError } from './errors.js'
import { NpyArray } from './npy.js'
import { requiredPath, show } from './options.js'
import { parseVocabulary, type Vocabulary, vocabularyFile } from './vocabulary.js'

export type { DatasetMetadata, Split } from './dataset-files.js'

/** Label that losses and metrics ignore, whatever the dataset's own `ignore_label_id` is. */
export const IGNORE_LABEL = -100

/** Arrays up to this size are checked token by token when the dataset is opened; all are, batch by batch, when read. */
const MAX_CHECKED_BYTES = 2 ** 26

/** A batch for the model, row-major int32. */
export interface Batch {
  /** [B, T] tokens. */
  inputs: Int32Array
  /** [B, T] tokens, or -100 where nothing is to be predicted. */
  labels: Int32Array
  /** [B] puzzle identifiers. */
  puzzleIds: Int32Array
}

/** One input with its label. */
export interface Example {
  /** [T] tokens. */
  inputs: Int32Array
  /** [T] tokens, or -100. */
  labels: Int32Array
  /** Puzzle identifier; 0 is the blank one. */
  puzzleId: number
}

type Arrays = Readonly<Record<SetField, NpyArray>>

/** One set of a split: groups ⊃ puzzles ⊃ examples. */
export class DatasetSet {
  /** As its files begin, `all` for instance. */
  readonly name: string
  /** That of the split. */
  readonly metadata: DatasetMetadata
  /** [groups + 1] first puzzles: those of group g are `groupIndices[g]` … `groupIndices[g+1]` - 1. */
  readonly groupIndices: Int32Array
  readonly #arrays: Arrays

  private constructor(name: string, metadata: DatasetMetadata, arrays: Arrays, groupIndices: Int32Array) {
    this.name = name
    this.metadata = metadata
    this.groupIndices = groupIndices
    this.#arrays = arrays
  }

  /** @internal */
  static async open(dir: string, name: string, metadata: DatasetMetadata): Promise<DatasetSet> {
    const arrays: Partial<Record<SetField, NpyArray>> = {}
    try {
      for (const field of setFields) {
        const path = join(dir, arrayFile(name, field))
        if (!existsSync(path)) throw datasetError(path, `the array ${field} of set ${name}`, 'no file')
        arrays[field] = await NpyArray.open(path)
      }
      const complete = arrays as Arrays
      checkShapes(complete, metadata)
      await checkIndices(complete.puzzle_indices, complete.inputs.length, 'examples')
      await checkIndices(complete.group_indices, complete.puzzle_identifiers.length, 'puzzles')
      const groupIndices = new Int32Array(complete.group_indices.length)
      complete.group_indices.readRange(0, groupIndices.length, groupIndices)
      await checkBlocks(complete.puzzle_identifiers, (values, row) =>
        checkIds(complete.puzzle_identifiers, values, row, metadata),
      )
      const set = new DatasetSet(name, metadata, complete, groupIndices)
      for (const field of ['inputs', 'labels'] as const) {
        const array = complete[field]
        if (array.sizeBytes > MAX_CHECKED_BYTES) continue
        await checkBlocks(array, (values, row) => set.#checkTokens(field, values, (index) => row + index))
      }
      return set
    } catch (error) {
      for (const array of Object.values(arrays)) array.close()
      throw error
    }
  }

  /** Inputs with their labels. */
  get numExamples(): number {
    return this.#arrays.inputs.length
  }

  /** Puzzles: one or more examples of one identifier. */
  get numPuzzles(): number {
    return this.#arrays.puzzle_identifiers.length
  }

  /** Groups: a puzzle with all of its augmentations. */
  get numGroups(): number {
    return this.groupIndices.length - 1
  }

  /** First example of puzzle `puzzle`; that of puzzle `numPuzzles` is `numExamples`. */
  puzzleStart(puzzle: number): number {
    return this.#arrays.puzzle_indices.at(puzzle)
  }

  /** The identifier of a puzzle, which chooses its row of the puzzle embedding. */
  identifierOf(puzzle: number): number {
    return this.#arrays.puzzle_identifiers.at(puzzle)
  }

  /** The puzzle that an example belongs to. */
  puzzleOf(example: number): number {
    let low = 0
    let high = this.numPuzzles
    while (high - low > 1) {
      const middle = Math.floor((low + high) / 2)
      if (this.puzzleStart(middle) <= example) low = middle
      else high = middle
    }
    return low
  }

  /**
   * Reads examples into rows `firstRow` … of a batch.
   *
   * @param examples - [n] numbers of examples
   * @param puzzles - [n] the puzzle of each
   * @throws HRMError ERR_HRM_DATASET where a token lies outside the vocabulary
   */
  readExamples(examples: ArrayLike<number>, puzzles: ArrayLike<number>, batch: Batch, firstRow = 0): void {
    const { seqLen } = this.metadata
    const from = firstRow * seqLen
    const to = from + examples.length * seqLen
    for (const field of ['inputs', 'labels'] as const) {
      const rows = batch[field].subarray(from, to)
      this.#arrays[field].readRows(examples, rows)
      this.#checkTokens(field, rows, (index) => examples[index]!)
    }
    for (let index = 0; index < puzzles.length; index++) {
      batch.puzzleIds[firstRow + index] = this.#arrays.puzzle_identifiers.at(puzzles[index]!)
    }
  }

  /** Checks rows [n, T]; ignored labels become -100. `exampleOf` names the example of a row in errors. */
  #checkTokens(field: 'inputs' | 'labels', rows: Int32Array, exampleOf: (row: number) => number): void {
    const { vocabSize, seqLen, ignoreLabelId } = this.metadata
    const isLabel = field === 'labels'
    for (let index = 0; index < rows.length; index++) {
      const token = rows[index]!
      if (isLabel && (token === ignoreLabelId || token === IGNORE_LABEL)) rows[index] = IGNORE_LABEL
      else if (token < 0 || token >= vocabSize) {
        const example = exampleOf(Math.floor(index / seqLen))
        const { path } = this.#arrays[field]
        throw datasetError(
          path,
          `tokens from 0 to ${vocabSize - 1}`,
          `${token} at position ${index % seqLen} of example ${example}`,
          { example },
        )
      }
    }
  }

  /** @internal */
  close(): void {
    for (const array of Object.values(this.#arrays)) array.close()
  }
}

function shapeOf(array: NpyArray): string {
  return `shape (${array.shape.join(', ')})`
}

function checkShapes(arrays: Arrays, { seqLen }: DatasetMetadata): void {
  const examples = arrays.inputs.shape[0] ?? 0
  for (const field of ['inputs', 'labels'] as const) {
    const array = arrays[field]
    if (array.shape.length !== 2 || array.shape[1] !== seqLen || array.shape[0] !== examples || examples === 0) {
      const rows = field === 'inputs' || examples === 0 ? 'at least one example' : `${examples} examples as inputs`
      throw datasetError(array.path, `shape (examples, seq_len ${seqLen}) with ${rows}`, shapeOf(array))
    }
  }
  for (const field of ['puzzle_identifiers', 'puzzle_indices', 'group_indices'] as const) {
    if (arrays[field].shape.length !== 1)
      throw datasetError(arrays[field].path, 'one dimension', shapeOf(arrays[field]))
  }
  const puzzles = arrays.puzzle_identifiers.length
  if (arrays.puzzle_indices.length !== puzzles + 1) {
    throw datasetError(
      arrays.puzzle_indices.path,
      `${puzzles + 1} indices for ${puzzles} puzzles`,
      `${arrays.puzzle_indices.length}`,
    )
  }
}

async function checkBlocks(array: NpyArray, check: (values: Int32Array, firstRow: number) => void): Promise<void> {
  for (const { start, values } of array.blocks()) {
    check(values, start)
    await yieldToEventLoop()
  }
}

/** Indices start at 0, ascend strictly (no empty puzzle or group) and end at the number of what they index. */
async function checkIndices(array: NpyArray, end: number, of: string): Promise<void> {
  if (array.length < 2) throw datasetError(array.path, 'at least 2 indices', `${array.length}`)
  let previous = -1
  await checkBlocks(array, (values, firstRow) => {
    for (let index = 0; index < values.length; index++) {
      const value = values[index]!
      const row = firstRow + index
      if (row === 0 && value !== 0) throw datasetError(array.path, 'the first index to be 0', `${value}`)
      if (value <= previous)
        throw datasetError(array.path, `an index above ${previous} at row ${row}`, `${value}`, { row })
      previous = value
    }
  })
  if (previous !== end)
    throw datasetError(array.path, `the last index to be ${end}, the number of ${of}`, `${previous}`)
}

function checkIds(array: NpyArray, ids: Int32Array, firstRow: number, { numPuzzleIdentifiers }: DatasetMetadata): void {
  for (let index = 0; index < ids.length; index++) {
    const id = ids[index]!
    if (id >= 0 && id < numPuzzleIdentifiers) continue
    const row = firstRow + index
    throw datasetError(array.path, `identifiers from 0 to ${numPuzzleIdentifiers - 1}`, `${id} of puzzle ${row}`, {
      row,
    })
  }
}

interface OpenSplit {
  metadata: DatasetMetadata
  sets: readonly DatasetSet[]
}

async function openSplit(dir: string, split: Split): Promise<OpenSplit> {
  const folder = join(dir, split)
  const path = join(folder, 'dataset.json')
  const metadata = readMetadata(path)
  const sets: DatasetSet[] = []
  try {
    for (const name of metadata.sets) sets.push(await DatasetSet.open(folder, name, metadata))
    const groups = sets.reduce((sum, set) => sum + set.numGroups, 0)
    if (groups !== metadata.totalGroups) {
      throw datasetError(path, `total_groups to be ${groups}, as the sets have`, `${metadata.totalGroups}`, {
        field: 'total_groups',
      })
    }
    return { metadata, sets }
  } catch (error) {
    for (const set of sets) set.close()
    throw error
  }
}

/** A dataset folder in the official layout: `train/` and `test/`, at least one of them, and `identifiers.json`. */
export class Dataset {
  /** The folder, as it was given. */
  readonly dir: string
  readonly #splits: ReadonlyMap<Split, OpenSplit>
  #hash: Promise<string> | undefined

  private constructor(dir: string, splits: ReadonlyMap<Split, OpenSplit>) {
    this.dir = dir
    this.#splits = splits
  }

  /**
   * Opens a dataset and checks it: shapes, indices and identifiers always, tokens of arrays up to 64 MiB at once and of
   * larger ones when they are read. Arrays are mapped or read by row, never whole.
   *
   * @throws HRMError ERR_HRM_DATASET naming file and field; ERR_HRM_IO where a file cannot be read
   *
   * @example
   * const data = await Dataset.open('data/sudoku-extreme-1k')
   */
  static async open(dir: string): Promise<Dataset> {
    requiredPath('dataset', 'dir', dir)
    const present = splitNames.filter((split) => existsSync(join(dir, split)))
    if (present.length === 0) {
      const got = existsSync(dir) ? (statSync(dir).isDirectory() ? 'neither' : 'a file') : 'no such folder'
      throw new HRMError(
        'ERR_HRM_DATASET',
        `[dataset] expected the folders train or test in ${dir}, got ${got}; do give the folder that a data builder wrote`,
        { path: dir },
      )
    }
    const splits = new Map<Split, OpenSplit>()
    const dataset = new Dataset(dir, splits)
    try {
      for (const split of present) splits.set(split, await openSplit(dir, split))
      const [first, second] = [...splits.values()].map((split) => split.metadata)
      for (const key of ['seqLen', 'vocabSize'] as const) {
        if (second !== undefined && first![key] !== second[key]) {
          throw datasetError(join(dir, 'test', 'dataset.json'), `${key} ${first![key]} as in train`, `${second[key]}`)
        }
      }
      return dataset
    } catch (error) {
      dataset.close()
      throw error
    }
  }

  /** The splits that are present, in the order train, test. */
  get splits(): Split[] {
    return [...this.#splits.keys()]
  }

  #first(): DatasetMetadata {
    return this.#splits.values().next().value!.metadata
  }

  /** V, the same in both splits. */
  get vocabSize(): number {
    return this.#first().vocabSize
  }

  /** T, the same in both splits. */
  get seqLen(): number {
    return this.#first().seqLen
  }

  /** Identifiers that a model needs for both splits. */
  get numPuzzleIdentifiers(): number {
    return Math.max(...[...this.#splits.values()].map((split) => split.metadata.numPuzzleIdentifiers))
  }

  #split(split: Split): OpenSplit {
    const found = this.#splits.get(split)
    if (found !== undefined) return found
    throw new HRMError(
      'ERR_HRM_DATASET',
      `[dataset] expected the split ${show(split)} in ${this.dir}, got only ${this.splits.join()}; do build it`,
      { path: this.dir, split },
    )
  }

  /** @throws HRMError ERR_HRM_DATASET where the split is absent */
  metadata(split: Split): DatasetMetadata {
    return this.#split(split).metadata
  }

  /** The sets of a split in the order of `dataset.json`. @throws HRMError ERR_HRM_DATASET where the split is absent */
  sets(split: Split): readonly DatasetSet[] {
    return this.#split(split).sets
  }

  /** One example. @throws RangeError ERR_HRM_ARGUMENT where there is no such set or example */
  example(split: Split, setName: string, index: number): Example {
    const sets = this.sets(split)
    const set = sets.find(({ name }) => name === setName)
    if (set === undefined) {
      throw rangeError(
        `[example] expected a set of ${sets.map(({ name }) => name).join(', ')}, got ${show(setName)}; do pass one of these`,
      )
    }
    if (!Number.isInteger(index) || index < 0 || index >= set.numExamples) {
      throw rangeError(
        `[example] expected an example from 0 to ${set.numExamples - 1}, got ${show(index)}; do pass one of these`,
      )
    }
    const batch = emptyBatch(1, set.metadata)
    set.readExamples([index], [set.puzzleOf(index)], batch)
    return { inputs: batch.inputs, labels: batch.labels, puzzleId: batch.puzzleIds[0]! }
  }

  /** Names of the puzzle identifiers, by number; empty where `identifiers.json` is absent. @throws HRMError ERR_HRM_DATASET */
  identifiers(): string[] {
    const path = join(this.dir, 'identifiers.json')
    return existsSync(path) ? readIdentifiers(path) : []
  }

  /**
   * What the tokens stand for; undefined where `vocabulary.json` is absent, as in official datasets.
   *
   * @throws HRMError ERR_HRM_DATASET
   */
  vocabulary(): Vocabulary | undefined {
    const path = join(this.dir, vocabularyFile)
    if (!existsSync(path)) return undefined
    const fail = (expected: string): never => {
      throw datasetError(path, expected, 'something else')
    }
    const vocabulary = parseVocabulary(readJson(path), fail)
    if (vocabulary.values.length !== this.vocabSize) fail(`${this.vocabSize} values, as vocab_size says`)
    if (vocabulary.rows * vocabulary.columns !== this.seqLen) fail(`${this.seqLen} cells, as seq_len says`)
    return vocabulary
  }

  #files(): string[] {
    const files = [...this.#splits].flatMap(([split, { metadata }]) => splitFiles(split, metadata.sets))
    return [...['identifiers.json', vocabularyFile].filter((name) => existsSync(join(this.dir, name))), ...files]
  }

  async #computeHashes(): Promise<FileHashes> {
    const hashes = new Map<string, string>()
    for (const name of this.#files()) hashes.set(name, await sha256OfFile(join(this.dir, name)))
    return hashes
  }

  /**
   * SHA-256 that identifies the content of the whole dataset: taken from `hash.json` where there is one, else computed
   * from all files (seconds for each GB).
   */
  hash(): Promise<string> {
    this.#hash ??= (async () => hashOfHashes(readHashes(this.dir) ?? (await this.#computeHashes())))()
    return this.#hash
  }

  /** Compares every file with `hash.json`. @throws HRMError ERR_HRM_CORRUPT naming the first file that differs */
  async verify(): Promise<void> {
    const recorded = readHashes(this.dir)
    if (recorded === undefined) throw datasetError(join(this.dir, 'hash.json'), 'the file', 'nothing')
    for (const name of this.#files()) {
      const expected = recorded.get(name) ?? 'no hash'
      const found = await sha256OfFile(join(this.dir, name))
      if (found === expected) continue
      const path = join(this.dir, name)
      throw new HRMError(
        'ERR_HRM_CORRUPT',
        `[verify] expected SHA-256 ${expected}, got ${found} for ${path}; do rebuild the dataset`,
        { path, expected, found },
      )
    }
  }

  /** Lets go of all files. Idempotent. */
  close(): void {
    for (const { sets } of this.#splits.values()) for (const set of sets) set.close()
  }

  /** Closes, as `close()`; for `using`. */
  [Symbol.dispose](): void {
    this.close()
  }
}

/** A batch of rows that hold nothing: pad tokens, ignored labels, blank identifiers. */
export function emptyBatch(batchSize: number, { seqLen, padId, blankIdentifierId }: DatasetMetadata): Batch {
  return {
    inputs: new Int32Array(batchSize * seqLen).fill(padId),
    labels: new Int32Array(batchSize * seqLen).fill(IGNORE_LABEL),
    puzzleIds: new Int32Array(batchSize).fill(blankIdentifierId),
  }
}
