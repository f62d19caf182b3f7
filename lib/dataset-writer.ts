import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import {
  arrayFile,
  type DatasetMetadata,
  datasetError,
  encodeHashes,
  encodeMetadata,
  type FileHashes,
  hashOfHashes,
  readHashes,
  readMetadata,
  setFields,
  type SetField,
  sha256OfFile,
  type Split,
  splitFiles,
  splitNames,
} from './dataset-files.js'
import { makeFolder, putInPlace, syncFolder, temporaryPrefix, writeDurably } from './durable-folder.js'
import { HRMError } from './errors.js'
import { ioError } from './mapped-file.js'
import { NpyWriter } from './npy.js'
import { encodeVocabulary, type Vocabulary, vocabularyFile } from './vocabulary.js'

/** What the caller says of a split; the rest of its metadata is counted. */
export type SplitDescription = Omit<DatasetMetadata, 'totalGroups' | 'meanPuzzleExamples' | 'sets'>

/** How much a split holds, over all its sets. */
export interface SplitCounts {
  /** Puzzles with all of their augmentations. */
  groups: number
  /** Each augmentation counts. */
  puzzles: number
  /** Inputs with their labels. */
  examples: number
}

/** Writes one split example by example; nothing but counters and small buffers is held in memory. */
export class SplitWriter {
  readonly split: Split
  /** Folder that holds the split until it is committed. */
  readonly dir: string
  readonly #description: SplitDescription
  readonly #counts: SplitCounts = { groups: 0, puzzles: 0, examples: 0 }
  readonly #sets: string[] = []
  #arrays: Record<SetField, NpyWriter> | undefined
  /** Counts within the set being written, as its indices need them. */
  #inSet: SplitCounts = { groups: 0, puzzles: 0, examples: 0 }

  /** Use `DatasetWriter.split`. */
  constructor(dir: string, split: Split, description: SplitDescription) {
    mkdirSync(dir)
    this.dir = dir
    this.split = split
    this.#description = description
  }

