import { hash } from 'node:crypto'
import { setImmediate as yieldToEventLoop } from 'node:timers/promises'
import { type BuildOptions, type BuildProgress, type BuildResult, checkCount, writerOptions } from '../dataset-build.js'
import type { Split } from '../dataset-files.js'
import { DatasetWriter, type SplitCounts, type SplitWriter } from '../dataset-writer.js'
import { checkSeed, RandomStream } from '../random.js'
import { type ArcAugmentation, augmentedName, augmentGrid, randomAugmentation } from './augment.js'
import { arcPadToken, arcSeqLen, arcVocabSize, encodeGrid } from './encode.js'
import { arcMaxSide, type ArcPair } from './grid.js'
import { puzzleHash } from './hash.js'
import { findArcLeaks } from './leaks.js'
import { readArcSources, type SourcedTask } from './sources.js'

/** What `buildArc` takes. */
export interface ArcBuildOptions extends BuildOptions {
  /** Files and folders of tasks; test pairs of those called evaluation, and pairs without output, are for the test split. */
  sources: readonly string[]
  /** Augmented versions of each task besides itself. */
  numAug: number
}

/** What was built; `leaks` is undefined without test split. */
export interface ArcBuildResult extends BuildResult {
  /** Tasks, counting those of one id with other pairs. */
  tasks: number
  /** Tasks left out because they came before. */
  repeated: number
  /** Tasks with fewer augmented versions than asked for, as their symmetries leave no more. */
  short: number
}

const setName = 'all'
const blankIdentifier = '<blank>'

/** Draws for each augmented version asked for, those that repeat an earlier version included, as officially. */
const TRIALS_PER_VERSION = 5

/** Stream of random numbers that belongs to a task: the same whatever other tasks are there. */
function streamOf(id: string): number {
  return Number.parseInt(hash('sha256', id).slice(0, 13), 16)
}

/** A task in one augmentation; for the task itself, none. */
interface Version {
  name: string
  train: ArcPair[]
  test: ArcPair[]
}

/** The task, then up to `count` different augmented versions. */
function* versionsOf({ id, train, test }: SourcedTask['task'], count: number, seed: number): Generator<Version> {
  yield { name: id, train: [...train], test: [...test] }
  const random = new RandomStream(seed, 'augmentation', streamOf(id))
  const seen = new Set([puzzleHash([...train, ...test])])
  for (let trial = 0; trial < TRIALS_PER_VERSION * count && seen.size <= count; trial++) {
    const drawn = randomAugmentation(random)
    const version = {
      train: train.map((pair) => augmentPair(pair, drawn)),
      test: test.map((pair) => augmentPair(pair, drawn)),
    }
    const key = puzzleHash([...version.train, ...version.test])
    if (seen.has(key)) continue
    seen.add(key)
    yield { name: augmentedName(id, drawn), ...version }
  }
}

function augmentPair({ input, output }: ArcPair, drawn: ArcAugmentation): ArcPair {
  return { input: augmentGrid(input, drawn), ...(output ? { output: augmentGrid(output, drawn) } : {}) }
}

/** Writes puzzles of one split. */
class PuzzleWriter {
  readonly #writer: SplitWriter
  readonly #inputs = new Uint8Array(arcSeqLen)
  readonly #labels = new Uint8Array(arcSeqLen)

  constructor(writer: SplitWriter) {
    this.#writer = writer
    writer.beginSet(setName)
  }

