import type { Environment } from './environment.js'
import { EventQueue } from './event-queue.js'
import type { EvalSets } from './evaluate.js'
import type { TrainMetrics } from './metrics.js'

/** The first event of a run, and of each resumption. */
export interface StartEvent {
  /** Tells the events apart. */
  type: 'start'
  /** Updates done before: 0, or the step of the checkpoint that is resumed. */
  step: number
  /** Step at which the run ends. */
  lastStep: number
  /** Length of the learning-rate schedule. */
  totalSteps: number
  /** Path of the checkpoint that is resumed, else null. */
  resumed: string | null
  /** What the run is computed with. */
  environment: Environment
}

/** One update: a segment, its loss and the optimiser step. */
export interface StepEvent {
  /** Tells the events apart. */
  type: 'step'
  /** Updates done, from 1. */
  step: number
  /** Learning rate of this update. */
  lr: number
  /** Mean over the rows of the batch of lm + (q_halt + q_continue) / 2. */
  loss: number
  /** L2 norm of all dense gradients. */
  gradNorm: number
  /** Updates per second, averaged over the last ones, without evaluations and checkpoints. */
  itPerSecond: number
  /** The first tensor that was not finite, with `onNonFinite: 'skip'`; then no update was applied. */
  nonFinite?: string
  /** Of the rows that halted in this step. */
  metrics: TrainMetrics
}

/** Scores of the test split, or of the validation groups. */
export interface EvalEvent {
  /** Tells the events apart. */
  type: 'eval'
  /** Updates done. */
  step: number
  /** With the trained weights, by set. */
  sets: EvalSets
  /** With the averaged weights, where `ema` is on. */
  emaSets?: EvalSets
  /** How long the evaluation took. */
  seconds: number
}

/** A checkpoint was saved. */
export interface CheckpointEvent {
  /** Tells the events apart. */
  type: 'checkpoint'
  /** Updates done. */
  step: number
  /** Full path of the folder. */
  path: string
  /** Whether it is the best so far, so that `best` names it now. */
  best: boolean
}

/**
 * A checkpoint could not be saved, by ERR_HRM_IO: the disk is full, for instance. `latest` names the one before, training
 * goes on, and the next checkpoint is tried as if nothing had happened. Where it is the last one, the run rejects.
 */
export interface SaveErrorEvent {
  /** Tells the events apart. */
  type: 'save_error'
  /** Updates done. */
  step: number
  /** Of the error. */
  message: string
  /** Of the error: the path, and the bytes that are needed. */
  details: Readonly<Record<string, unknown>>
}

/**
 * What is for TensorBoard could not be written, by ERR_HRM_IO. Training goes on; it is tried again with the next
 * evaluation or checkpoint.
 */
export interface LogErrorEvent {
  /** Tells the events apart. */
  type: 'log_error'
  /** Updates done. */
  step: number
  /** Of the error; its details name the path. */
  message: string
  /** Of the error. */
  details: Readonly<Record<string, unknown>>
}

/** The last event of a run. */
export interface EndEvent {
  /** Tells the events apart. */
  type: 'end'
  /** Updates done. */
  step: number
  /**
   * `completed`: the last step or the end of the data was reached; `stopped`: by stop(); `early_stopped`: by
   * `earlyStopPatience`, the best checkpoint being the one to use.
   */
  reason: 'completed' | 'stopped' | 'early_stopped'
  /** The last checkpoint saved or resumed, else null. */
  checkpoint: string | null
}

/** What a run tells, in order; `type` tells the events apart. */
export type TrainEvent =
  StartEvent | StepEvent | EvalEvent | CheckpointEvent | SaveErrorEvent | LogErrorEvent | EndEvent

/** What the training loop sees of its run. */
export interface RunControl {
  emit(event: TrainEvent): void
  readonly stopping: boolean
}

/** Step events kept for a consumer that is slow; older ones are dropped, other events never. */
const unreadSteps = 1024

/**
 * A training in progress. Iterate it for its events, or await `done()`; it runs in any case. Leaving the loop early
 * stops it and waits for it.
 *
 * @example
 * const run = model.train(data, { epochs: 100 })
 * for await (const event of run) if (event.type === 'eval') console.log(event.sets.all?.exact_accuracy)
 */
export class TrainRun implements AsyncIterable<TrainEvent> {
  readonly #events: EventQueue<TrainEvent>
  readonly #end: Promise<EndEvent>
  #stopping = false
  #observed = false

  /** Use `model.train`. */
  constructor(work: (control: RunControl) => Promise<EndEvent>) {
    this.#events = new EventQueue<TrainEvent>(
      unreadSteps,
      (event) => event.type === 'step',
      () => {
        this.stop()
        return this.#end
      },
    )
    const isStopping = () => this.#stopping
    this.#end = work({
      emit: (event) => this.#events.push(event),
      get stopping() {
        return isStopping()
      },
    })
    this.#end.then(
      () => this.#events.close(),
      (error: unknown) => {
        this.#events.close({ error })
        // Nobody watches the run: an unhandled rejection is better than silence.
        if (!this.#observed) throw error
      },
    )
  }

  /** Resolves with the last event; rejects with what ended the run, `signal.reason` after an abort. */
  done(): Promise<EndEvent> {
    this.#observed = true
    return this.#end
  }

  /** Ends the run after the step in progress; where there is a run folder a checkpoint is saved first. Idempotent. */
  stop(): void {
    this.#stopping = true
  }

  /** The events, each given to one consumer; rejects as `done()`. */
  [Symbol.asyncIterator](): AsyncIterator<TrainEvent> {
    this.#observed = true
    return this.#events
  }
}