  /** Starts a set; examples, puzzles and groups that follow belong to it. */
  beginSet(name: string): void {
    this.#finishSet()
    const writer = (field: SetField): NpyWriter => {
      const isGrid = field === 'inputs' || field === 'labels'
      const path = join(this.dir, arrayFile(name, field))
      // One byte holds every token of the vocabularies in use; larger ones take four.
      const dtype = isGrid && this.#description.vocabSize <= 256 ? 'u1' : 'i4'
      return isGrid ? new NpyWriter(path, dtype, this.#description.seqLen) : new NpyWriter(path, dtype)
    }
    this.#arrays = Object.fromEntries(setFields.map((field) => [field, writer(field)])) as Record<SetField, NpyWriter>
    this.#sets.push(name)
    this.#inSet = { groups: 0, puzzles: 0, examples: 0 }
    this.#arrays.puzzle_indices.append([0])
    this.#arrays.group_indices.append([0])
  }

  #open(): Record<SetField, NpyWriter> {
    if (this.#arrays === undefined) throw new Error('beginSet comes before examples')
    return this.#arrays
  }

  /** Adds an example to the current puzzle: [seqLen] tokens and labels, within the vocabulary. */
  example(inputs: ArrayLike<number>, labels: ArrayLike<number>): void {
    const arrays = this.#open()
    arrays.inputs.append(inputs)
    arrays.labels.append(labels)
    this.#inSet.examples++
  }

  /** Ends the current puzzle, which needs at least one example. */
  endPuzzle(identifier: number): void {
    const arrays = this.#open()
    arrays.puzzle_identifiers.append([identifier])
    arrays.puzzle_indices.append([this.#inSet.examples])
    this.#inSet.puzzles++
  }

  /** Ends the current group, which needs at least one puzzle. */
  endGroup(): void {
    this.#open().group_indices.append([this.#inSet.puzzles])
    this.#inSet.groups++
  }

  #finishSet(): void {
    if (this.#arrays === undefined) return
    for (const array of Object.values(this.#arrays)) array.finish()
    this.#arrays = undefined
    for (const key of ['groups', 'puzzles', 'examples'] as const) this.#counts[key] += this.#inSet[key]
  }

  /**
   * Completes the arrays and writes `dataset.json`.
   *
   * @param numPuzzleIdentifiers - where more have come than the description knew
   */
  async finish(
    numPuzzleIdentifiers = this.#description.numPuzzleIdentifiers,
  ): Promise<{ counts: SplitCounts; metadata: DatasetMetadata }> {
    this.#finishSet()
    const counts = this.#counts
    const metadata: DatasetMetadata = {
      ...this.#description,
      numPuzzleIdentifiers,
      totalGroups: counts.groups,
      meanPuzzleExamples: counts.examples / counts.puzzles,
      sets: this.#sets,
    }
    await writeDurably(join(this.dir, 'dataset.json'), (handle) => handle.writeFile(encodeMetadata(metadata)))
    await syncFolder(this.dir)
    return { counts, metadata }
  }

  /** Closes what is open; the files stay incomplete. */
  abort(): void {
    for (const array of Object.values(this.#arrays ?? {})) array.abort()
    this.#arrays = undefined
  }
}

export interface WriterOptions {
  /** Whether splits that exist and differ are replaced. @default false */
  force?: boolean
  /** Called with the bytes hashed so far and in all; what it throws ends the commit. */
  onHash?: (done: number, total: number) => void
}

/**
 * Writes splits into a dataset folder all or nothing: they are built in a hidden folder beside the old ones and renamed
 * at the end, so that a failure leaves what was there.
 */
export class DatasetWriter {
  readonly dir: string
  readonly #force: boolean
  readonly #work: string
  readonly #createdDir: boolean
  readonly #onHash: (done: number, total: number) => void
  readonly #writers: SplitWriter[] = []

  private constructor(
    dir: string,
    { force = false, onHash = () => {} }: WriterOptions,
    work: string,
    createdDir: boolean,
  ) {
    this.dir = dir
    this.#force = force
    this.#onHash = onHash
    this.#work = work
    this.#createdDir = createdDir
  }

  /**
   * @throws HRMError ERR_HRM_IO where the folder cannot be made
   */
  static async create(dir: string, options: WriterOptions = {}): Promise<DatasetWriter> {
    const createdDir = !existsSync(dir)
    try {
      if (!createdDir && !statSync(dir).isDirectory())
        throw Object.assign(new Error('not a directory'), { code: 'ENOTDIR' })
      await makeFolder(dir)
      return new DatasetWriter(dir, options, mkdtempSync(join(dir, `${temporaryPrefix}data-`)), createdDir)
    } catch (error) {
      throw ioError('write', dir, error)
    }
  }

  /** Starts a split. */
  split(split: Split, description: SplitDescription): SplitWriter {
    try {
      const writer = new SplitWriter(join(this.#work, split), split, description)
      this.#writers.push(writer)
      return writer
    } catch (error) {
      throw ioError('write', this.#work, error)
    }
  }

  /**
   * Puts the finished splits in place and writes `identifiers.json`, `vocabulary.json` and `hash.json` over the whole folder. A split that
   * is there already, byte for byte, stays, so that a build can be repeated.
   *
   * @param identifiers - names of the puzzle identifiers, by number
   * @param vocabulary - what the tokens stand for; without it the folder has no `vocabulary.json`
   * @throws HRMError ERR_HRM_DATASET where a split that stays does not fit, or without `force` one that exists differs;
   * ERR_HRM_IO
   */
  async commit(identifiers: readonly string[], vocabulary?: Vocabulary): Promise<{ hash: string; files: FileHashes }> {
    const written = this.#writers.map(({ split }) => split)
    const kept = splitNames.filter((split) => !written.includes(split) && existsSync(join(this.dir, split)))
    const texts = new Map([['identifiers.json', JSON.stringify(identifiers)]])
    if (vocabulary !== undefined) texts.set(vocabularyFile, encodeVocabulary(vocabulary))
    this.#checkFit(kept, texts)
    const recorded = readHashes(this.dir)
    const hashes = new Map<string, string>()
    try {
      const unknown: { name: string; path: string }[] = []
      for (const split of splitNames) {
        if (!written.includes(split) && !kept.includes(split)) continue
        const root = written.includes(split) ? this.#work : this.dir
        for (const name of splitFiles(split, readMetadata(join(root, split, 'dataset.json')).sets)) {
          const known = root === this.dir ? recorded?.get(name) : undefined
          if (known === undefined) unknown.push({ name, path: join(root, name) })
          else hashes.set(name, known)
        }
      }
      await this.#hash(unknown, hashes)
      const equal = await this.#equalSplits(hashes)
      for (const [name, text] of texts) {
        await writeDurably(join(this.#work, name), (handle) => handle.writeFile(text))
        hashes.set(name, await sha256OfFile(join(this.#work, name)))
      }
      await writeDurably(join(this.#work, 'hash.json'), (handle) => handle.writeFile(encodeHashes(hashes)))
      // While splits change there is no hash.json, so that at no moment a wrong one is there.
      rmSync(join(this.dir, 'hash.json'), { force: true })
      await syncFolder(this.dir)
      for (const split of written) if (!equal.has(split)) await this.#putInPlace(split)
      if (vocabulary === undefined) rmSync(join(this.dir, vocabularyFile), { force: true })
      for (const name of [...texts.keys(), 'hash.json']) await this.#putInPlace(name)
      rmSync(this.#work, { recursive: true, force: true })
    } catch (error) {
      throw ioError('write', this.dir, error)
    }
    return { hash: hashOfHashes(hashes), files: hashes }
  }

  async #hash(files: readonly { name: string; path: string }[], hashes: Map<string, string>): Promise<void> {
    const total = files.reduce((sum, { path }) => sum + statSync(path).size, 0)
    let done = 0
    for (const { name, path } of files) {
      const hash = await sha256OfFile(path, (bytes) => this.#onHash((done += bytes), total))
      hashes.set(name, hash)
    }
  }

  /** Splits of one folder share identifiers, length and vocabulary. */
  #checkFit(kept: readonly Split[], texts: ReadonlyMap<string, string>): void {
    if (kept.length === 0) return
    for (const name of ['identifiers.json', vocabularyFile]) {
      const path = join(this.dir, name)
      if (existsSync(path) && readFileSync(path, 'utf8').trim() !== texts.get(name)?.trim())
        throw datasetError(path, `the ${name.replace('.json', '')} of the split to be added`, 'another')
    }
    for (const split of kept) {
      const keptPath = join(this.dir, split, 'dataset.json')
      const old = readMetadata(keptPath)
      for (const writer of this.#writers) {
        const added = readMetadata(join(writer.dir, 'dataset.json'))
        for (const key of ['seqLen', 'vocabSize'] as const) {
          if (old[key] !== added[key])
            throw datasetError(keptPath, `${key} ${added[key]} as in the new ${writer.split}`, `${old[key]}`)
        }
      }
    }
  }

  /** Splits whose files are in the folder already; one that is there with other content needs `force`. */
  async #equalSplits(hashes: FileHashes): Promise<ReadonlySet<Split>> {
    const equal = new Set<Split>()
    for (const { split } of this.#writers) {
      const path = join(this.dir, split)
      if (!existsSync(path)) continue
      const files = [...hashes.keys()].filter((name) => name.startsWith(`${split}/`))
      const same = await Promise.all(
        files.map(async (name) => {
          const old = join(this.dir, name)
          return existsSync(old) && (await sha256OfFile(old)) === hashes.get(name)
        }),
      )
      if (same.every(Boolean)) equal.add(split)
      else if (!this.#force) {
        throw new HRMError(
          'ERR_HRM_DATASET',
          `[data] expected a folder without another split ${split}, got ${path}; do choose another folder or pass --force to replace it`,
          { path },
        )
      }
    }
    return equal
  }

  #putInPlace(name: string): Promise<void> {
    return putInPlace(join(this.#work, name), join(this.dir, name))
  }

  /** Removes everything that was not committed. */
  abort(): void {
    for (const writer of this.#writers) writer.abort()
    rmSync(this.#work, { recursive: true, force: true })
    if (this.#createdDir) rmSync(this.dir, { recursive: true, force: true })
  }
}
