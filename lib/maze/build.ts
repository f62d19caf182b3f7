import { createHash } from 'node:crypto'
import { statSync } from 'node:fs'
import { basename } from 'node:path'
import { setImmediate as yieldToEventLoop } from 'node:timers/promises'
import {
  buildDataset,
  type BuildOptions,
  type BuildPlan,
  type BuildResult,
  checkCount,
  csvFiles,
  subsample,
} from '../dataset-build.js'
import type { Split } from '../dataset-files.js'
import type { SplitWriter } from '../dataset-writer.js'
import { dihedral, dihedralCount } from '../dihedral.js'
import { HRMError, rangeError } from '../errors.js'
import type { Comparison } from '../leaks.js'
import { RandomStream } from '../random.js'
import type { Vocabulary } from '../vocabulary.js'
import { cell, mazeCharacters, mazeVocabSize } from './cells.js'
import { maxMazeSide, type MazeRow, readMazeCsv } from './csv.js'
import { type Maze, tryMaze } from './generator.js'

const op = 'maze'

interface MazeBuildOptions extends BuildOptions {
  /** Whether training gets the eight rotations and reflections of each maze. @default false */
  aug?: boolean
}

export interface CsvMazeOptions extends MazeBuildOptions {
  /** A CSV file (`test…` becomes the test split, any other the training split) or a folder with train.csv and test.csv. */
  source: string
  /** Training mazes to draw. @default all */
  subsampleSize?: number
}

export interface GeneratedMazeOptions extends MazeBuildOptions {
  /** Cells of each side, from 4. */
  size: number
  trainMazes: number
  /** 0 makes no test split. */
  testMazes: number
  /** Least steps from S to G. */
  minPath: number
}

export interface MazeBuildResult extends BuildResult {
  size: number
  /** Random mazes tried; undefined where the mazes come from a file. */
  tries?: number
  /** Mazes, before augmentation, whose answer is not a shortest path, and that have several shortest paths. */
  notShortest: number
  ambiguous: number
}

/** Tries before a length of path counts as out of reach. */
const MAX_TRIES = 2000

/** The eight views of a maze as sources of cells, the maze itself first. */
function views(side: number): Int32Array[] {
  return Array.from({ length: dihedralCount }, (_, symmetry) => dihedral(symmetry, side, side).source)
}

/** Equal for mazes that are the same up to rotation and reflection. */
function mazeKey(question: ArrayLike<number>, sources: readonly Int32Array[]): string {
  let smallest: Buffer | undefined
  for (const source of sources) {
    const view = Buffer.from(Uint8Array.from(source, (at) => question[at]!))
    if (smallest === undefined || view.compare(smallest) < 0) smallest = view
  }
  return createHash('sha256').update(smallest!).digest('base64')
}

function mazeComparison(side: number): Comparison {
  const sources = views(side)
  return {
    compared: 'mazes up to rotation and reflection',
    field: 'inputs',
    quick: (tokens) => mazeKey(tokens, sources),
    firstOfGroup: true,
  }
}

function mazeVocabulary(side: number): Vocabulary {
  return { task: 'maze', form: 'grid', rows: side, columns: side, answer: 'input', values: [null, ...mazeCharacters] }
}

function plan(side: number, splits: readonly Split[], fill: BuildPlan['fill']): BuildPlan {
  return {
    splits,
    fill,
    description: {
      padId: cell.pad,
      ignoreLabelId: cell.pad,
      blankIdentifierId: 0,
      vocabSize: mazeVocabSize,
      seqLen: side * side,
      numPuzzleIdentifiers: 1,
    },
    vocabulary: mazeVocabulary(side),
    comparison: mazeComparison(side),
  }
}

/** Writes a maze as a group, with `aug` of all its eight views in the official order. */
function groupWriter(side: number, aug: boolean, writer: SplitWriter): (maze: Maze) => void {
  const sources = views(side).slice(0, aug ? dihedralCount : 1)
  return ({ question, answer }) => {
    for (const source of sources) {
      writer.example(
        Uint8Array.from(source, (at) => question[at]!),
        Uint8Array.from(source, (at) => answer[at]!),
      )
      writer.endPuzzle(0)
    }
    writer.endGroup()
  }
}

function noMaze(path: string): HRMError {
  const message = `[${op}] expected at least one maze, got none in ${path}; do check the file`
  return new HRMError('ERR_HRM_DATASET', message, { path })
}

/** The side of the mazes of a file, by its first row. */
async function sideOf(path: string): Promise<number> {
  for await (const { side } of readMazeCsv(path)) return side
  throw noMaze(path)
}

