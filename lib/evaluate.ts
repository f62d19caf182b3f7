import type { Batch, Dataset, Split } from './dataset.js'
import type { Engine } from './engine.js'
import { HRMError } from './errors.js'
import { evalBatches } from './loader.js'
import { type EvalMetrics, EvalSums } from './metrics.js'
import type { Halting, SolveOptions, SolverModel, SolveResult } from './solver.js'

/** Metrics by the name of the set. */
export type EvalSets = Record<string, EvalMetrics>

/** Which weights are scored: the trained ones, or their moving averages. */
export type Weights = 'raw' | 'ema'

/** What the model answered to one example. */
export interface Prediction {
  /** Name of the set. */
  set: string
  /** Number of the example within its set. */
  example: number
  /** [seqLen] tokens. */
  inputs: Int32Array
  /** [seqLen] tokens, or -100. */
  labels: Int32Array
  /** Puzzle identifier; 0 is the blank one. */
  puzzleId: number
  /** [seqLen] the answer. */
  tokens: Int32Array
  /** Logit of the Q head at the last segment. */
  qHalt: number
  /** Segments that were run. */
  segments: number
}

export interface EvaluationPlan {
  split: Split
  /** Only the first puzzle of each of these groups, as `evalBatches` takes them. @default all examples */
  groups?: readonly number[]
  /** Rows of a batch; decides how many rows of padding enter q_halt_loss. */
  batchSize: number
  /** Examples of each set at most; 0 = all. */
  maxExamples: number
  /** Segments that every example runs. */
  segments: number
  /** Checked before every segment; what it throws ends the evaluation. */
  check: () => void
  /** Called with every example, set by set in order; what it throws ends the evaluation. */
  onPrediction?: (prediction: Prediction) => void
}

/** @throws ERR_HRM_DATASET where the sizes of data and model differ */
export function checkDataset(op: string, dataset: Dataset, model: SolverModel): void {
  for (const name of ['seqLen', 'vocabSize'] as const) {
    if (dataset[name] === model[name]) continue
    throw new HRMError(
      'ERR_HRM_DATASET',
      `[${op}] expected a dataset with ${name} ${model[name]}, as the model has, got ${dataset[name]}`,
      { field: name, expected: model[name], found: dataset[name] },
    )
  }
  if (dataset.numPuzzleIdentifiers <= model.numPuzzleIdentifiers) return
  throw new HRMError(
    'ERR_HRM_DATASET',
    `[${op}] expected at most ${model.numPuzzleIdentifiers} puzzle identifiers, as the model has, got ` +
      `${dataset.numPuzzleIdentifiers}`,
    { field: 'numPuzzleIdentifiers', expected: model.numPuzzleIdentifiers, found: dataset.numPuzzleIdentifiers },
  )
}

/** Runs `work` while the weights are held still; with `ema` the averages take their place meanwhile. */
async function withWeights<T>(engine: Engine, weights: Weights, work: () => Promise<T>): Promise<T> {
  const release = await (weights === 'ema' ? engine.weights.change() : engine.weights.read())
  try {
    if (weights === 'raw') return await work()
    await engine.call('evaluate', (native) => native.swapEma())
    try {
      return await work()
    } finally {
      if (!engine.disposed) await engine.call('evaluate', (native) => native.swapEma())
    }
  } finally {
    release()
  }
}

/** The example in a row of a batch, as a prediction has it. */
function exampleAt(
  set: string,
  example: number,
  { inputs, labels, puzzleIds }: Batch,
  row: number,
): Omit<Prediction, 'tokens' | 'qHalt' | 'segments'> {
  return {
    set,
    example,
    inputs: rowOf(inputs, puzzleIds, row),
    labels: rowOf(labels, puzzleIds, row),
    puzzleId: puzzleIds[row]!,
  }
}

/** Row `row` of [B, T] tokens, where `perRow` has B elements. */
function rowOf(tokens: Int32Array, perRow: ArrayLike<unknown>, row: number): Int32Array {
  const length = tokens.length / perRow.length
  return tokens.subarray(row * length, (row + 1) * length)
}

/**
 * Scores a split as the official evaluation does: every example runs the same number of segments, metrics are those of
 * the last one. Between batches other work on the model has its turn.
 */
