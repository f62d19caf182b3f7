import { basename } from 'node:path'
import { openCheckpoint } from '../checkpoint.js'
import type { Dataset } from '../dataset.js'
import type { DeviceOptions } from '../devices.js'
import { checkDataset } from '../evaluate.js'
import { flops } from '../flops.js'
import { HRM } from '../model.js'
import { knownTask } from '../task.js'
import { verifiableTasks, verify } from '../verify.js'
import { wilsonInterval } from '../wilson.js'
import { spread } from './curves.js'
import { changesTo, type SolvedPuzzle, type SolvedPuzzles } from './data.js'

export interface PuzzleOptions extends DeviceOptions {
  /** Puzzles to show, >= 1. */
  puzzles: number
  /** Called at the start and whenever more of the examples are tried. */
  onProgress?: (done: number, total: number) => void
  signal?: AbortSignal
}

/** Examples tried for each one shown, so that failures are found where they are rare. */
const TRIED_PER_SHOWN = 8

/** Arithmetic spent on trying more examples than are shown, in floating-point operations: seconds to minutes on a CPU. */
const TRIED_FLOP = 2e13

/** Examples solved at once. */
const BATCH = 32

interface Tried {
  set: string
  example: number
  input: Int32Array
  labels: Int32Array
  puzzleId: number
  /** Tokens that differ from their labels. */
  wrong: number
}

/** At most `most` test examples, evenly spread over all sets. */
function spreadExamples(dataset: Dataset, most: number): Omit<Tried, 'wrong'>[] {
  const sets = dataset.sets('test')
  const total = sets.reduce((sum, { numExamples }) => sum + numExamples, 0)
  let [at, first] = [0, 0]
  return spread([...Array(total).keys()], most).map((place) => {
    for (; place >= first + sets[at]!.numExamples; at++) first += sets[at]!.numExamples
    const { name } = sets[at]!
    const { inputs, labels, puzzleId } = dataset.example('test', name, place - first)
    return { set: name, example: place - first, input: inputs, labels, puzzleId }
  })
}

const countWrong = (tokens: ArrayLike<number>, labels: Int32Array) =>
  labels.reduce((wrong, label, at) => wrong + (label >= 0 && tokens[at] !== label ? 1 : 0), 0)

async function tryExamples(model: HRM, dataset: Dataset, options: PuzzleOptions): Promise<Tried[]> {
  const affordable = Math.floor(TRIED_FLOP / (flops(model.config).segment * model.config.haltMaxSegments))
  const wanted = Math.max(options.puzzles, Math.min(TRIED_PER_SHOWN * options.puzzles, affordable))
  const examples = spreadExamples(dataset, wanted)
  const tried: Tried[] = []
  options.onProgress?.(0, examples.length)
  for (let at = 0; at < examples.length; at += BATCH) {
    const batch = examples.slice(at, at + BATCH)
    const results = await model.solve(
      batch.map(({ input }) => input),
      { puzzleIds: batch.map(({ puzzleId }) => puzzleId), ...(options.signal ? { signal: options.signal } : {}) },
    )
    batch.forEach((example, row) => tried.push({ ...example, wrong: countWrong(results[row]!.tokens, example.labels) }))
    options.onProgress?.(tried.length, examples.length)
  }
  return tried
}

async function solveAgain(model: HRM, tried: Tried, signal: AbortSignal | undefined): Promise<SolvedPuzzle> {
  const { set, example, input, labels, puzzleId, wrong } = tried
  const changes: number[][] = []
  const qHalt: number[] = []
  const qContinue: number[] = []
  let tokens = input
  for await (const state of model.segments(input, { puzzleId, ...(signal ? { signal } : {}) })) {
    changes.push(changesTo(tokens, state.tokens))
    qHalt.push(Number(state.qHalt.toPrecision(5)))
    qContinue.push(Number(state.qContinue.toPrecision(5)))
    tokens = state.tokens.slice()
  }
  const known = knownTask(model.config, model.vocabulary)?.task
  const task = verifiableTasks.find((name) => name === known)
  return {
    set,
    example,
    input: [...input],
    labels: [...labels],
    changes,
    qHalt,
    qContinue,
    wrong,
    labelled: labels.filter((label) => label >= 0).length,
    valid: task ? verify(task, input, tokens).valid : null,
  }
}

/**
 * Solves test examples with a checkpoint, spread evenly over the test split, and keeps what each segment answered:
 * of failures first, in the order of the split.
 *
 * @throws as HRM.load, and ERR_HRM_DATASET where the dataset does not fit the model or has no test split
 */
export async function solvePuzzles(
  checkpoint: string,
  dataset: Dataset,
  options: PuzzleOptions,
): Promise<SolvedPuzzles> {
  const { puzzles, onProgress: _, signal, ...device } = options
  const total = dataset.sets('test').reduce((sum, { numExamples }) => sum + numExamples, 0)
  const { trainer } = await openCheckpoint(checkpoint)
  const model = await HRM.load(checkpoint, { ...device, ...(signal ? { signal } : {}) })
  try {
    checkDataset('report', dataset, model.config)
    const tried = await tryExamples(model, dataset, options)
    const exact = tried.filter(({ wrong }) => wrong === 0).length
    const ordered = [...tried].sort((a, b) => Number(a.wrong === 0) - Number(b.wrong === 0))
    const shown: SolvedPuzzle[] = []
    for (const example of ordered.slice(0, puzzles)) shown.push(await solveAgain(model, example, signal))
    const { seqLen, vocabSize, haltOnly } = model.config
    const vocabulary = model.vocabulary ?? dataset.vocabulary()
    return {
      checkpoint: basename(checkpoint),
      step: trainer?.step ?? null,
      sizes: { seqLen, vocabSize },
      vocabulary: vocabulary ?? null,
      task: knownTask({ seqLen, vocabSize }, vocabulary)?.task ?? null,
      haltOnly,
      total,
      tried: tried.length,
      exact,
      interval: wilsonInterval(exact / tried.length, tried.length),
      shown,
    }
  } finally {
    model.dispose()
  }
}
