import { performance } from 'node:perf_hooks'
import {
  type Checkpoint,
  checkpointBytes,
  fillCheckpoint,
  loadTrainer,
  loadWeights,
  openCheckpoint,
  type Patience,
} from './checkpoint.js'
import type { Config, ModelConfig } from './config.js'
import type { Batch, Dataset } from './dataset.js'
import type { Engine } from './engine.js'
import { environment } from './environment.js'
import { HRMError } from './errors.js'
import { evaluateSets, type EvalSets, type Weights } from './evaluate.js'
import { TrainLoader } from './loader.js'
import { trainMetrics } from './metrics.js'
import type { NativeStepResult } from './native.js'
import { show } from './options.js'
import { readPointer, RunFolder } from './run-folder.js'
import { TensorBoard } from './tensorboard.js'
import { planTraining, type TrainOptions, type TrainPlan } from './train-options.js'
import type { EndEvent, EvalEvent, RunControl, TrainEvent } from './train-run.js'
import type { Vocabulary } from './vocabulary.js'

export type { CheckpointOptions, TrainOptions } from './train-options.js'

/** What training needs of its model. */
export interface TrainModel {
  engine: Engine
  model: ModelConfig
  /** Take what later checkpoints record. */
  setConfig: (config: Config) => void
  setVocabulary: (vocabulary: Vocabulary | undefined) => void
}

const op = 'train'

/** The checkpoint to go on from, verified and compared with the model and the options that must not change. */
async function findResumed(plan: TrainPlan, model: ModelConfig, datasetHash: string): Promise<Checkpoint | undefined> {
  const latest = plan.checkpoint && (await readPointer(plan.checkpoint.dir, 'latest'))
  if (plan.resume === false) {
    if (latest === undefined) return undefined
    throw new HRMError(
      'ERR_HRM_CHECKPOINT',
      `[${op}] expected a run folder without checkpoints, got ${latest}; resume with 'auto' or choose another folder`,
      { path: latest },
    )
  }
  const path = plan.resume === 'auto' ? latest : plan.resume
  if (path === undefined) return undefined
  const checkpoint = await openCheckpoint(path)
  const differs = (field: string, expected: unknown, found: unknown) =>
    new HRMError(
      'ERR_HRM_CHECKPOINT',
      `[${op}] expected ${field} ${show(expected)} as in ${checkpoint.dir}, got ${show(found)}; resume with the same ${field}`,
      { path: checkpoint.dir, field, expected, found },
    )
  if (!checkpoint.trainer) {
    throw new HRMError('ERR_HRM_CHECKPOINT', `[${op}] expected trainer.json in ${checkpoint.dir}, got only a model`, {
      path: checkpoint.dir,
      file: 'trainer.json',
    })
  }
  for (const [key, expected] of Object.entries(checkpoint.model)) {
    const found = model[key as keyof ModelConfig]
    if (found !== expected) throw differs(key, expected, found)
  }
  const { train } = checkpoint.config
  if (plan.train.ema > 0 !== (train.ema ?? 0) > 0) throw differs('ema', train.ema, plan.train.ema)
  if (checkpoint.trainer.datasetHash !== datasetHash) {
    throw differs('dataset (SHA-256)', checkpoint.trainer.datasetHash, datasetHash)
  }
  return checkpoint
}

/** Whether what was not finite is gone with the step that had it: a loss or a gradient, not a weight. */
function passing(nonFinite: string): boolean {
  return nonFinite === 'loss' || nonFinite.startsWith('grad.')
}

/** One training run, from its checks to its last checkpoint. */
class Training {
  readonly #target: TrainModel
  readonly #engine: Engine
  readonly #dataset: Dataset
  readonly #plan: TrainPlan
  readonly #control: RunControl
  readonly #folder: RunFolder | undefined
  readonly #tensorboard: TensorBoard | undefined
  readonly #datasetHash: string
  readonly #vocabulary: Vocabulary | undefined
  readonly #loader: TrainLoader
  /** Steps between evaluations; 0 = only at the end. May be a fraction, as epochs need not be whole steps. */
  readonly #evalSteps: number
  /** Where the run ends; the data may end before the schedule does. */
  #lastStep: number
  #step = 0
  #secondsPerStep = 0
  #evaluatedStep = -1
  #evaluation: EvalEvent | undefined
  #best: number | undefined
  #patience: Patience = { best: null, since: 0 }
  #savedStep = -1
  #checkpoint: string | null = null