  /** @param random - translates all pairs but one, each input with its output; without it none */
  write(pairs: readonly ArcPair[], identifier: number, random?: RandomStream): void {
    const fixed = random?.nextBelow(pairs.length)
    pairs.forEach(({ input, output }, index) => {
      let row = 0
      let column = 0
      if (random !== undefined && index !== fixed) {
        row = random.nextBelow(arcMaxSide - Math.max(input.height, output?.height ?? 0) + 1)
        column = random.nextBelow(arcMaxSide - Math.max(input.width, output?.width ?? 0) + 1)
      }
      encodeGrid(input, row, column, this.#inputs)
      if (output) encodeGrid(output, row, column, this.#labels)
      else this.#labels.fill(arcPadToken)
      this.#writer.example(this.#inputs, this.#labels)
    })
    this.#writer.endPuzzle(identifier)
  }

  endGroup(): void {
    this.#writer.endGroup()
  }
}

/**
 * Builds a dataset of ARC tasks as the official builder does, but repeatable: each task has its own random numbers, from
 * the seed and its id, so that neither the order of files nor other tasks change its augmentations. Demonstrations and,
 * for other than evaluation tasks, test pairs are for training: they are moved on the canvas, all but one of each
 * version. Test pairs of evaluation tasks stand in the upper left corner. The versions of a task in both splits have the
 * same identifiers.
 *
 * @throws HRMError ERR_HRM_DATASET naming file and place, or where a split exists; ERR_HRM_IO
 * @throws RangeError ERR_HRM_ARGUMENT where an option is out of range
 */
export async function buildArc(options: ArcBuildOptions): Promise<ArcBuildResult> {
  const { sources, outDir, numAug, seed, signal, onProgress } = options
  checkCount('arc', 'num-aug', numAug, 0)
  checkSeed(seed)
  const report = async (phase: string, unit: BuildProgress['unit'], done: number, total: number) => {
    onProgress?.({ phase, unit, done, total })
    await yieldToEventLoop()
    signal?.throwIfAborted()
  }
  const { tasks, repeated } = await readArcSources(sources, (done, total) => report('read', 'files', done, total))
  const tests = tasks.flatMap(({ task, evaluation }) =>
    evaluation ? task.test.map((pair, index) => ({ name: `${task.id} test[${index}]`, pair })) : [],
  )
  const training = tasks.flatMap(({ task, evaluation }) => (evaluation ? task.train : [...task.train, ...task.test]))
  const leaks = tests.length > 0 ? findArcLeaks(training, tests) : undefined

  const writer = await DatasetWriter.create(outDir, writerOptions(options))
  try {
    const description = {
      task: 'arc',
      padId: arcPadToken,
      ignoreLabelId: arcPadToken,
      blankIdentifierId: 0,
      vocabSize: arcVocabSize,
      seqLen: arcSeqLen,
      numPuzzleIdentifiers: 1,
    }
    const names: readonly Split[] = tests.length > 0 ? ['train', 'test'] : ['train']
    const splits = names.map((split) => ({ split, writer: writer.split(split, description) }))
    const [train, test] = splits.map((split) => new PuzzleWriter(split.writer))
    const identifiers = [blankIdentifier]
    let ofTask = new Map<string, number>()
    let short = 0
    for (const [done, { task, evaluation }] of tasks.entries()) {
      if (task.id !== tasks[done - 1]?.task.id) ofTask = new Map()
      const random = new RandomStream(seed, 'translation', streamOf(task.id))
      let versions = 0
      for (const { name, ...pairs } of versionsOf(task, numAug, seed)) {
        const identifier = ofTask.get(name) ?? identifiers.push(name) - 1
        ofTask.set(name, identifier)
        train!.write(evaluation ? pairs.train : [...pairs.train, ...pairs.test], identifier, random)
        if (evaluation) test!.write(pairs.test, identifier)
        versions++
      }
      train!.endGroup()
      if (evaluation) test!.endGroup()
      if (versions <= numAug) short++
      await report('write', 'puzzles', done + 1, tasks.length)
    }
    const counts: Partial<Record<Split, SplitCounts>> = {}
    for (const { split, writer: splitWriter } of splits) {
      counts[split] = (await splitWriter.finish(identifiers.length)).counts
    }
    return { tasks: tasks.length, repeated, short, splits: counts, leaks, ...(await writer.commit(identifiers)) }
  } catch (error) {
    writer.abort()
    throw error
  }
}
