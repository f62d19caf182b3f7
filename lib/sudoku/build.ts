import { statSync } from 'node:fs'
import { basename } from 'node:path'
import { setImmediate as yieldToEventLoop } from 'node:timers/promises'
import { buildDataset, type BuildOptions, type BuildResult, checkCount, csvFiles, subsample } from '../dataset-build.js'
import type { Split } from '../dataset-files.js'
import type { SplitDescription, SplitWriter } from '../dataset-writer.js'
import { HRMError, rangeError } from '../errors.js'
import { RandomStream } from '../random.js'
import { canonicalPuzzle } from './canonical-puzzle.js'
import { readSudokuCsv, type SudokuRow } from './csv.js'
import { generatePuzzle, type SudokuPuzzle } from './generator.js'
import {
  digitsToTokens,
  gridKey,
  sudokuGeometry,
  sudokuPadToken,
  type SudokuSize,
  sudokuVocabSize,
} from './geometry.js'
import { sudokuComparison } from './leaks.js'
import { allGrids, randomGrid } from './solver.js'
import { applySymmetry, randomSymmetry } from './symmetry.js'

const op = 'sudoku'

interface SudokuBuildOptions extends BuildOptions {
  /** Augmented versions of each training puzzle besides itself. */
  numAug: number
  /**
   * Adds an easier twin of each training example to its group: some of the empty cells, at least one and never all, are
   * filled in. Source: Augmented HRM (arXiv 2601.10679), data mixing.
   * @default false
   */
  hints?: boolean
}

export interface CsvBuildOptions extends SudokuBuildOptions {
  /** A CSV file (`test…` becomes the test split, any other the training split) or a folder with train.csv and test.csv. */
  source: string
  /** Training puzzles to draw. @default all */
  subsampleSize?: number
  /** Least rating of the puzzles taken, in both splits. @default all */
  minDifficulty?: number
}

export interface GeneratedBuildOptions extends SudokuBuildOptions {
  size: SudokuSize
  trainPuzzles: number
  /** 0 makes no test split. */
  testPuzzles: number
  /** Empty cells of every puzzle. */
  holes: number
  /** Size 4 only: solutions that training uses, of 288; test puzzles have the others. @default all for both */
  grids?: number
}

export interface SudokuBuildResult extends BuildResult {
  size: SudokuSize
}

/** Redraws of an augmentation that left the training grids, and of a puzzle that was there before. */
const MAX_REDRAWS = 10_000

function describe(size: SudokuSize): SplitDescription {
  return {
    padId: sudokuPadToken,
    ignoreLabelId: sudokuPadToken,
    blankIdentifierId: 0,
    vocabSize: sudokuVocabSize(size),
    seqLen: size * size,
    numPuzzleIdentifiers: 1,
  }
}

/** Writes puzzles as groups of themselves and their augmentations. */
class GroupWriter {
  readonly #writer: SplitWriter
  readonly #size: SudokuSize
  readonly #numAug: number
  readonly #seed: number
  readonly #hints: boolean
  /** Whether an augmented solution may be used. */
  readonly #accepts: (solution: Uint8Array) => boolean
  #groups = 0

  /** Augmentations and hints are for the training split only. */
  constructor(
    writer: SplitWriter,
    split: Split,
    size: SudokuSize,
    { numAug, hints = false, seed }: SudokuBuildOptions,
    accepts: (solution: Uint8Array) => boolean = () => true,
  ) {
    this.#writer = writer
    this.#size = size
    this.#numAug = split === 'train' ? numAug : 0
    this.#hints = split === 'train' && hints
    this.#seed = seed
    this.#accepts = accepts
  }

