import type { EvalPoint, RunMetrics, TrainCurves } from './data.js'
import type { Environment } from '../environment.js'
import { wilsonInterval } from '../wilson.js'

/** Points of a curve at most: more than a screen has columns for. */
export const maxPoints = 1024

/** Evaluations kept at most. */
export const maxEvals = 512

type Json = Record<string, unknown>

const numberOf = (value: unknown): number | null => (typeof value === 'number' && Number.isFinite(value) ? value : null)
const objectOf = (value: unknown): Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Json) : {}
/** Five digits are finer than a pixel. */
const short = (value: number | null) => (value === null ? null : Number(value.toPrecision(5)))

/** Mean, least and greatest of some values. */
class Pool {
  #sum = 0
  #count = 0
  low = Infinity
  high = -Infinity

  /** @param weight - how many values this one is the mean of */
  add(value: number | null, weight = 1): void {
    if (value === null || weight === 0) return
    this.#sum += weight * value
    this.#count += weight
    this.low = Math.min(this.low, value)
    this.high = Math.max(this.high, value)
  }

  merge(other: Pool): void {
    this.#sum += other.#sum
    this.#count += other.#count
    this.low = Math.min(this.low, other.low)
    this.high = Math.max(this.high, other.high)
  }

  get count(): number {
    return this.#count
  }

  get mean(): number | null {
    return this.#count === 0 ? null : this.#sum / this.#count
  }

  /** `low` or `high`, null for a pool of nothing. */
  bound(which: 'low' | 'high'): number | null {
    return this.#count === 0 ? null : this[which]
  }
}

const pooled = ['step', 'loss', 'gradNorm', 'lr', 'exact', 'accuracy', 'steps'] as const
type Point = Record<(typeof pooled)[number], Pool>

function emptyPoint(): Point {
  return Object.fromEntries(pooled.map((name) => [name, new Pool()])) as Point
}

/**
 * Thins a curve while it grows: every point pools the same number of logged steps, which doubles whenever there are too
 * many points, so that memory is bounded and the result does not depend on when it is looked at. Rates are pooled by
 * the rows they were counted on.
 */
export class ThinnedCurves {
  #points: Point[] = []
  #per = 1
  #inLast = 0
  #logged = 0

  /** Adds a `step` event of metrics.jsonl. */
  add(event: Json): void {
    const metrics = objectOf(event['metrics'])
    const count = numberOf(metrics['count']) ?? 0
    if (this.#inLast === this.#per || this.#points.length === 0) {
      if (this.#points.length === maxPoints) this.#halve()
      this.#points.push(emptyPoint())
      this.#inLast = 0
    }
    const point = this.#points.at(-1)!
    point.step.add(numberOf(event['step']))
    point.loss.add(numberOf(event['loss']))
    point.gradNorm.add(numberOf(event['gradNorm']))
    point.lr.add(numberOf(event['lr']))
    point.exact.add(numberOf(metrics['exact_accuracy']), count)
    point.accuracy.add(numberOf(metrics['accuracy']), count)
    point.steps.add(numberOf(metrics['steps']), count)
    this.#inLast++
    this.#logged++
  }

  #halve(): void {
    this.#points = this.#points.flatMap((point, at) => {
      if (at % 2 === 1) return []
      for (const name of pooled) point[name].merge(this.#points[at + 1]![name])
      return [point]
    })
    this.#per *= 2
  }

  curves(): TrainCurves {
    const points = this.#points
    const mean = (name: keyof Point) => points.map((point) => short(point[name].mean))
    const bound = (name: keyof Point, which: 'low' | 'high') => points.map((point) => short(point[name].bound(which)))
    return {
      per: this.#per,
      logged: this.#logged,
      step: points.map((point) => Math.round(point.step.mean!)),
      loss: mean('loss'),
      lossLow: bound('loss', 'low'),
      lossHigh: bound('loss', 'high'),
      gradNorm: mean('gradNorm'),
      gradNormLow: bound('gradNorm', 'low'),
      gradNormHigh: bound('gradNorm', 'high'),
      lr: mean('lr'),
      count: points.map((point) => point.exact.count),
      exact: mean('exact'),
      accuracy: mean('accuracy'),
      steps: mean('steps'),
    }
  }
}

