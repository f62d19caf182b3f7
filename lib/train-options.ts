import {
  type ModelConfig,
  type PresetName,
  resolveRunConfig,
  resolveTrainOptions,
  type RunConfig,
  type TrainConfig,
} from './config.js'
import { Dataset, type Split } from './dataset.js'
import { argumentError, rangeError } from './errors.js'
import { checkDataset, type Weights } from './evaluate.js'
import { validationGroups } from './loader.js'
import { evalMetricNames } from './metrics.js'
import { checkOptions, choiceOption, integerOption, pathOption, show, signalOption } from './options.js'

/** Where, how often and how many checkpoints are saved. */
export interface CheckpointOptions {
  /** The run folder; made if need be, and locked while the run lasts. */
  dir: string
  /**
   * Steps between checkpoints besides those at evaluations and at the end, >= 1.
   * @default none
   */
  everySteps?: number
  /**
   * Newest checkpoints kept, >= 1; those that `latest` and `best` name are kept in any case.
   * @default 3
   */
  keep?: number
  /**
   * `set/metric` that decides which checkpoint is `best`, or false for none. Losses and steps count as better when
   * lower. With `ema` the averaged weights decide.
   * @default 'all/exact_accuracy'
   */
  best?: string | false
}

/** The recipe, with the official defaults, and how the run goes. */
export type TrainOptions = Partial<TrainConfig> & {
  /**
   * Where the keys of the recipe that are not given come from.
   * @default the official defaults
   */
  preset?: PresetName
  /**
   * The run folder.
   * @default no checkpoints are saved
   */
  checkpoint?: CheckpointOptions
  /**
   * `auto` goes on from `latest` of the run folder where there is one; a path names a checkpoint or run folder; false
   * starts afresh from the model's weights, and refuses a run folder that has checkpoints.
   * @default false
   */
  resume?: 'auto' | (string & {}) | false
  /**
   * The weights that the model has after the run: the trained ones or, with `ema`, their averages.
   * @default 'raw'
   */
  finalWeights?: Weights
  /**
   * Folder for files of events that TensorBoard shows; made if need be. Tags are `train/lm_loss`, `eval/all/accuracy` and
   * so on, `eval_ema/…` for averaged weights, at the steps that metrics.jsonl has. A run that resumes adds a file, and
   * what came after its checkpoint is no longer shown.
   * @default none
   */
  tensorboard?: string
  /** Names recorded in checkpoints. */
  run?: Partial<RunConfig>
  /** Ends the run after the step in progress; a checkpoint is saved, then the run rejects with `signal.reason`. */
  signal?: AbortSignal
}

/** The options of a run, checked and complete. */
export interface TrainPlan {
  train: TrainConfig
  run: RunConfig
  /** What evaluations score; nothing where there is no test split and nothing is held out. */
  evaluation: { split: Split; groups?: readonly number[] } | undefined
  /** The score that tells better from worse. */
  best: { set: string; metric: BestMetric } | undefined
  checkpoint: { dir: string; everySteps: number; keep: number } | undefined
  resume: string | false
  tensorboard: string | undefined
  finalWeights: Weights
  signal: AbortSignal | undefined
}

type BestMetric = (typeof evalMetricNames)[number]

const op = 'train'

function readBest(
  value: unknown,
  dataset: Dataset,
  split: Split | undefined,
): { set: string; metric: BestMetric } | undefined {
  if (value === false || split === undefined) return undefined
  const sets = dataset.sets(split).map(({ name }) => name)
  const chosen = value ?? `${sets.includes('all') ? 'all' : sets[0]}/exact_accuracy`
  if (typeof chosen !== 'string')
    throw argumentError(`[${op}] expected checkpoint.best to be a string, got ${show(value)}`)
  const slash = chosen.lastIndexOf('/')
  const set = chosen.slice(0, slash)
  const metric = evalMetricNames.find((name) => name === chosen.slice(slash + 1))
  if (!sets.includes(set) || !metric) {
    throw rangeError(
      `[${op}] expected checkpoint.best to be set/metric of the sets ${sets.join(', ')} and the metrics ` +
        `${evalMetricNames.join(', ')}, got ${show(chosen)}`,
    )
  }
  return { set, metric }
}

/**
 * Checks all options before any work.
 *
 * @throws ERR_HRM_ARGUMENT, ERR_HRM_CONFIG, ERR_HRM_DATASET
 */
export function planTraining(dataset: Dataset, model: ModelConfig, options: TrainOptions): TrainPlan {
  if (!(dataset instanceof Dataset)) throw argumentError(`[${op}] expected a Dataset, got ${show(dataset)}`)
  if (typeof options !== 'object' || options === null) {
    throw argumentError(`[${op}] expected an options object, got ${show(options)}`)
  }
  const { checkpoint, resume, finalWeights, tensorboard, run, signal, ...recipe } = options
  const train = resolveTrainOptions(recipe)
  checkDataset(op, dataset, model)
  checkOptions(op, checkpoint, ['dir', 'everySteps', 'keep', 'best'])
  const dir = checkpoint && pathOption(op, 'checkpoint.dir', checkpoint.dir, undefined)
  if (checkpoint && dir === undefined) throw argumentError(`[${op}] expected checkpoint.dir, got nothing`)
  if (resume === 'auto' && !dir) throw argumentError(`[${op}] expected checkpoint.dir with resume 'auto', got nothing`)
  const weights = choiceOption(op, 'finalWeights', finalWeights, ['raw', 'ema'], 'raw')
  if (weights === 'ema' && train.ema === 0)
    throw argumentError(`[${op}] expected ema above 0 with finalWeights 'ema', got 0`)
  const groups = train.validationGroups > 0 ? validationGroups(dataset, train.validationGroups, train.seed) : undefined
  const evaluation: TrainPlan['evaluation'] = groups
    ? { split: 'train', groups }
    : dataset.splits.includes('test')
      ? { split: 'test' }
      : undefined
  const best = readBest(checkpoint?.best, dataset, evaluation?.split)
  if (train.earlyStopPatience > 0 && best === undefined) {
    throw argumentError(
      `[${op}] expected validationGroups or a test split, and a best score, with earlyStopPatience, got nothing to compare`,
    )
  }
  return {
    train,
    evaluation,
    best,
    run: resolveRunConfig({ dataPath: dataset.dir, ...run, ...(dir ? { checkpointPath: dir } : {}) }),
    checkpoint: checkpoint && {
      dir: dir!,
      everySteps: integerOption(op, 'checkpoint.everySteps', checkpoint.everySteps, 1, 2 ** 53, 0),
      keep: integerOption(op, 'checkpoint.keep', checkpoint.keep, 1, 2 ** 53, 3),
    },
    resume: resume === false ? false : pathOption(op, 'resume', resume, false),
    tensorboard: pathOption(op, 'tensorboard', tensorboard, undefined),
    finalWeights: weights,
    signal: signalOption(op, signal),
  }
}
