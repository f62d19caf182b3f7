import { join } from 'node:path'
import { Dataset, type Split } from '../dataset.js'
import { DatasetWriter } from '../dataset-writer.js'
import { buildGeneratedSudoku } from '../sudoku/build.js'

/** Empty cells of every puzzle: half of the grid. */
const HOLES = 8
/** Completed grids that training sees, of all 288. */
const TRAINING_GRIDS = 240
const TRAINING_PUZZLES = 19_760
/** Puzzles from training-side grids that decide when to stop. */
const VALIDATION_PUZZLES = 240
/** Puzzles from the other 48 grids, scored once. */
const HELD_OUT_PUZZLES = 384

/** The demo's data: folders of two datasets. */
export interface DemoData {
  /** `train`, and as `test` the validation puzzles. */
  training: string
  /** `test`: puzzles whose solutions training never sees. */
  heldOut: string
}

async function copyPuzzles(
  source: Dataset,
  from: number,
  count: number,
  writer: DatasetWriter,
  split: Split,
): Promise<void> {
  const { padId, ignoreLabelId, blankIdentifierId, vocabSize, seqLen, numPuzzleIdentifiers } = source.metadata('train')
  const sizes = { padId, ignoreLabelId, blankIdentifierId, vocabSize, seqLen, numPuzzleIdentifiers }
  const target = writer.split(split, sizes)
  target.beginSet('all')
  for (let at = from; at < from + count; at++) {
    const { inputs, labels, puzzleId } = source.example('train', 'all', at)
    target.example(inputs, labels)
    target.endPuzzle(puzzleId)
    target.endGroup()
  }
  await target.finish()
}

async function generate(
  outDir: string,
  trainPuzzles: number,
  seed: number,
  signal: AbortSignal,
  holes = HOLES,
): Promise<void> {
  const made = { size: 4, grids: TRAINING_GRIDS, testPuzzles: HELD_OUT_PUZZLES, numAug: 0 } as const
  await buildGeneratedSudoku({ outDir, ...made, holes, trainPuzzles, seed, signal })
}

/**
 * Writes a dataset whose `test` split holds the held-out puzzles of `seed`: they do not depend on those for training, of
 * which there is one.
 *
 * @param holes - empty cells of every puzzle, 1 … 9, @default as in training
 */
export function makeHeldOutData(dir: string, seed: number, signal: AbortSignal, holes?: number): Promise<void> {
  return generate(dir, 1, seed, signal, holes)
}

/**
 * Writes the demo's 4x4 puzzles into a folder; the same seed gives the same bytes. The held-out ones are those of
 * `hrm data sudoku --size 4 --holes 8 --grids 240 --generate 20000 --test 384`.
 */
export async function makeDemoData(dir: string, seed: number, signal: AbortSignal): Promise<DemoData> {
  const all = join(dir, 'all')
  await generate(all, TRAINING_PUZZLES + VALIDATION_PUZZLES, seed, signal)
  using source = await Dataset.open(all)
  const training = join(dir, 'training')
  const writer = await DatasetWriter.create(training)
  await copyPuzzles(source, 0, TRAINING_PUZZLES, writer, 'train')
  await copyPuzzles(source, TRAINING_PUZZLES, VALIDATION_PUZZLES, writer, 'test')
  await writer.commit(source.identifiers())
  return { training, heldOut: all }
}