export async function evaluateSets(
  engine: Engine,
  model: SolverModel,
  dataset: Dataset,
  weights: Weights,
  plan: EvaluationPlan,
): Promise<EvalSets> {
  const sums = emptySums(dataset, plan.split)
  const session = await engine.openSession('evaluate', plan.batchSize)
  try {
    for (const { set, examples, batch, count } of evalBatches(dataset, plan.split, plan.batchSize, limited(plan))) {
      const padding = plan.batchSize - count
      // Rows of padding are all alike and rows do not influence each other, so one of them stands for all.
      const rows = padding > 0 ? count + 1 : count
      const result = await withWeights(engine, weights, async () => {
        for (let segment = 1; ; segment++) {
          plan.check()
          const state = await session.segment({
            rows,
            reset: new Uint8Array(rows).fill(segment === 1 ? 1 : 0),
            inputs: batch.inputs.subarray(0, rows * model.seqLen),
            labels: batch.labels.subarray(0, rows * model.seqLen),
            puzzleIds: batch.puzzleIds.subarray(0, rows),
          })
          if (segment === plan.segments) return state
        }
      })
      plan.check()
      const setSums = sums.get(set)!
      for (let row = 0; row < count; row++) {
        setSums.add(result, row, 1)
        plan.onPrediction?.({
          ...exampleAt(set, examples[row]!, batch, row),
          tokens: rowOf(result.tokens, result.qHalt, row),
          qHalt: result.qHalt[row]!,
          segments: result.steps[row]!,
        })
      }
      if (padding > 0) setSums.add(result, count, padding)
    }
  } finally {
    session.close()
  }
  return metricsOf(sums)
}

/** Examples given to the solver at a time: enough for its slots to stay full, few enough to hold. */
const examplesPerCall = 4096

export interface SolvingPlan extends Pick<EvaluationPlan, 'split' | 'maxExamples' | 'onPrediction'> {
  halting: Halting
  /** Segments at most. */
  maxSegments: number
  votes: SolveOptions['votes']
  signal: AbortSignal | undefined
}

/**
 * Scores the answers of solve(): with halting an example ends once q_halt > q_continue and makes room for the next, with
 * votes it is answered several times. The answers are made without labels, which only then are compared. As solving
 * gives tokens and no logits, lm_loss is null.
 */
export async function evaluateSolving(
  solve: (inputs: Int32Array, options: SolveOptions) => Promise<SolveResult | SolveResult[]>,
  dataset: Dataset,
  plan: SolvingPlan,
): Promise<EvalSets> {
  const { split, halting, maxSegments, votes, signal } = plan
  const sums = emptySums(dataset, split)
  for (const { set, examples, batch, count } of evalBatches(dataset, split, examplesPerCall, limited(plan))) {
    const width = batch.inputs.length / examplesPerCall
    const answers = await solve(batch.inputs.subarray(0, count * width), {
      puzzleIds: batch.puzzleIds.subarray(0, count),
      halting,
      maxSegments,
      ...(votes === undefined ? {} : { votes }),
      ...(signal ? { signal } : {}),
    })
    for (const [row, answer] of [answers].flat().entries()) {
      const example = exampleAt(set, examples[row]!, batch, row)
      sums.get(set)!.addAnswer(answer, example.labels)
      const { tokens, qHalt, segments } = answer
      plan.onPrediction?.({ ...example, tokens, qHalt, segments })
    }
  }
  return Object.fromEntries(Object.entries(metricsOf(sums)).map(([name, set]) => [name, { ...set, lm_loss: null }]))
}

function emptySums(dataset: Dataset, split: Split): Map<string, EvalSums> {
  return new Map(dataset.sets(split).map(({ name }) => [name, new EvalSums()]))
}

function limited({ maxExamples, groups }: Pick<EvaluationPlan, 'maxExamples' | 'groups'>) {
  return { ...(maxExamples > 0 ? { maxExamples } : {}), ...(groups ? { groups } : {}) }
}

function metricsOf(sums: ReadonlyMap<string, EvalSums>): EvalSets {
  return Object.fromEntries([...sums].map(([name, setSums]) => [name, setSums.metrics()]))
}
