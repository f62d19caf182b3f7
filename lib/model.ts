import {
  checkpointBytes,
  defaultWeights,
  fillCheckpoint,
  isCheckpoint,
  loadWeights,
  openCheckpoint,
} from './checkpoint.js'
import { type Config, type ModelConfig, type ModelOptions, resolveModelConfig, resolveRunConfig } from './config.js'
import { Dataset, type Split } from './dataset.js'
import { deviceKeys, type DeviceOptions, type Precision, resolveDevice } from './devices.js'
import { exists, fileError, writeFolder } from './durable-folder.js'
import { Engine } from './engine.js'
import { argumentError, fromNative, HRMError } from './errors.js'
import {
  checkDataset,
  evaluateSets,
  evaluateSolving,
  type EvalSets,
  type Prediction,
  type Weights,
} from './evaluate.js'
import { defaultMaxBatch } from './memory.js'
import { native, type NativeEngine } from './native.js'
import {
  checkOptions,
  choiceOption,
  functionOption,
  integerOption,
  requiredPath,
  show,
  signalOption,
} from './options.js'
import {
  type Halting,
  mostSegments,
  type SegmentsOptions,
  type SegmentState,
  type SolveOptions,
  Solver,
  type SolverOptions,
  type SolveResult,
} from './solver.js'
import type { Example, IntegerArray, SolveInput } from './tokens.js'
import { train, type TrainOptions } from './trainer.js'
import { TrainRun } from './train-run.js'
import type { Vocabulary } from './vocabulary.js'
import type { VoteOptions } from './votes.js'

/** How a model runs. */
export interface ModelRunOptions extends DeviceOptions {
  /**
   * Sequences that solve() runs at once, 1…65536; concurrent calls share them.
   * @default at most 32, fewer for models whose carry is large
   */
  maxBatch?: number
  /**
   * How long an idle model waits for further calls of solve() before it starts a batch, 0…60000 milliseconds.
   * @default 0
   */
  maxWaitMs?: number
}

/** What `HRM.create` takes besides the configuration. */
export interface CreateOptions extends ModelRunOptions {
  /**
   * Seed of the initial weights, 0…2^53-1.
   * @default 0
   */
  seed?: number
}

/** What `HRM.load` takes besides the folder. */
export interface LoadOptions extends ModelRunOptions {
  /**
   * The trained weights or their moving averages.
   * @default 'ema' for a checkpoint of a run with ema, else 'raw'
   */
  weights?: Weights
  /** Stops before the next step of loading; the call rejects with `signal.reason`. */
  signal?: AbortSignal
}

/** What `HRM.evaluate` returns. */
export interface Evaluation {
  /** Metrics of each set of the split. */
  sets: EvalSets
}

/** What is scored, and how. */
export interface EvaluateOptions {
  /**
   * The split whose examples are scored.
   * @default 'test'
   */
  split?: Split
  /**
   * Rows of a batch, 1…2^20; with halting `q` it is maxBatch instead. Rows that pad the last batch enter q_halt_loss,
   * as officially.
   * @default the batch size of the training, else maxBatch
   */
  batchSize?: number
  /**
   * Examples of each set at most, >= 1.
   * @default all
   */
  maxExamples?: number
  /**
   * `max` runs maxSegments for every example, as officially; `q` ends an example once q_halt > q_continue and fills its
   * slot with the next, as solve() does.
   * @default 'max'
   */
  halting?: Halting
  /**
   * Segments of each example, with halting `q` at most, 1…65536.
   * @default haltMaxSegments of the model
   */
  maxSegments?: number
  /** Called with the answer to every example, set by set in order; what it throws ends the evaluation. */
  onPrediction?: (prediction: Prediction) => void
  /**
   * Answers per example, of which one is picked without its label, as solve() does; `steps` then counts the segments of
   * all of them.
   * @default 1
   */
  votes?: number | VoteOptions
  /** Stops within one segment; the call rejects with `signal.reason`. */
  signal?: AbortSignal
}

const runKeys = [...deviceKeys, 'maxBatch', 'maxWaitMs'] as const