  constructor(
    target: TrainModel,
    dataset: Dataset,
    plan: TrainPlan,
    control: RunControl,
    folder: RunFolder | undefined,
    tensorboard: TensorBoard | undefined,
    datasetHash: string,
  ) {
    this.#target = target
    this.#engine = target.engine
    this.#dataset = dataset
    this.#plan = plan
    this.#control = control
    this.#folder = folder
    this.#tensorboard = tensorboard
    this.#datasetHash = datasetHash
    this.#vocabulary = dataset.vocabulary()
    const { train, evaluation } = plan
    this.#loader = new TrainLoader(dataset, {
      batchSize: train.globalBatchSize,
      epochs: train.epochs,
      seed: train.seed,
      ...(train.epochsPerIter > 0 ? { epochsPerIter: train.epochsPerIter } : {}),
      ...(evaluation?.groups ? { heldOut: evaluation.groups } : {}),
    })
    const { totalSteps } = this.#loader
    this.#evalSteps = train.evalEverySteps || Math.max(1, (totalSteps / train.epochs) * train.evalInterval)
    this.#lastStep = Math.min(totalSteps, train.maxSteps || Infinity)
  }

  async run(resumed: Checkpoint | undefined): Promise<EndEvent> {
    await this.#start(resumed)
    try {
      let reason: EndEvent['reason'] = 'completed'
      if (resumed?.trainer?.evaluationPending) await this.#evaluate()
      while (this.#step < this.#lastStep) {
        if (this.#interrupted) {
          reason = 'stopped'
          break
        }
        if (this.#stale) {
          reason = 'early_stopped'
          break
        }
        const batch = this.#loader.next()
        if (!batch) {
          this.#lastStep = this.#step
          break
        }
        await this.#update(batch)
        const due = this.#evaluationDue()
        if (due) await this.#evaluate()
        const every = this.#plan.checkpoint?.everySteps ?? 0
        if (due || (every > 0 && this.#step % every === 0)) await this.#trySave()
      }
      if (reason === 'completed' && this.#evaluatedStep !== this.#step) await this.#evaluate()
      if (this.#interrupted && this.#evaluationPending) reason = 'stopped'
      await this.#save()
      await this.#flushTensorBoard()
      this.#plan.signal?.throwIfAborted()
      if (this.#plan.finalWeights === 'ema') await this.#adoptAverages()
      const end: EndEvent = { type: 'end', step: this.#step, reason, checkpoint: this.#checkpoint }
      this.#emit(end)
      await this.#folder?.flush()
      return end
    } finally {
      if (!this.#engine.disposed) await this.#engine.call(op, (native) => native.endTraining())
    }
  }

  get #interrupted(): boolean {
    return this.#control.stopping || this.#plan.signal?.aborted === true
  }

  get #stale(): boolean {
    const { earlyStopPatience } = this.#plan.train
    return earlyStopPatience > 0 && this.#patience.since >= earlyStopPatience
  }

  /** Whether the evaluation of this step is due but was not finished. */
  get #evaluationPending(): boolean {
    return this.#evaluationDue() && this.#evaluatedStep !== this.#step
  }

  #emit(event: TrainEvent): void {
    if (event.type !== 'step' || event.step % this.#plan.train.logEvery === 0) {
      this.#folder?.log(event)
      this.#tensorboard?.log(event)
    }
    this.#control.emit(event)
  }

  async #start(resumed: Checkpoint | undefined): Promise<void> {
    const { train, run } = this.#plan
    const record = resumed?.trainer
    if (record) {
      this.#loader.restore(record.loader)
      this.#step = record.step
      this.#savedStep = record.evaluationPending ? -1 : record.step
      this.#evaluatedStep = record.evaluationPending ? -1 : record.step
      this.#checkpoint = resumed.dir
      this.#patience = record.patience ?? this.#patience
      await this.#restoreBest()
    }
    this.#target.setVocabulary(this.#vocabulary)
    this.#target.setConfig({ model: this.#target.model, train, run: { ...run, dataHash: this.#datasetHash } })
    const release = await this.#engine.weights.change()
    try {
      const {
        globalBatchSize: batchSize,
        microBatchSize,
        lr,
        lrMinRatio,
        lrWarmupSteps,
        beta1,
        beta2,
        weightDecay,
      } = train
      const { puzzleEmbLr, puzzleEmbWeightDecay, optimizer, ema, emaWarmup, seed } = train
      const options = {
        batchSize,
        microBatchSize,
        totalSteps: this.#loader.totalSteps,
        lr,
        lrMinRatio,
        lrWarmupSteps,
        beta1,
        beta2,
        weightDecay,
        puzzleEmbLr,
        puzzleEmbWeightDecay,
        optimizer,
        ema,
        emaWarmup,
        seed,
      }
      // Weights first: the averages of a fresh run start from them.
      if (resumed) await loadWeights(this.#engine, resumed, 'raw')
      await this.#engine.call(op, (native) => native.startTraining(options, this.#step))
      try {
        if (resumed) await loadTrainer(this.#engine, resumed)
      } catch (error) {
        await this.#engine.call(op, (native) => native.endTraining())
        throw error
      }
    } finally {
      release()
    }
    await this.#folder?.cutMetrics(this.#step)
    this.#emit({
      type: 'start',
      step: this.#step,
      lastStep: this.#lastStep,
      totalSteps: this.#loader.totalSteps,
      resumed: resumed?.dir ?? null,
      environment: environment(this.#engine.description),
    })
  }

  async #update(batch: Batch): Promise<void> {
    const { globalBatchSize, onNonFinite } = this.#plan.train
    const begin = performance.now()
    const release = await this.#engine.weights.change()
    let result: NativeStepResult
    try {
      result = await this.#engine.call(op, (native) => native.trainStep(batch))
    } finally {
      release()
    }
    if (result.nonFinite && (onNonFinite === 'stop' || !passing(result.nonFinite))) {
      throw new HRMError(
        'ERR_HRM_NON_FINITE',
        `[${op}] expected finite values at step ${result.step}, got a NaN or an infinity in ${result.nonFinite}; ` +
          'resume from an earlier checkpoint with a lower lr',
        { step: result.step, tensor: result.nonFinite },
      )
    }
    this.#step = result.step
    const seconds = (performance.now() - begin) / 1000
    this.#secondsPerStep = this.#secondsPerStep === 0 ? seconds : this.#secondsPerStep * 0.95 + seconds * 0.05
    this.#emit({
      type: 'step',
      step: result.step,
      lr: result.lr,
      loss: result.loss / globalBatchSize,
      gradNorm: result.gradNorm,
      itPerSecond: 1 / this.#secondsPerStep,
      ...(result.nonFinite ? { nonFinite: result.nonFinite } : {}),
      metrics: trainMetrics(result.metrics, globalBatchSize),
    })
  }

  #evaluationDue(): boolean {
    if (!this.#plan.evaluation) return false
    return this.#step === this.#lastStep || this.#evaluationScheduled()
  }

  /** Whether it is due wherever the run ends. */
  #evaluationScheduled(): boolean {
    return Math.floor(this.#step / this.#evalSteps) > Math.floor((this.#step - 1) / this.#evalSteps)
  }

  /** Scores the test split or the validation groups, unless it is interrupted. */
  async #evaluate(): Promise<void> {
    const { evaluation } = this.#plan
    if (!evaluation) return
    const interrupted = new Error('evaluation interrupted')
    const scores = (weights: Weights) =>
      evaluateSets(this.#engine, this.#target.model, this.#dataset, weights, {
        ...evaluation,
        batchSize: this.#plan.train.globalBatchSize,
        maxExamples: this.#plan.train.evalMaxExamples,
        segments: this.#target.model.haltMaxSegments,
        check: () => {
          if (this.#interrupted) throw interrupted
        },
      })
    const begin = performance.now()
    try {
      const sets = await scores('raw')
      const emaSets = this.#plan.train.ema > 0 ? await scores('ema') : undefined
      const seconds = (performance.now() - begin) / 1000
      this.#evaluation = { type: 'eval', step: this.#step, sets, ...(emaSets ? { emaSets } : {}), seconds }
    } catch (error) {
      if (error === interrupted) return
      throw error
    }
    this.#evaluatedStep = this.#step
    if (this.#evaluationScheduled()) {
      const score = this.#score(this.#evaluation)
      const { best, since } = this.#patience
      const better = score !== undefined && (best === null || score > best)
      this.#patience = better ? { best: score, since: 0 } : { best, since: since + 1 }
    }
    this.#emit(this.#evaluation)
    await this.#flushTensorBoard()
  }

  /** Forces what TensorBoard shows to the disk, which no run depends on. */
  async #flushTensorBoard(): Promise<void> {
    try {
      await this.#tensorboard?.flush()
    } catch (error) {
      this.#reportIo('log_error', error)
    }
  }

  /** Tells of an error of the file system that does not end the run; throws others. */
  #reportIo(type: 'save_error' | 'log_error', error: unknown): void {
    if (!(error instanceof HRMError && error.code === 'ERR_HRM_IO')) throw error
    const { message, details } = error
    this.#emit({ type, step: this.#step, message, details })
  }

  /** Saves; a full disk must not end a run that may save the next time. */
  async #trySave(): Promise<void> {
    try {
      await this.#save()
    } catch (error) {
      this.#reportIo('save_error', error)
    }
  }

  async #save(): Promise<void> {
    if (!this.#folder || this.#savedStep === this.#step) return
    await this.#folder.flush()
    await this.#flushTensorBoard()
    const evaluation = this.#evaluatedStep === this.#step ? this.#evaluation : undefined
    const { train, run } = this.#plan
    const content = {
      config: { model: this.#target.model, train, run: { ...run, dataHash: this.#datasetHash } },
      trainer: {
        step: this.#step,
        totalSteps: this.#loader.totalSteps,
        loader: this.#loader.state(),
        datasetHash: this.#datasetHash,
        evaluationPending: this.#evaluationPending,
        patience: this.#patience,
      },
      evaluation,
      vocabulary: this.#vocabulary,
    }
    const neededBytes = await checkpointBytes(this.#engine, true)
    const path = await this.#folder.save(this.#step, (dir) => fillCheckpoint(dir, this.#engine, content), neededBytes)
    this.#savedStep = this.#step
    this.#checkpoint = path
    const score = evaluation && this.#score(evaluation)
    const best = score !== undefined && (this.#best === undefined || score > this.#best)
    if (best) {
      await this.#folder.setBest(path)
      this.#best = score
    }
    await this.#folder.prune(this.#plan.checkpoint!.keep)
    this.#emit({ type: 'checkpoint', step: this.#step, path, best })
  }

  /** The value that decides which checkpoint is best, higher being better. */
  #score(evaluation: { sets: EvalSets; emaSets?: EvalSets }): number | undefined {
    const { best } = this.#plan
    const value = best && (evaluation.emaSets ?? evaluation.sets)[best.set]?.[best.metric]
    if (value === undefined || value === null) return undefined
    return best!.metric.endsWith('accuracy') ? value : -value
  }

  async #restoreBest(): Promise<void> {
    const path = await this.#folder?.pointer('best')
    if (path === undefined) return
    const { evaluation } = await openCheckpoint(path)
    this.#best = evaluation && this.#score(evaluation)
  }

  async #adoptAverages(): Promise<void> {
    const release = await this.#engine.weights.change()
    try {
      await this.#engine.call(op, (native) => native.swapEma())
    } finally {
      release()
    }
  }
}

