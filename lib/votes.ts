import { argumentError, rangeError } from './errors.js'
import type { HRM } from './model.js'
import { checkOptions, choiceOption, integerOption, numberOption, show } from './options.js'
import type { Sequences, SolveResult } from './solver.js'
import type { TokenLimits } from './tokens.js'
import { type Task, verifiableTasks, verify } from './verify.js'
import { applyView, invertView, type View, type ViewKind, viewKinds, Views, type ViewTask, viewTasks } from './views.js'

/**
 * How one of several answers is picked, always without labels: `majority`, the answer given most often, as a whole (of
 * several, that of the higher mean q_halt, then the earlier one); `q`, that of the highest q_halt; `residual`, that whose
 * slow state moved least in its last segment; `verifier`, the first that obeys the rules of the task, by majority where
 * none does.
 */
export type VotePick = 'majority' | 'q' | 'residual' | 'verifier'

export const picks = ['majority', 'q', 'residual', 'verifier'] as const satisfies readonly VotePick[]

/** Runs differ in view, noise or model; the first is the plain one. */
export interface VoteOptions {
  /**
   * Runs per example, 1…4096. They take the models in turn; each round has another view and other noise.
   * @default 8, but one for each model at least, and no more than can differ
   */
  count?: number
  /**
   * `relabel`: other names for the values (digits, colours, start and goal); `dihedral`: turned and mirrored. Answers
   * are changed back. Needs `task`.
   */
  views?: readonly ViewKind[]
  /**
   * Standard deviation of Gaussian noise added to both start states, whose root mean square is 1; 0…1000.
   * @default 1 where there are neither views nor models, else 0
   */
  noise?: number
  /**
   * Seed of views and noise, 0…2^53-1.
   * @default 0
   */
  seed?: number
  /**
   * How one answer is picked.
   * @default 'majority'
   */
  pick?: VotePick
  /** What the examples are: which views are legal, and which rules the verifier applies. */
  task?: ViewTask
  /** Further models of the same task, for instance other checkpoints. */
  models?: readonly HRM[]
}

/** How an answer came about. */
export interface VoteSummary {
  /** As asked for. */
  pick: VotePick
  /** The run whose answer was picked, from 0. */
  chosen: number
  /** Share of the runs that gave this answer, above 0 and at most 1. */
  agreement: number
  /** Segments of all runs: what the answer cost. */
  segments: number
  /** With pick `verifier`: whether the answer obeys the rules. */
  valid?: boolean
  /** Answers of all runs, as answers to the unchanged example; with pick `verifier` no run follows a valid answer. */
  answers: SolveResult[]
}

/** One pass over the examples. */
interface Run {
  /** 0 is the model that was called, then those of `models`. */
  model: number
  view: View
  noise: StartNoise | undefined
}

/** Noise on the start states of a run. */
export interface StartNoise {
  sigma: number
  seed: number
  run: number
}

export interface VotePlan {
  pick: VotePick
  runs: Run[]
  /** By the rules of the task; only with pick `verifier`. */
  accepts: ((input: Int32Array, answer: Int32Array) => boolean) | undefined
}

const mostRuns = 4096
const usualRuns = 8
const usualNoise = 1

/**
 * Checks the option `votes`; undefined where it asks for nothing but one plain answer.
 *
 * @param op - name of the call, for messages
 */
export function readVotes(op: string, votes: unknown, model: TokenLimits): VotePlan | undefined {
  if (typeof votes === 'number') return votes === 1 ? undefined : readVotes(op, { count: votes }, model)
  if (votes === undefined) return undefined
  if (typeof votes !== 'object')
    throw argumentError(`[${op}] expected votes to be a number or options, got ${show(votes)}`)
  checkOptions(`${op}: votes`, votes, ['count', 'views', 'noise', 'seed', 'pick', 'task', 'models'])
  const options = votes as { [key in keyof VoteOptions]: unknown }
  const kinds = readKinds(op, options.views)
  const models = 1 + (Array.isArray(options.models) ? options.models.length : 0)
  const onlyNoise = kinds.length === 0 && models === 1
  const task = choiceOption(op, 'votes.task', options.task, viewTasks, undefined)
  const seed = integerOption(op, 'votes.seed', options.seed, 0, Number.MAX_SAFE_INTEGER, 0)
  const sigma = numberOption(op, 'votes.noise', options.noise, 0, 1000, onlyNoise ? usualNoise : 0)
  const views = kinds.length > 0 ? readViews(op, task, kinds, model) : Views.none(model)
  const different = sigma > 0 ? mostRuns : models * views.count
  const usual = Math.max(models, Math.min(usualRuns, different))
  const count = integerOption(op, 'votes.count', options.count, 1, mostRuns, usual)
  const pick = choiceOption(op, 'votes.pick', options.pick, picks, 'majority')
  if (count < models)
    throw rangeError(`[${op}] expected votes.count to be at least ${models}, one for each model, got ${count}`)

  if (count > different) {
    throw rangeError(
      `[${op}] expected votes.count to be at most ${different}, as there are no more different runs, got ` +
        `${count}; add noise or other views`,
    )
  }
  const drawn = views.draw(Math.ceil(count / models), seed)
  const runs = Array.from({ length: count }, (_, at) => {
    const round = Math.floor(at / models)
    const noise = sigma > 0 && round > 0 ? { sigma, seed, run: round } : undefined
    return { model: at % models, view: drawn[round]!, noise }
  })
  return { pick, runs, accepts: pick === 'verifier' ? readRules(op, task) : undefined }
}

