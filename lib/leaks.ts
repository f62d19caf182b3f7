import { setImmediate as yieldToEventLoop } from 'node:timers/promises'
import { type DatasetSet, emptyBatch } from './dataset.js'

/** Test examples that the training split gives away. */
export interface LeakReport {
  /** What was compared, e.g. `puzzles`. */
  compared: string
  /** Test examples. */
  testExamples: number
  /** Test examples that also occur in training. */
  leaked: number
  /** The first of them, by number or by name. */
  firstLeaked: (number | string)[]
}

/** Numbers of examples listed in a report. */
const MAX_LISTED = 10

/** Examples read at a time. */
const BLOCK = 1024

/** What makes two examples the same. */
export interface Comparison {
  /** Named in the report. */
  compared: string
  field: 'inputs' | 'labels'
  /** Equal for examples that are the same; [seqLen] tokens. */
  quick: (tokens: Int32Array) => number | string
  /** Equal for examples that are the same, and only these; asked for where `quick` agrees. @default quick decides */
  exact?: (tokens: Int32Array) => string
  /** Whether the first example of a training group stands for its augmentations. @default false */
  firstOfGroup?: boolean
}

/** Inputs or labels, [seqLen] tokens each, of `count` examples, read block by block. */
async function* readTokens(
  set: DatasetSet,
  count: number,
  exampleAt: (index: number) => number,
  field: 'inputs' | 'labels',
): AsyncGenerator<Int32Array> {
  const { seqLen } = set.metadata
  for (let start = 0; start < count; start += BLOCK) {
    const examples = Array.from({ length: Math.min(BLOCK, count - start) }, (_, index) => exampleAt(start + index))
    const batch = emptyBatch(examples.length, set.metadata)
    set.readExamples(examples, [], batch)
    for (let row = 0; row < examples.length; row++) yield batch[field].subarray(row * seqLen, (row + 1) * seqLen)
    await yieldToEventLoop()
  }
}

/** Looks for test examples that are the same as a training example; holds the test split in memory where `exact` is given. */
export async function findLeaks(
  test: readonly DatasetSet[],
  train: readonly DatasetSet[],
  { compared, field, quick, exact, firstOfGroup = false }: Comparison,
): Promise<LeakReport> {
  const groups = new Map<number | string, { index: number; tokens?: Int32Array; exact?: string }[]>()
  let testExamples = 0
  for (const set of test) {
    for await (const tokens of readTokens(set, set.numExamples, (index) => index, field)) {
      const key = quick(tokens)
      const entry = { index: testExamples++, ...(exact ? { tokens: tokens.slice() } : {}) }
      const same = groups.get(key)
      if (same === undefined) groups.set(key, [entry])
      else same.push(entry)
    }
  }
  const leaked = new Set<number>()
  for (const set of train) {
    const examples = firstOfGroup
      ? readTokens(set, set.numGroups, (group) => set.puzzleStart(set.groupIndices[group]!), field)
      : readTokens(set, set.numExamples, (index) => index, field)
    for await (const tokens of examples) {
      const same = groups.get(quick(tokens))
      if (same === undefined || same.every(({ index }) => leaked.has(index))) continue
      const form = exact?.(tokens)
      for (const candidate of same) {
        if (exact) candidate.exact ??= exact(candidate.tokens!)
        if (candidate.exact === form) leaked.add(candidate.index)
      }
    }
  }
  const sorted = [...leaked].toSorted((a, b) => a - b)
  return { compared, testExamples, leaked: sorted.length, firstLeaked: sorted.slice(0, MAX_LISTED) }
}