/**
 * Trains until the end of the schedule, `maxSteps`, stop or abort.
 *
 * @throws ERR_HRM_ARGUMENT, ERR_HRM_CONFIG, ERR_HRM_DATASET, ERR_HRM_CHECKPOINT, ERR_HRM_CORRUPT, ERR_HRM_LOCKED,
 * ERR_HRM_NON_FINITE, ERR_HRM_IO, ERR_HRM_DISPOSED
 */
export async function train(
  target: TrainModel,
  dataset: Dataset,
  options: TrainOptions,
  control: RunControl,
): Promise<EndEvent> {
  target.engine.assertLive(op)
  const checked = planTraining(dataset, target.model, options)
  checked.signal?.throwIfAborted()
  const folder = checked.checkpoint && (await RunFolder.open(checked.checkpoint.dir))
  let tensorboard: TensorBoard | undefined
  try {
    const datasetHash = await dataset.hash()
    const resumed = await findResumed(checked, target.model, datasetHash)
    if (checked.tensorboard !== undefined) {
      tensorboard = await TensorBoard.open(checked.tensorboard, resumed?.trainer?.step ?? 0)
    }
    return await new Training(target, dataset, checked, control, folder, tensorboard, datasetHash).run(resumed)
  } finally {
    await tensorboard?.close()
    await folder?.release()
  }
}
