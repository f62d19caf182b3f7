import type { Environment } from '../environment.js'
import type { TaskSizes } from '../task.js'
import type { Vocabulary } from '../vocabulary.js'

// What the page is given as JSON; both sides use it, so nothing here needs Node or a browser.

/** Curves of training: column i of every list is one point, the mean over `per` logged steps, or fewer at the end. */
export interface TrainCurves {
  per: number
  /** Logged steps altogether. */
  logged: number
  step: number[]
  loss: (number | null)[]
  lossLow: (number | null)[]
  lossHigh: (number | null)[]
  gradNorm: (number | null)[]
  gradNormLow: (number | null)[]
  gradNormHigh: (number | null)[]
  lr: (number | null)[]
  /** Rows that halted: what `exact`, `accuracy` and `steps` are means over. */
  count: number[]
  exact: (number | null)[]
  accuracy: (number | null)[]
  /** Segments until the rows halted. */
  steps: (number | null)[]
}

/** Scores of one set at one step. */
export interface EvalPoint {
  step: number
  set: string
  /** Trained weights, or their moving averages. */
  weights: 'raw' | 'ema'
  count: number
  exact: number | null
  /** Wilson's 95 % interval of `exact`. */
  interval: [low: number, high: number] | null
  accuracy: number | null
  qHaltAccuracy: number | null
  steps: number | null
  loss: number | null
}

/** What metrics.jsonl says. */
export interface RunMetrics {
  train: TrainCurves
  /** In the order of their steps. */
  evals: EvalPoint[]
  /** Evaluations altogether; `evals` are spread evenly over them where they are more than fit. */
  evaluated: number
  /** The best by exact accuracy of the first set, of the averages where there are any. */
  best: EvalPoint | null
  /** The last step logged, and the one at which the run is to end. */
  step: number
  lastStep: number | null
  itPerSecond: number | null
  /** Why the run ended, where it says so. */
  end: string | null
  /** Steps whose updates were dropped, and saves that failed. */
  nonFinite: number
  saveErrors: number
  /** Steps at which a process began, and what it computed with. */
  starts: { step: number; environment: Environment | null }[]
  /** Lines that are no events. */
  unreadable: number
}

/** A test example and what each segment answered. */
export interface SolvedPuzzle {
  set: string
  /** Number within its set. */
  example: number
  input: number[]
  /** Right tokens, -100 where every token is right. */
  labels: number[]
  /** What each segment changed, as place and token in turn; the first one's changes are to the input. */
  changes: number[][]
  qHalt: number[]
  qContinue: number[]
  /** Tokens of the last answer that differ from their labels, of `labelled`. */
  wrong: number
  labelled: number
  /** Whether the answer obeys the rules of its task, by a checker; null where there is none. */
  valid: boolean | null
}

/** Test examples solved by one checkpoint. */
export interface SolvedPuzzles {
  checkpoint: string
  /** Step of the checkpoint. */
  step: number | null
  sizes: TaskSizes
  vocabulary: Vocabulary | null
  task: string | null
  /** Whether the model halts on q_halt > 0, else on q_halt > q_continue. */
  haltOnly: boolean
  /** Test examples there are, how many of them were tried, and how many of these were answered exactly. */
  total: number
  tried: number
  exact: number
  interval: [low: number, high: number]
  /** Failures first. */
  shown: SolvedPuzzle[]
}

/** What the paper reports for the task that a run learns. */
export interface PaperFigure {
  task: string
  /** Exact accuracy, 0…1. */
  exact: number
  /** What the figure measures, where that is not the exact accuracy of single answers. */
  measure: string | null
}

/** One run. */
export interface ReportRun {
  name: string
  path: string
  metrics: RunMetrics
  /** With official keys; null where the folder has none. */
  config: Record<string, unknown> | null
  parameters: number | null
  /** Whether evaluations score groups held out of training instead of the test split. */
  validation: boolean
  paper: PaperFigure | null
  /** Solved test examples, or why there are none. */
  puzzles: SolvedPuzzles | { reason: string }
}

export interface ReportData {
  version: string
  /** Whether the page follows the runs. */
  live: boolean
  runs: ReportRun[]
}

/** The answer of each segment. */
export function segmentsOf({ input, changes }: Pick<SolvedPuzzle, 'input' | 'changes'>): number[][] {
  const tokens = [...input]
  return changes.map((changed) => {
    for (let at = 0; at < changed.length; at += 2) tokens[changed[at]!] = changed[at + 1]!
    return [...tokens]
  })
}

/** Where tokens differ from those before, as place and token in turn. */
export function changesTo(before: ArrayLike<number>, after: ArrayLike<number>): number[] {
  return Array.from(after).flatMap((token, at) => (token === before[at] ? [] : [at, token]))
}
