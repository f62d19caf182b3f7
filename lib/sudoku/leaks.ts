import { setImmediate as yieldToEventLoop } from 'node:timers/promises'
import { type DatasetSet, emptyBatch } from '../dataset.js'
import { canonicalPuzzle, puzzleInvariant } from './canonical-puzzle.js'
import { canonicalGrid, gridInvariant } from './canonical.js'
import { gridKey, tokensToDigits } from './geometry.js'

/** Test puzzles whose solving could be learnt by heart from the training split. */
export interface LeakReport {
  /**
   * What was compared: for 9×9 the solution grids up to all symmetries; for 6×6, where only 49 grids differ in more
   * than symmetry, the puzzles up to symmetry; for 4×4 the puzzles themselves.
   */
  compared: Comparison['compared']
  /** Test examples. */
  testExamples: number
  /** Test examples that also occur in training. */
  leaked: number
  /** The first of them, by number. */
  firstLeaked: number[]
}

/** Numbers of examples listed in a report. */
const MAX_LISTED = 10

/** Puzzles read at a time. */
const BLOCK = 1024

/** Inputs or labels, [seqLen] tokens each, of the examples of `count` puzzles, read block by block. */
async function* examples(
  set: DatasetSet,
  count: number,
  puzzleAt: (index: number) => number,
  field: 'inputs' | 'labels',
): AsyncGenerator<Int32Array> {
  const { seqLen } = set.metadata
  for (let start = 0; start < count; start += BLOCK) {
    const puzzles = Array.from({ length: Math.min(BLOCK, count - start) }, (_, index) => puzzleAt(start + index))
    const batch = emptyBatch(puzzles.length, set.metadata)
    set.readExamples(
      puzzles.map((puzzle) => set.puzzleStart(puzzle)),
      puzzles,
      batch,
    )
    for (let row = 0; row < puzzles.length; row++) yield batch[field].subarray(row * seqLen, (row + 1) * seqLen)
    await yieldToEventLoop()
  }
}

/** What makes two examples the same; `exact` is only asked for where `quick` agrees. */
interface Comparison {
  compared: 'solutions up to symmetry' | 'puzzles up to symmetry' | 'puzzles'
  field: 'inputs' | 'labels'
  quick: (grid: Uint8Array) => number | string
  exact: (grid: Uint8Array) => string
}

/** Numbers, in ascending order, of the test examples that are the same as one of the training examples given. */
async function commonExamples(
  test: AsyncIterable<Int32Array>,
  train: AsyncIterable<Int32Array>,
  { quick, exact }: Comparison,
): Promise<number[]> {
  const groups = new Map<number | string, { index: number; grid: Uint8Array; exact?: string }[]>()
  let index = 0
  for await (const tokens of test) {
    const grid = tokensToDigits(tokens)
    const key = quick(grid)
    const same = groups.get(key)
    if (same === undefined) groups.set(key, [{ index, grid }])
    else same.push({ index, grid })
    index++
  }
  const leaked = new Set<number>()
  for await (const tokens of train) {
    const grid = tokensToDigits(tokens)
    const same = groups.get(quick(grid))
    if (same === undefined || same.every((candidate) => leaked.has(candidate.index))) continue
    const form = exact(grid)
    for (const candidate of same) {
      candidate.exact ??= exact(candidate.grid)
      if (candidate.exact === form) leaked.add(candidate.index)
    }
  }
  return [...leaked].toSorted((a, b) => a - b)
}

function comparisonOf(cells: number): Comparison {
  if (cells === 81)
    return { compared: 'solutions up to symmetry', field: 'labels', quick: gridInvariant, exact: canonicalGrid }
  if (cells === 36)
    return { compared: 'puzzles up to symmetry', field: 'inputs', quick: puzzleInvariant, exact: canonicalPuzzle }
  return { compared: 'puzzles', field: 'inputs', quick: gridKey, exact: gridKey }
}

/**
 * Looks for test puzzles that the training split gives away. Both sets hold one example per puzzle. Where symmetric
 * ones count as the same, the first puzzle of each training group stands for its augmentations.
 */
export async function findLeaks(test: DatasetSet, train: DatasetSet): Promise<LeakReport> {
  const comparison = comparisonOf(test.metadata.seqLen)
  const { compared, field } = comparison
  const leaked = await commonExamples(
    examples(test, test.numPuzzles, (index) => index, field),
    compared === 'puzzles'
      ? examples(train, train.numPuzzles, (index) => index, field)
      : examples(train, train.numGroups, (group) => train.groupIndices[group]!, field),
    comparison,
  )
  return {
    compared,
    testExamples: test.numPuzzles,
    leaked: leaked.length,
    firstLeaked: leaked.slice(0, MAX_LISTED),
  }
}