/** At most `most` items, spread evenly, with the first and, of several, the last. */
export function spread<T>(items: readonly T[], most: number): T[] {
  if (items.length <= most) return [...items]
  const step = (items.length - 1) / Math.max(1, most - 1)
  return Array.from({ length: most }, (_, at) => items[Math.round(at * step)]!)
}

function readEnvironment(value: unknown): Environment | null {
  const found = objectOf(value)
  const keys = ['version', 'device', 'cpu', 'platform', 'node'] as const
  if (!keys.every((key) => typeof found[key] === 'string')) return null
  return Object.fromEntries(keys.map((key) => [key, found[key]])) as unknown as Environment
}

/** The story of a run, event by event of metrics.jsonl. */
export class RunStory {
  readonly #train = new ThinnedCurves()
  readonly #evals: EvalPoint[][] = []
  readonly #starts: RunMetrics['starts'] = []
  #step = 0
  #lastStep: number | null = null
  #itPerSecond: number | null = null
  #end: string | null = null
  #nonFinite = 0
  #saveErrors = 0
  #unreadable = 0

  /** Adds a line; what is no event is counted. */
  add(line: string): void {
    let event: Json
    try {
      event = objectOf(JSON.parse(line))
    } catch {
      event = {}
    }
    const step = numberOf(event['step'])
    if (step === null || typeof event['type'] !== 'string') {
      this.#unreadable++
      return
    }
    this.#step = step
    switch (event['type']) {
      case 'start':
        this.#end = null
        this.#lastStep = numberOf(event['lastStep'])
        this.#starts.push({ step, environment: readEnvironment(event['environment']) })
        break
      case 'step':
        this.#train.add(event)
        this.#itPerSecond = numberOf(event['itPerSecond'])
        if (event['nonFinite'] !== undefined) this.#nonFinite++
        break
      case 'eval':
        this.#evals.push([
          ...this.#scores(step, 'raw', objectOf(event['sets'])),
          ...this.#scores(step, 'ema', objectOf(event['emaSets'])),
        ])
        break
      case 'save_error':
        this.#saveErrors++
        break
      case 'end':
        this.#end = typeof event['reason'] === 'string' ? event['reason'] : null
        break
    }
  }

  #scores(step: number, weights: EvalPoint['weights'], sets: Json): EvalPoint[] {
    return Object.entries(sets).map(([set, scored]) => {
      const metrics = objectOf(scored)
      const value = (name: string) => numberOf(metrics[name])
      const [count, exact] = [value('count') ?? 0, value('exact_accuracy')]
      return {
        step,
        set,
        weights,
        count,
        exact,
        interval: exact === null || count < 1 ? null : wilsonInterval(exact, count),
        accuracy: value('accuracy'),
        qHaltAccuracy: value('q_halt_accuracy'),
        steps: value('steps'),
        loss: value('lm_loss'),
      }
    })
  }

  metrics(): RunMetrics {
    const all = this.#evals.flat()
    const first = all[0]?.set
    const weights = all.some((point) => point.weights === 'ema') ? 'ema' : 'raw'
    const ranked = all.filter((point) => point.set === first && point.weights === weights && point.exact !== null)
    const best = ranked.reduce<EvalPoint | null>(
      (best, point) => (best === null || point.exact! > best.exact! ? point : best),
      null,
    )
    return {
      train: this.#train.curves(),
      evals: spread(this.#evals, maxEvals).flat(),
      evaluated: this.#evals.length,
      best,
      step: this.#step,
      lastStep: this.#lastStep,
      itPerSecond: short(this.#itPerSecond),
      end: this.#end,
      nonFinite: this.#nonFinite,
      saveErrors: this.#saveErrors,
      starts: this.#starts,
      unreadable: this.#unreadable,
    }
  }
}