/**
 * Builds datasets from CSV files in the form of sapientinc/maze-30x30-hard-1k with the official encoding. Test mazes are
 * neither drawn nor augmented.
 *
 * @throws HRMError ERR_HRM_DATASET naming file and line, or where a split exists; ERR_HRM_IO
 * @throws RangeError ERR_HRM_ARGUMENT where an option is out of range
 */
export async function buildMazesFromCsv(options: CsvMazeOptions): Promise<MazeBuildResult> {
  const { source, seed, subsampleSize, aug = false, signal, onProgress } = options
  if (subsampleSize !== undefined) checkCount(op, 'subsample-size', subsampleSize, 1)
  const files = new Map(csvFiles(op, source))
  const size = await sideOf([...files.values()][0]!)
  let notShortest = 0
  let ambiguous = 0
  const fill = async (split: Split, writer: SplitWriter): Promise<void> => {
    const path = files.get(split)!
    const total = statSync(path).size
    const rows = async function* (): AsyncGenerator<MazeRow, void, undefined> {
      const onBytes = (done: number) => onProgress?.({ phase: `read ${basename(path)}`, unit: 'bytes', done, total })
      for await (const row of readMazeCsv(path, onBytes)) {
        signal?.throwIfAborted()
        if (row.side !== size) {
          throw new HRMError(
            'ERR_HRM_DATASET',
            `[${op}] expected mazes of ${size} × ${size} cells as in the other file, got ${row.side} × ${row.side} in ${path}; do build them apart`,
            { path, line: row.line },
          )
        }
        yield row
      }
    }
    const write = groupWriter(size, aug && split === 'train', writer)
    const drawn = split === 'train' && subsampleSize !== undefined ? subsample(rows(), subsampleSize, seed) : rows()
    let written = 0
    for await (const row of await drawn) {
      write(row)
      written++
      if (!row.shortest) notShortest++
      if (!row.unique) ambiguous++
    }
    if (written === 0) throw noMaze(path)
  }
  return { size, ...(await buildDataset(options, plan(size, [...files.keys()], fill))), notShortest, ambiguous }
}

/**
 * Builds datasets of random mazes with exactly one shortest path each. None comes twice in or between the splits, also
 * not rotated or reflected. Test mazes are drawn first, so that they depend on the seed and their own number alone.
 *
 * @throws RangeError ERR_HRM_ARGUMENT where an option is out of range or no such mazes are found
 * @throws HRMError ERR_HRM_DATASET where a split exists; ERR_HRM_IO
 */
export async function buildGeneratedMazes(options: GeneratedMazeOptions): Promise<MazeBuildResult> {
  const { size, trainMazes, testMazes, minPath, seed, aug = false, signal, onProgress } = options
  if (!Number.isInteger(size) || size < 4 || size > maxMazeSide)
    throw rangeError(`[${op}] expected a size from 4 to ${maxMazeSide}, got ${size}; do pass another`)
  checkCount(op, 'generate', trainMazes, 1)
  checkCount(op, 'test', testMazes, 0)
  checkCount(op, 'min-path', minPath, 1)
  const sources = views(size)
  const seen = new Set<string>()
  let tries = 0
  const fill = async (split: Split, writer: SplitWriter): Promise<void> => {
    const total = split === 'train' ? trainMazes : testMazes
    const write = groupWriter(size, aug && split === 'train', writer)
    for (let done = 0, failed = 0; done < total;) {
      const maze = tryMaze(size, minPath, new RandomStream(seed, 'puzzle', tries++))
      const key = maze && mazeKey(maze.question, sources)
      if (key === undefined || seen.has(key)) {
        if (++failed < MAX_TRIES) continue
        throw rangeError(
          `[${op}] expected ${total} different mazes of size ${size} with paths of ${minPath} steps or more, got ${done} for ${split}, then none in ${MAX_TRIES} tries; do ask for fewer mazes or shorter paths`,
        )
      }
      seen.add(key)
      write(maze!)
      failed = 0
      done++
      if (done % 16 !== 0 && done !== total) continue
      signal?.throwIfAborted()
      onProgress?.({ phase: `generate ${split}`, unit: 'puzzles', done, total })
      await yieldToEventLoop()
    }
  }
  const built = await buildDataset(options, plan(size, testMazes > 0 ? ['test', 'train'] : ['train'], fill))
  return { size, ...built, tries, notShortest: 0, ambiguous: 0 }
}