  write({ puzzle, solution }: SudokuPuzzle): void {
    this.#variant(puzzle, solution, 0)
    const random = new RandomStream(this.#seed, 'augmentation', this.#groups)
    for (let copy = 0; copy < this.#numAug; copy++) {
      let symmetry = randomSymmetry(this.#size, random)
      let augmented = applySymmetry(this.#size, symmetry, solution)
      for (let redraw = 0; !this.#accepts(augmented); redraw++) {
        if (redraw === MAX_REDRAWS)
          throw rangeError(
            `[sudoku] expected augmentations within the training grids, got none in ${MAX_REDRAWS} draws; do take more grids`,
          )
        symmetry = randomSymmetry(this.#size, random)
        augmented = applySymmetry(this.#size, symmetry, solution)
      }
      this.#variant(applySymmetry(this.#size, symmetry, puzzle), augmented, copy + 1)
    }
    this.#writer.endGroup()
    this.#groups++
  }

  #variant(puzzle: Uint8Array, solution: Uint8Array, index: number): void {
    this.#example(puzzle, solution)
    if (!this.#hints) return
    const blanks = Array.from(puzzle.keys()).filter((cell) => puzzle[cell] === 0)
    if (blanks.length < 2) return
    const random = new RandomStream(this.#seed, 'hint', this.#groups * (this.#numAug + 1) + index)
    const easier = puzzle.slice()
    for (const at of random.sample(blanks.length, 1 + random.nextBelow(blanks.length - 1)))
      easier[blanks[at]!] = solution[blanks[at]!]!
    this.#example(easier, solution)
  }

  #example(puzzle: Uint8Array, solution: Uint8Array): void {
    this.#writer.example(digitsToTokens(puzzle), digitsToTokens(solution))
    this.#writer.endPuzzle(0)
  }
}

/** Runs `fill` for each split and puts all in place, or nothing. */
async function build(
  options: SudokuBuildOptions,
  size: SudokuSize,
  splits: readonly Split[],
  fill: (split: Split, writer: SplitWriter) => Promise<void>,
): Promise<SudokuBuildResult> {
  checkCount(op, 'num-aug', options.numAug, 0)
  const description = describe(size)
  return {
    size,
    ...(await buildDataset(options, { splits, description, fill, comparison: sudokuComparison(size * size) })),
  }
}

/**
 * Builds 9×9 datasets from CSV files in the form of sapientinc/sudoku-extreme, augmented as by the official builder but
 * repeatable: the same files, options and seed give the same bytes. Test puzzles are neither drawn nor augmented.
 *
 * @throws HRMError ERR_HRM_DATASET naming file and line, or where a split exists; ERR_HRM_IO
 * @throws RangeError ERR_HRM_ARGUMENT where an option is out of range
 */
export async function buildSudokuFromCsv(options: CsvBuildOptions): Promise<SudokuBuildResult> {
  const { source, seed, subsampleSize, minDifficulty, signal, onProgress } = options
  if (subsampleSize !== undefined) checkCount(op, 'subsample-size', subsampleSize, 1)
  if (minDifficulty !== undefined) checkCount(op, 'min-difficulty', minDifficulty, 0)
  const files = new Map(csvFiles(op, source))
  return build(options, 9, [...files.keys()], async (split, writer) => {
    const path = files.get(split)!
    const total = statSync(path).size
    const reading = (done: number): void =>
      onProgress?.({ phase: `read ${basename(path)}`, unit: 'bytes', done, total })
    const rows = async function* (): AsyncGenerator<SudokuRow, void, undefined> {
      reading(0)
      for await (const row of readSudokuCsv(path, reading)) {
        signal?.throwIfAborted()
        if (minDifficulty !== undefined) {
          if (row.rating === undefined) {
            throw new HRMError(
              'ERR_HRM_DATASET',
              `[csv] expected the column rating for --min-difficulty, got none in ${path}; do leave the option out`,
              { path },
            )
          }
          if (row.rating < minDifficulty) continue
        }
        yield row
      }
    }
    const groups = new GroupWriter(writer, split, 9, options)
    let written = 0
    if (split === 'train' && subsampleSize !== undefined) {
      const drawn = await subsample(rows(), subsampleSize, seed)
      for (const row of drawn) {
        signal?.throwIfAborted()
        onProgress?.({ phase: `write ${split}`, unit: 'puzzles', done: written, total: drawn.length })
        groups.write(row)
        written++
        await yieldToEventLoop()
      }
      onProgress?.({ phase: `write ${split}`, unit: 'puzzles', done: written, total: drawn.length })
    } else {
      for await (const row of rows()) {
        groups.write(row)
        written++
      }
    }
    if (written === 0) {
      const what =
        minDifficulty === undefined
          ? 'at least one puzzle'
          : `at least one puzzle with a rating of ${minDifficulty} or more`
      throw new HRMError('ERR_HRM_DATASET', `[sudoku] expected ${what}, got none in ${path}; do check the file`, {
        path,
      })
    }
  })
}

/** The completed grids that a split may use, or undefined where every grid may be. */
function gridsOf({ size, grids, seed }: GeneratedBuildOptions): Record<Split, Uint8Array[]> | undefined {
  if (size !== 4) {
    if (grids !== undefined)
      throw rangeError(
        `[sudoku] expected --grids only with size 4, which has 288 grids, got size ${size}; do leave it out`,
      )
    return undefined
  }
  const all = allGrids(4)
  if (grids === undefined) return { train: all, test: all }
  if (!Number.isInteger(grids) || grids < 1 || grids >= all.length) {
    throw rangeError(`[sudoku] expected 1 to ${all.length - 1} grids, got ${grids}; do leave some for the test split`)
  }
  new RandomStream(seed, 'gridSplit', 0).shuffle(all)
  return { train: all.slice(0, grids), test: all.slice(grids) }
}

/**
 * Builds datasets of random puzzles with exactly `holes` empty cells and exactly one solution each; no puzzle comes
 * twice in or between the splits, for 6×6 not in disguise of a symmetry either (augmentations may). Test puzzles are
 * drawn first, so that they depend on the seed and their own number alone.
 *
 * @throws RangeError ERR_HRM_ARGUMENT where an option is out of range or so many puzzles do not exist
 * @throws HRMError ERR_HRM_DATASET where a split exists; ERR_HRM_IO
 */
export async function buildGeneratedSudoku(options: GeneratedBuildOptions): Promise<SudokuBuildResult> {
  const { size, trainPuzzles, testPuzzles, holes, seed, signal, onProgress } = options
  sudokuGeometry(size)
  checkCount(op, 'generate', trainPuzzles, 1)
  checkCount(op, 'test', testPuzzles, 0)
  const grids = gridsOf(options)
  const trainGrids = options.grids === undefined ? undefined : new Set(grids!.train.map(gridKey))
  const identity = size === 6 ? canonicalPuzzle : gridKey
  const seen = new Set<string>()
  let drawn = 0
  return build(options, size, testPuzzles > 0 ? ['test', 'train'] : ['train'], async (split, writer) => {
    const total = split === 'train' ? trainPuzzles : testPuzzles
    const choices = grids?.[split]
    const accepts =
      trainGrids === undefined ? undefined : (solution: Uint8Array): boolean => trainGrids.has(gridKey(solution))
    const groups = new GroupWriter(writer, split, size, options, accepts)
    for (let done = 0; done < total;) {
      let redraws = 0
      let made: SudokuPuzzle
      let key: string
      do {
        if (redraws++ > MAX_REDRAWS) {
          throw rangeError(
            `[sudoku] expected ${total} different puzzles for ${split}, got only ${done}; do ask for fewer or other empty cells`,
          )
        }
        const random = new RandomStream(seed, 'puzzle', drawn++)
        made = generatePuzzle(
          size,
          holes,
          random,
          () => choices?.[random.nextBelow(choices.length)] ?? randomGrid(size, random),
        )
        key = identity(made.puzzle)
      } while (seen.has(key))
      seen.add(key)
      groups.write(made)
      done++
      if (done % 64 === 0 || done === total) {
        signal?.throwIfAborted()
        onProgress?.({ phase: `generate ${split}`, unit: 'puzzles', done, total })
        await yieldToEventLoop()
      }
    }
  })
}
