import { setImmediate as yieldToEventLoop } from 'node:timers/promises'
import { type DatasetSet, emptyBatch } from '../dataset.js'
import { canonicalGrid, gridInvariant } from './canonical.js'
import { gridKey, tokensToDigits } from './geometry.js'

/** Test puzzles whose solving could be learnt by heart from the training split. */
export interface LeakReport {
  /**
   * What was compared: for 9×9 the solution grids up to all symmetries, for smaller sizes (few grids exist, so that
   * nearly all are shared) the puzzles themselves.
   */
  compared: 'solutions up to symmetry' | 'puzzles'
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

/**
 * Looks for test puzzles that the training split gives away. Both sets hold one example per puzzle. For 9×9 the first
 * puzzle of each training group stands for its augmentations, which share its solution up to symmetry.
 */
export async function findLeaks(test: DatasetSet, train: DatasetSet): Promise<LeakReport> {
  const nine = test.metadata.seqLen === 81
  const comparison: Comparison = nine
    ? { field: 'labels', quick: gridInvariant, exact: canonicalGrid }
    : { field: 'inputs', quick: gridKey, exact: gridKey }
  const leaked = await commonExamples(
    examples(test, test.numPuzzles, (index) => index, comparison.field),
    nine
      ? examples(train, train.numGroups, (group) => train.groupIndices[group]!, comparison.field)
      : examples(train, train.numPuzzles, (index) => index, comparison.field),
    comparison,
  )
  return {
    compared: nine ? 'solutions up to symmetry' : 'puzzles',
    testExamples: test.numPuzzles,
    leaked: leaked.length,
    firstLeaked: leaked.slice(0, MAX_LISTED),
  }
}
