import type { EndEvent, EvalEvent, StartEvent, StepEvent, TrainRun } from '../train-run.js'
import { formatPercent, note, printJson } from './output.js'
import { Progress } from './progress.js'
import type { Interrupts } from './signals.js'

export interface FollowOptions {
  /** Print events as JSON lines. */
  json: boolean
  interrupts: Interrupts
  /** Steps between step events in JSON. */
  logEvery: number
  /** Called before any progress is shown. */
  onStart?: (event: StartEvent) => void | Promise<void>
  onEval?: (event: EvalEvent) => void
}

/** How a run ended. */
export interface Followed {
  end: EndEvent
  /** The last evaluation. */
  evaluation: EvalEvent | undefined
  seconds: number
}

/** Share of a moving average that a new value leaves to the old ones. */
const SMOOTHING = 0.98

/** Averages for the progress line; rows that halt are few, so their accuracy jumps from step to step. */
class Smoothed {
  #value: number | undefined

  add(value: number | null): void {
    if (value !== null)
      this.#value = this.#value === undefined ? value : SMOOTHING * this.#value + (1 - SMOOTHING) * value
  }

  get value(): number | null {
    return this.#value ?? null
  }
}

/** Accuracy of the best weights: the averaged ones where there are any. */
function describeEvaluation({ step, sets, emaSets }: EvalEvent): string {
  const scores = Object.entries(emaSets ?? sets).map(([name, { exact_accuracy, accuracy }]) => {
    return `${name}: exact ${formatPercent(exact_accuracy)}, tokens ${formatPercent(accuracy)}`
  })
  return `step ${step} evaluation${emaSets ? ' (averaged weights)' : ''}: ${scores.join('; ')}`
}

/**
 * Shows a run until it ends: progress on stderr, with json events on stdout. An interruption stops the run after the step
 * in progress, with a checkpoint.
 */
export async function followRun(run: TrainRun, options: FollowOptions): Promise<Followed> {
  const { json, interrupts, logEvery } = options
  const begin = performance.now()
  const stop = () => {
    note(`${interrupts.reason!.signal}: ending after this step; once more ends at once`)
    run.stop()
  }
  interrupts.signal.addEventListener('abort', stop, { once: true })
  const loss = new Smoothed()
  const exact = new Smoothed()
  let progress: Progress | undefined
  let evaluation: EvalEvent | undefined
  let end: EndEvent | undefined
  const onStep = (event: StepEvent) => {
    loss.add(event.loss)
    exact.add(event.metrics.exact_accuracy)
    progress?.update(event.step, [`loss ${loss.value!.toFixed(3)}`, `exact ${formatPercent(exact.value)}`])
    if (event.nonFinite !== undefined)
      progress?.note(`step ${event.step}: ${event.nonFinite} is not finite, update dropped`)
  }
  try {
    for await (const event of run) {
      if (json && (event.type !== 'step' || event.step % logEvery === 0)) printJson({ ...event })
      switch (event.type) {
        case 'start':
          await options.onStart?.(event)
          progress = new Progress('training', event.lastStep, { initial: event.step })
          break
        case 'step':
          onStep(event)
          break
        case 'eval':
          evaluation = event
          progress?.note(describeEvaluation(event))
          options.onEval?.(event)
          break
        case 'end':
          end = event
          break
        case 'save_error':
          progress?.note(`step ${event.step}: no checkpoint: ${event.message}`)
          break
        case 'log_error':
          progress?.note(`step ${event.step}: no lines for TensorBoard: ${event.message}`)
          break
        case 'checkpoint':
      }
    }
  } finally {
    progress?.stop()
    interrupts.signal.removeEventListener('abort', stop)
  }
  return { end: end!, evaluation, seconds: (performance.now() - begin) / 1000 }
}