/** Checks of create() and load() that need no file. */
function readRunOptions(op: string, options: ModelRunOptions) {
  return {
    device: resolveDevice(op, options),
    maxBatch: integerOption(op, 'maxBatch', options.maxBatch, 1, 65536, undefined),
    maxWaitMs: integerOption(op, 'maxWaitMs', options.maxWaitMs, 0, 60000, 0),
  }
}

/** A Hierarchical Reasoning Model on one device. Make one by `HRM.create` or `HRM.load`. */
export class HRM {
  /** Sizes and constants. */
  readonly config: Readonly<ModelConfig>
  /** What computes, e.g. "cpu avx512, 2 threads". */
  readonly device: string
  /** Trainable parameters, without start vectors and puzzle embeddings. */
  readonly numParameters: number
  readonly #engine: Engine
  readonly #native: NativeEngine
  readonly #solver: Solver
  readonly #maxBatch: number
  readonly #precision: Precision
  /** What a checkpoint records. */
  #recorded: Config
  #vocabulary: Vocabulary | undefined
  #busy = false
  #lastRun: TrainRun | undefined

  private constructor(
    engine: NativeEngine,
    recorded: Config,
    config: ModelConfig,
    precision: Precision,
    options: SolverOptions,
  ) {
    this.config = Object.freeze(config)
    this.device = engine.description
    this.numParameters = engine.numParameters
    this.#native = engine
    this.#engine = new Engine(engine)
    this.#maxBatch = options.maxBatch
    this.#precision = precision
    this.#recorded = recorded
    this.#solver = new Solver(this.#engine, config, options)
  }

