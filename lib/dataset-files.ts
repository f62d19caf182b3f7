import { createHash } from 'node:crypto'
import { createReadStream, existsSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { HRMError } from './errors.js'
import { ioError } from './mapped-file.js'
import { parseStrictJson, type StrictJson } from './strict-json.js'

/** The part that trains the model, and the part that scores it. */
export type Split = 'train' | 'test'

export const splitNames: readonly Split[] = ['train', 'test']

/** The arrays of a set, each in the file `<set>__<field>.npy`. */
export const setFields = ['inputs', 'labels', 'puzzle_identifiers', 'puzzle_indices', 'group_indices'] as const

export type SetField = (typeof setFields)[number]

/** What `dataset.json` of a split says. Its file uses the official snake_case keys. */
export interface DatasetMetadata {
  /** Token that fills rows and cells without content. */
  padId: number
  /** Label that does not count in loss and accuracy; null where every label counts. */
  ignoreLabelId: number | null
  /** Identifier of rows that belong to no puzzle. */
  blankIdentifierId: number
  /** V: tokens are 0 … vocabSize-1. */
  vocabSize: number
  /** T: tokens of one example. */
  seqLen: number
  /** Puzzle identifiers are 0 … numPuzzleIdentifiers-1; 0 is the blank one. */
  numPuzzleIdentifiers: number
  /** Groups of all sets together. */
  totalGroups: number
  /** Examples per puzzle, on average; the length of the learning-rate schedule follows from it. */
  meanPuzzleExamples: number
  /** Names of the sets, in order. */
  sets: readonly string[]
  /** What the puzzles are, as `arc`; not an official field, and absent where the builder does not record it. */
  task?: string
}

const fileKeys = {
  padId: 'pad_id',
  ignoreLabelId: 'ignore_label_id',
  blankIdentifierId: 'blank_identifier_id',
  vocabSize: 'vocab_size',
  seqLen: 'seq_len',
  numPuzzleIdentifiers: 'num_puzzle_identifiers',
  totalGroups: 'total_groups',
  meanPuzzleExamples: 'mean_puzzle_examples',
  sets: 'sets',
  task: 'task',
} as const satisfies Record<keyof DatasetMetadata, string>

/** Longest JSON file read at once: identifiers of a million puzzles take some 60 MB. */
const MAX_JSON_BYTES = 2 ** 28

/** Longest example; keeps a false `seq_len` from asking for all memory. */
const MAX_SEQ_LEN = 2 ** 24

/** Set names become file names, so they must not lead elsewhere. */
const setNamePattern = /^[A-Za-z0-9][A-Za-z0-9_.+-]{0,127}$/

export function datasetError(
  path: string,
  expected: string,
  got: string,
  details: Record<string, unknown> = {},
): HRMError {
  return new HRMError(
    'ERR_HRM_DATASET',
    `[dataset] expected ${expected}, got ${got} in ${path}; do rebuild the dataset`,
    {
      path,
      ...details,
    },
  )
}

/** Reads a small JSON file of a dataset. @throws HRMError ERR_HRM_DATASET or ERR_HRM_IO */
export function readJson(path: string): StrictJson {
  if (!existsSync(path)) throw datasetError(path, 'the file', 'nothing')
  try {
    const { size } = statSync(path)
    if (size > MAX_JSON_BYTES) throw datasetError(path, `at most ${MAX_JSON_BYTES} bytes`, `${size}`)
    return parseStrictJson(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(readFileSync(path)))
  } catch (error) {
    if (error instanceof SyntaxError) throw datasetError(path, 'JSON', error.message)
    if ((error as { code?: unknown }).code === 'ERR_ENCODING_INVALID_ENCODED_DATA')
      throw datasetError(path, 'UTF-8', 'other bytes')
    throw ioError('read', path, error)
  }
}

/** Reads `identifiers.json`: the names of the puzzle identifiers, by number. @throws HRMError ERR_HRM_DATASET, ERR_HRM_IO */
export function readIdentifiers(path: string): string[] {
  const json = readJson(path)
  if (Array.isArray(json) && json.every((name): name is string => typeof name === 'string')) return json
  throw datasetError(path, 'a list of strings', 'something else')
}

/** Reads and checks `dataset.json`. @throws HRMError ERR_HRM_DATASET naming the field */
export function readMetadata(path: string): DatasetMetadata {
  const json = readJson(path)
  if (!(json instanceof Map)) throw datasetError(path, 'an object', JSON.stringify(json).slice(0, 40))
  const fail = (key: keyof DatasetMetadata, expected: string): never => {
    const found = json.get(fileKeys[key])
    const got =
      found === undefined ? 'nothing' : found instanceof Map ? 'an object' : JSON.stringify(found).slice(0, 80)
    throw datasetError(path, `${fileKeys[key]} to be ${expected}`, got, { field: fileKeys[key] })
  }
  const integer = (key: keyof DatasetMetadata, low: number, high: number): number => {
    const value = json.get(fileKeys[key])
    const valid = typeof value === 'number' && Number.isInteger(value) && value >= low && value <= high
    return valid ? value : fail(key, `an integer from ${low} to ${high}`)
  }
  const int32 = 2 ** 31 - 1
  const vocabSize = integer('vocabSize', 1, int32)
  const numPuzzleIdentifiers = integer('numPuzzleIdentifiers', 1, int32)
  const mean = json.get(fileKeys.meanPuzzleExamples)
  const sets = json.get(fileKeys.sets)
  const task = json.get(fileKeys.task)
  const setsAreNames =
    Array.isArray(sets) &&
    sets.length > 0 &&
    sets.every((name): name is string => typeof name === 'string' && setNamePattern.test(name)) &&
    new Set(sets).size === sets.length
  return {
    vocabSize,
    numPuzzleIdentifiers,
    seqLen: integer('seqLen', 1, MAX_SEQ_LEN),
    padId: integer('padId', 0, vocabSize - 1),
    ignoreLabelId: json.get(fileKeys.ignoreLabelId) === null ? null : integer('ignoreLabelId', -(2 ** 31), int32),
    blankIdentifierId: integer('blankIdentifierId', 0, numPuzzleIdentifiers - 1),
    totalGroups: integer('totalGroups', 1, int32),
    meanPuzzleExamples:
      typeof mean === 'number' && mean > 0 && mean <= int32 ? mean : fail('meanPuzzleExamples', 'a number above 0'),
    sets: setsAreNames ? sets : fail('sets', 'a list of different names'),
    ...(typeof task === 'string' ? { task } : {}),
  }
}

/** The text of `dataset.json`. */
export function encodeMetadata(metadata: DatasetMetadata): string {
  const keys = Object.keys(fileKeys) as (keyof DatasetMetadata)[]
  return `${JSON.stringify(Object.fromEntries(keys.map((key) => [fileKeys[key], metadata[key]])), null, 2)}\n`
}

/** Path of an array inside its split. */
export function arrayFile(set: string, field: SetField): string {
  return `${set}__${field}.npy`
}

/** Every file of a split that counts for its hash, as paths from the dataset folder with forward slashes. */
export function splitFiles(split: Split, sets: readonly string[]): string[] {
  const arrays = sets.flatMap((set) => setFields.map((field) => arrayFile(set, field)))
  return ['dataset.json', ...arrays].map((name) => `${split}/${name}`)
}

/**
 * SHA-256 of a file, lower-case hexadecimal.
 *
 * @param onBytes - called with the bytes of each piece read
 */
export async function sha256OfFile(path: string, onBytes: (bytes: number) => void = () => {}): Promise<string> {
  const hash = createHash('sha256')
  try {
    for await (const chunk of createReadStream(path, { highWaterMark: 2 ** 20 })) {
      hash.update(chunk as Buffer)
      onBytes((chunk as Buffer).length)
    }
  } catch (error) {
    throw ioError('read', path, error)
  }
  return hash.digest('hex')
}

/** SHA-256 of each file of a dataset, by its path from the dataset folder. */
export type FileHashes = ReadonlyMap<string, string>

/** The text of `hash.json`: keys in ascending order, so that equal datasets have equal texts. */
export function encodeHashes(hashes: FileHashes): string {
  const sorted = [...hashes].toSorted(([a], [b]) => (a < b ? -1 : 1))
  return `${JSON.stringify({ sha256: Object.fromEntries(sorted) }, null, 2)}\n`
}

/** One SHA-256 for a whole dataset: that of the text of its `hash.json`. */
export function hashOfHashes(hashes: FileHashes): string {
  return createHash('sha256').update(encodeHashes(hashes)).digest('hex')
}

/** Reads `hash.json` of a dataset folder; undefined where there is none. @throws HRMError ERR_HRM_DATASET */
export function readHashes(dir: string): FileHashes | undefined {
  const path = join(dir, 'hash.json')
  if (!existsSync(path)) return undefined
  const json = readJson(path)
  const files = json instanceof Map ? json.get('sha256') : undefined
  if (!(files instanceof Map)) throw datasetError(path, 'an object with the object sha256', 'something else')
  const hashes = new Map<string, string>()
  for (const [name, hash] of files) {
    if (typeof hash !== 'string' || !/^[0-9a-f]{64}$/.test(hash)) {
      throw datasetError(path, `64 hexadecimal digits for ${JSON.stringify(name)}`, 'something else', { field: name })
    }
    hashes.set(name, hash)
  }
  return hashes
}