function readKinds(op: string, views: unknown): ViewKind[] {
  if (views === undefined) return []
  if (!Array.isArray(views)) throw argumentError(`[${op}] expected votes.views to be a list, got ${show(views)}`)
  return views.map((kind: unknown, i) => {
    const known = choiceOption(op, `votes.views[${i}]`, kind, viewKinds, undefined)
    if (known) return known
    throw argumentError(`[${op}] expected votes.views[${i}] to be one of ${viewKinds.join(', ')}, got ${show(kind)}`)
  })
}

function readViews(op: string, task: ViewTask | undefined, kinds: readonly ViewKind[], model: TokenLimits): Views {
  if (!task) {
    throw argumentError(`[${op}] expected votes.task with votes.views, got none; pass one of ${viewTasks.join(', ')}`)
  }
  const views = Views.of(task, kinds, model)
  const { seqLen, vocabSize } = model
  if (!views) {
    throw rangeError(
      `[${op}] expected a model with the sizes of votes.task ${task}, got ${seqLen} tokens of ${vocabSize} values`,
    )
  }
  for (const kind of kinds) {
    if (Views.of(task, [kind], model)!.count > 1) continue
    throw rangeError(`[${op}] expected votes.views that change examples of ${task}, got ${kind}, which does not`)
  }
  return views
}

function readRules(op: string, task: ViewTask | undefined): VotePlan['accepts'] {
  if (task && (verifiableTasks as readonly string[]).includes(task)) {
    return (input, answer) => verify(task as Task, input, answer).valid
  }
  const found = task ?? 'none'
  throw argumentError(
    `[${op}] expected votes.task with known rules (${verifiableTasks.join(', ')}) for the pick verifier, got ${found}`,
  )
}

/** The runs that gave the same answer, by the answer, in order of their first one. */
function ballots(answers: readonly SolveResult[]): number[][] {
  const byAnswer = new Map<string, number[]>()
  answers.forEach(({ tokens }, run) => {
    const key = tokens.join()
    const equal = byAnswer.get(key)
    if (equal) equal.push(run)
    else byAnswer.set(key, [run])
  })
  return [...byAnswer.values()]
}

/** Index of the greatest value, the first of equal ones. */
function greatest(values: readonly number[]): number {
  return values.reduce((best, value, i) => (value > values[best]! ? i : best), 0)
}

function majority(answers: readonly SolveResult[]): number {
  const groups = ballots(answers)
  const most = Math.max(...groups.map((runs) => runs.length))
  const tied = groups.filter((runs) => runs.length === most)
  const meanQ = tied.map((runs) => runs.reduce((sum, run) => sum + answers[run]!.qHalt, 0) / most)
  return tied[greatest(meanQ)]![0]!
}

/**
 * The index of the answer that is picked, the first of equally good ones.
 *
 * @param answers - of the runs in order, at least one
 * @param accepts - the rules, for the pick `verifier`
 */
export function pickAnswer(
  answers: readonly SolveResult[],
  pick: VotePick,
  accepts?: (answer: Int32Array) => boolean,
): number {
  if (pick === 'q') return greatest(answers.map(({ qHalt }) => qHalt))
  if (pick === 'residual') return greatest(answers.map(({ residual }) => -residual!))
  const accepted = pick === 'verifier' ? answers.findIndex(({ tokens }) => accepts!(tokens)) : -1
  return accepted >= 0 ? accepted : majority(answers)
}

/**
 * Answers each example by the vote of several runs.
 *
 * @param solve - runs sequences on a model, by its number
 */
export async function vote(
  plan: VotePlan,
  request: Sequences,
  solve: (model: number, request: Sequences) => Promise<SolveResult[]>,
): Promise<SolveResult[]> {
  const { pick, runs, accepts } = plan
  const rows = request.puzzleIds.length
  const width = request.tokens.length / rows
  const input = (row: number) => request.tokens.subarray(row * width, (row + 1) * width)
  const runOn = async ({ model, view, noise }: Run, open: readonly number[]) => {
    const tokens = new Int32Array(open.length * width)
    open.forEach((row, i) => tokens.set(applyView(view, input(row)), i * width))
    const puzzleIds = Int32Array.from(open, (row) => request.puzzleIds[row]!)
    const out = new Int32Array(tokens.length)
    const residual = pick === 'residual'
    const results = await solve(model, { ...request, tokens, puzzleIds, noise, residual, out })
    const back = invertView(view)
    return results.map((result) => ({ ...result, tokens: applyView(back, result.tokens) }))
  }

  const answers: SolveResult[][] = Array.from({ length: rows }, () => [])
  let open = Array.from({ length: rows }, (_, row) => row)
  // The verifier ends the runs of an example, so that one run after the other is made; without it all are made at once.
  const rounds = accepts ? runs.map((run) => [run]) : [runs]
  for (const round of rounds) {
    const results = await Promise.all(round.map((run) => runOn(run, open)))
    open.forEach((row, i) => answers[row]!.push(...results.map((result) => result[i]!)))
    if (accepts) open = open.filter((row) => !accepts(input(row), answers[row]!.at(-1)!.tokens))
    if (open.length === 0) break
  }

  const unsolved = new Set(open)
  return answers.map((given, row) => {
    const chosen = pickAnswer(given, pick, accepts && ((answer) => accepts(input(row), answer)))
    const equal = ballots(given).find((same) => same.includes(chosen))!
    const tokens = request.out.subarray(row * width, (row + 1) * width)
    tokens.set(given[chosen]!.tokens)
    const votes: VoteSummary = {
      pick,
      chosen,
      agreement: equal.length / given.length,
      segments: given.reduce((sum, { segments }) => sum + segments, 0),
      ...(accepts ? { valid: !unsolved.has(row) } : {}),
      answers: given,
    }
    return { ...given[chosen]!, tokens, votes }
  })
}