  static #open(recorded: Config, config: ModelConfig, options: ReturnType<typeof readRunOptions>): HRM {
    let engine: NativeEngine
    try {
      engine = new native.Engine(config, options.device)
    } catch (error) {
      throw fromNative(error)
    }
    const { maxBatch = defaultMaxBatch(config), maxWaitMs } = options
    const { device, precision } = options.device
    return new HRM(engine, recorded, config, precision, { maxBatch, maxWaitMs, loops: device !== 'cpu' })
  }

  /**
   * A new model with random weights.
   *
   * @param config - keys over a preset; `vocabSize` and `seqLen` are those of the data
   * @throws ERR_HRM_CONFIG, ERR_HRM_ARGUMENT, ERR_HRM_NO_DEVICE, ERR_HRM_OUT_OF_MEMORY
   *
   * @example
   * const model = await HRM.create({ preset: 'small', vocabSize: 11, seqLen: 81 }, { seed: 0 })
   */
  static async create(config: ModelOptions, options: CreateOptions = {}): Promise<HRM> {
    const op = 'create'
    const complete = resolveModelConfig(config)
    checkOptions(op, options, [...runKeys, 'seed'])
    const seed = integerOption(op, 'seed', options.seed, 0, Number.MAX_SAFE_INTEGER, 0)
    const model = HRM.#open({ model: complete, train: {}, run: {} }, complete, readRunOptions(op, options))
    try {
      await model.#engine.call(op, (engine) => engine.init(seed))
    } catch (error) {
      model.dispose()
      throw error
    }
    return model
  }

  /**
   * Loads a checkpoint folder, or the `latest` of a run folder, and verifies all its hashes.
   *
   * @throws ERR_HRM_CHECKPOINT, ERR_HRM_CORRUPT, ERR_HRM_CONFIG, ERR_HRM_ARGUMENT, ERR_HRM_NO_DEVICE, ERR_HRM_IO
   *
   * @example
   * const model = await HRM.load('runs/a/best', { device: 'cpu', threads: 2 })
   */
  static async load(dir: string, options: LoadOptions = {}): Promise<HRM> {
    const op = 'load'
    const path = requiredPath(op, 'dir', dir)
    checkOptions(op, options, [...runKeys, 'weights', 'signal'])
    const weights = choiceOption(op, 'weights', options.weights, ['raw', 'ema'], undefined)
    const signal = signalOption(op, options.signal)
    const runOptions = readRunOptions(op, options)
    signal?.throwIfAborted()
    const checkpoint = await openCheckpoint(path)
    signal?.throwIfAborted()
    const model = HRM.#open(checkpoint.config, checkpoint.model, runOptions)
    model.#vocabulary = checkpoint.vocabulary
    try {
      await loadWeights(model.#engine, checkpoint, weights ?? defaultWeights(checkpoint))
      signal?.throwIfAborted()
    } catch (error) {
      model.dispose()
      throw error
    }
    return model
  }

  /**
   * Solves one example (seqLen token ids) or a batch of them (a list, or a typed array of k x seqLen, k > 1). Calls that
   * run at the same time share batches; each sequence ends with the same bits as alone. During training each sequence is
   * solved with the weights of one step. With `votes` each is solved several times and one answer is picked.
   *
   * @returns one result for one example, a list for a batch
   * @throws TypeError, RangeError ERR_HRM_ARGUMENT; ERR_HRM_SHAPE, ERR_HRM_DISPOSED; `signal.reason` after an abort
   *
   * @example
   * const { tokens, qHalt, segments } = await model.solve(puzzle, { halting: 'q' })
   */
  solve<R extends SolveResult | SolveResult[] = SolveResult>(input: IntegerArray, options?: SolveOptions): Promise<R>
  solve(input: readonly number[], options?: SolveOptions): Promise<SolveResult>
  solve(input: readonly Example[], options?: SolveOptions): Promise<SolveResult[]>
  solve(input: SolveInput, options?: SolveOptions): Promise<SolveResult | SolveResult[]> {
    return this.#solver.solve(input, options, (model) => (model instanceof HRM ? model.#solver : undefined))
  }

  /**
   * Runs one example segment by segment. During training each segment uses the weights of its moment.
   *
   * @throws as solve(), at once for arguments
   *
   * @example
   * for await (const { segment, changed } of model.segments(puzzle)) console.log(segment, changed)
   */
  segments(input: Example, options?: SegmentsOptions): AsyncIterableIterator<SegmentState> {
    return this.#solver.segments(input, options)
  }

  /**
   * Starts training from the model's weights, or from a checkpoint with `resume`. What is wrong with the arguments, too,
   * is reported by the run.
   *
   * @throws (from the run) ERR_HRM_BUSY while a training goes on, ERR_HRM_CONFIG, ERR_HRM_ARGUMENT, ERR_HRM_DATASET,
   * ERR_HRM_CHECKPOINT, ERR_HRM_CORRUPT, ERR_HRM_LOCKED, ERR_HRM_NON_FINITE, ERR_HRM_IO, ERR_HRM_DISPOSED
   */
  train(data: Dataset, options: TrainOptions = {}): TrainRun {
    const idle = !this.#busy
    const run = new TrainRun(async (control) => {
      this.#assertIdle('train')
      this.#assertTrainable()
      this.#busy = true
      try {
        const setConfig = (config: Config) => (this.#recorded = config)
        const setVocabulary = (vocabulary: Vocabulary | undefined) => (this.#vocabulary = vocabulary)
        const target = { engine: this.#engine, model: this.config, setConfig, setVocabulary }
        return await train(target, data, options, control)
      } finally {
        this.#busy = false
      }
    })
    if (idle) this.#lastRun = run
    return run
  }

  /**
   * Scores a split as the official evaluation does: haltMaxSegments segments, metrics of the last one; or the
   * answers of solve() with halting or votes.
   *
   * @throws ERR_HRM_BUSY during training; ERR_HRM_DATASET, ERR_HRM_ARGUMENT, ERR_HRM_DISPOSED; `signal.reason`
   *
   * @example
   * const { sets } = await model.evaluate(await Dataset.open('data/sudoku-extreme-1k'))
   */
  async evaluate(data: Dataset, options: EvaluateOptions = {}): Promise<Evaluation> {
    const op = 'evaluate'
    this.#assertIdle(op)
    if (!(data instanceof Dataset)) throw argumentError(`[${op}] expected a Dataset, got ${show(data)}`)
    checkOptions(op, options, [
      'split',
      'batchSize',
      'maxExamples',
      'halting',
      'maxSegments',
      'votes',
      'onPrediction',
      'signal',
    ])
    const signal = signalOption(op, options.signal)
    const onPrediction = functionOption(op, 'onPrediction', options.onPrediction)
    const trained = this.#recorded.train.globalBatchSize
    const halting = choiceOption(op, 'halting', options.halting, ['max', 'q'], 'max')
    const { haltMaxSegments } = this.config
    const segments = integerOption(op, 'maxSegments', options.maxSegments, 1, mostSegments, haltMaxSegments)
    const plan = {
      split: choiceOption(op, 'split', options.split, ['train', 'test'], 'test'),
      batchSize: integerOption(op, 'batchSize', options.batchSize, 1, 2 ** 20, trained ?? this.#maxBatch),
      maxExamples: integerOption(op, 'maxExamples', options.maxExamples, 1, Number.MAX_SAFE_INTEGER, 0),
      ...(onPrediction ? { onPrediction } : {}),
    }
    checkDataset(op, data, this.config)
    signal?.throwIfAborted()
    const { votes } = options
    if (halting === 'q' || votes !== undefined) {
      const solve = (inputs: Int32Array, how: SolveOptions) => this.solve<SolveResult | SolveResult[]>(inputs, how)
      return { sets: await evaluateSolving(solve, data, { ...plan, halting, maxSegments: segments, votes, signal }) }
    }
    const check = () => signal?.throwIfAborted()
    return { sets: await evaluateSets(this.#engine, this.config, data, 'raw', { ...plan, segments, check }) }
  }

  /**
   * Saves the model as a checkpoint folder, without the state of a trainer. A checkpoint already there is replaced.
   *
   * @throws ERR_HRM_BUSY during training; ERR_HRM_CHECKPOINT if `dir` is something else; ERR_HRM_NON_FINITE for a model
   * with such values; ERR_HRM_IO, ERR_HRM_DISPOSED
   */
  async save(dir: string): Promise<void> {
    const op = 'save'
    this.#assertIdle(op)
    const path = requiredPath(op, 'dir', dir)
    try {
      if ((await exists(path)) && !(await isCheckpoint(path))) {
        throw new HRMError('ERR_HRM_CHECKPOINT', `[${op}] expected a new folder or a checkpoint, got ${path}`, { path })
      }
    } catch (error) {
      throw fileError(op, path, error)
    }
    const { train: recipe, run } = this.#recorded
    const content = {
      config: { model: this.config, train: recipe, run: { ...resolveRunConfig(), ...run } },
      vocabulary: this.#vocabulary,
    }
    const release = await this.#engine.weights.read()
    try {
      const neededBytes = await checkpointBytes(this.#engine, false)
      await writeFolder(op, path, (temporary) => fillCheckpoint(temporary, this.#engine, content), neededBytes)
    } finally {
      release()
    }
  }

  /** What the tokens stand for, where the training data said so (`hrm data maze`, `hrm data grid`). */
  get vocabulary(): Vocabulary | undefined {
    return this.#vocabulary
  }

  /** Bytes of memory that the model holds on its device. */
  get bytes(): number {
    return this.#engine.disposed ? 0 : this.#native.bytes
  }

  /** Frees the model once the work in progress is done; later calls, and those waiting, reject with ERR_HRM_DISPOSED. Idempotent. */
  dispose(): void {
    this.#solver.dispose()
    this.#engine.dispose()
  }

  /** Disposes, as `dispose()`; for `using`. */
  [Symbol.dispose](): void {
    this.dispose()
  }

  /** Disposes, and waits until solves and training have ended. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.dispose()
    await Promise.allSettled([this.#lastRun?.done(), this.#solver.idle()])
  }

  #assertTrainable(): void {
    if (this.#precision !== 'int8') return
    const message = "[train] expected a model of precision fp32 or fp64, got int8; save it and load that with 'fp32'"
    throw new HRMError('ERR_HRM_CONFIG', message, { precision: this.#precision })
  }

  #assertIdle(op: string): void {
    this.#engine.assertLive(op)
    if (!this.#busy) return
    throw new HRMError('ERR_HRM_BUSY', `[${op}] expected an idle model, got one that is training; await its run`)
  }
}
