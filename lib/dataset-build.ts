import { existsSync, statSync } from 'node:fs'
import { basename, join } from 'node:path'
import { readMetadata, type Split, splitNames } from './dataset-files.js'
import { DatasetSet } from './dataset.js'
import {
  DatasetWriter,
  type SplitCounts,
  type SplitDescription,
  type SplitWriter,
  type WriterOptions,
} from './dataset-writer.js'
import { HRMError, rangeError } from './errors.js'
import { type Comparison, findLeaks, type LeakReport } from './leaks.js'
import { checkSeed, RandomStream } from './random.js'
import type { Vocabulary } from './vocabulary.js'

/** What is going on: bytes, files or puzzles, done and in total. */
export interface BuildProgress {
  /** What is done, `hash` for instance. */
  phase: string
  /** Of `done` and `total`. */
  unit: 'bytes' | 'files' | 'puzzles'
  /** So far. */
  done: number
  /** In all. */
  total: number
}

/** What every builder takes. */
export interface BuildOptions {
  /** The dataset folder; splits that are not built stay. */
  outDir: string
  /** Decides all that is drawn. */
  seed: number
  /** Whether existing splits are replaced. @default false */
  force?: boolean
  /** Ends the build, which leaves what was there; rejects with `signal.reason`. */
  signal?: AbortSignal
  /** Called now and then. */
  onProgress?: (progress: BuildProgress) => void
}

/** What was built. */
export interface BuildResult {
  /** How much each split holds. */
  splits: Partial<Record<Split, SplitCounts>>
  /** Test examples that training gives away; undefined where the folder has only one split. */
  leaks: LeakReport | undefined
  /** SHA-256 of the whole dataset. */
  hash: string
  /** SHA-256 of each file. */
  files: ReadonlyMap<string, string>
}

/** What a builder makes. */
export interface BuildPlan {
  splits: readonly Split[]
  description: SplitDescription
  /** Writes the set of a split. */
  fill: (split: Split, writer: SplitWriter) => Promise<void>
  comparison: Comparison
  /** Stored with the dataset. */
  vocabulary?: Vocabulary
}

/** The only set of a built split. */
const setName = 'all'
const identifiers = ['<blank>']

/** @throws RangeError ERR_HRM_ARGUMENT */
export function checkCount(op: string, name: string, value: number, least: number): void {
  if (Number.isSafeInteger(value) && value >= least) return
  throw rangeError(`[${op}] expected ${name} to be an integer of at least ${least}, got ${value}; do pass another`)
}

/** Bytes from which on hashing is reported: a second's work. */
const REPORTED_HASH_BYTES = 2 ** 28

/** How the writer of a build reports and ends. */
export function writerOptions({ force = false, signal, onProgress }: BuildOptions): WriterOptions {
  return {
    force,
    onHash(done, total) {
      signal?.throwIfAborted()
      if (total >= REPORTED_HASH_BYTES) onProgress?.({ phase: 'hash', unit: 'bytes', done, total })
    },
  }
}

async function openSets(folder: string): Promise<DatasetSet[]> {
  const metadata = readMetadata(join(folder, 'dataset.json'))
  const sets: DatasetSet[] = []
  for (const name of metadata.sets) sets.push(await DatasetSet.open(folder, name, metadata))
  return sets
}

/** Compares the splits of a dataset, new ones where they were built; undefined where there is only one. */
async function checkLeaks(
  outDir: string,
  built: ReadonlyMap<Split, SplitWriter>,
  comparison: Comparison,
): Promise<LeakReport | undefined> {
  const [train, test] = splitNames.map((split) => built.get(split)?.dir ?? join(outDir, split))
  if (!existsSync(train!) || !existsSync(test!)) return undefined
  const [testSets, trainSets] = [await openSets(test!), await openSets(train!)]
  try {
    // A split of another format is refused when the new one is committed.
    if (testSets[0]!.metadata.seqLen !== trainSets[0]!.metadata.seqLen) return undefined
    return await findLeaks(testSets, trainSets, comparison)
  } finally {
    for (const set of [...testSets, ...trainSets]) set.close()
  }
}

/** Builds splits of one set each, with the blank identifier alone, and puts all in place, or nothing. */
export async function buildDataset(options: BuildOptions, plan: BuildPlan): Promise<BuildResult> {
  checkSeed(options.seed)
  const writer = await DatasetWriter.create(options.outDir, writerOptions(options))
  try {
    const built = new Map<Split, SplitWriter>()
    const counts: Partial<Record<Split, SplitCounts>> = {}
    for (const split of plan.splits) {
      const splitWriter = writer.split(split, plan.description)
      built.set(split, splitWriter)
      splitWriter.beginSet(setName)
      await plan.fill(split, splitWriter)
      counts[split] = (await splitWriter.finish()).counts
    }
    const leaks = await checkLeaks(options.outDir, built, plan.comparison)
    options.signal?.throwIfAborted()
    return { splits: counts, leaks, ...(await writer.commit(identifiers, plan.vocabulary)) }
  } catch (error) {
    writer.abort()
    throw error
  }
}

/** The CSV file of each split that a path stands for; test comes first. */
export function csvFiles(op: string, source: string): [Split, string][] {
  if (!existsSync(source)) {
    throw new HRMError(
      'ERR_HRM_DATASET',
      `[${op}] expected a CSV file or a folder with train.csv and test.csv, got nothing at ${source}; do check the path`,
      { path: source },
    )
  }
  if (!statSync(source).isDirectory()) return [[basename(source).startsWith('test') ? 'test' : 'train', source]]
  const files = (['test', 'train'] as const).map((split): [Split, string] => [split, join(source, `${split}.csv`)])
  const missing = files.find(([, path]) => !existsSync(path))
  if (missing !== undefined) {
    throw new HRMError(
      'ERR_HRM_DATASET',
      `[${op}] expected train.csv and test.csv in ${source}, got no ${missing[0]}.csv; do pass a single file to build one split`,
      { path: missing[1] },
    )
  }
  return files
}

/** Rows drawn without replacement, each as likely as any other, in the order of the file; memory is O(size). */
export async function subsample<Row extends { line: number }>(
  rows: AsyncIterable<Row>,
  size: number,
  seed: number,
): Promise<Row[]> {
  const random = new RandomStream(seed, 'subsample', 0)
  const kept: Row[] = []
  let seen = 0
  for await (const row of rows) {
    seen++
    if (kept.length < size) kept.push(row)
    else {
      const slot = random.nextBelow(seen)
      if (slot < size) kept[slot] = row
    }
  }
  return kept.toSorted((a, b) => a.line - b.line)
}
