import type { ModelConfig, RunConfig, TrainConfig } from './config-types.js'

interface FieldBase<T> {
  /** Key in `config.json` and on the command line, dotted where nested. */
  official: string
  /** Value where nothing is given; undefined = must be given or is derived. */
  default?: T
  description: string
}

interface NumberField extends FieldBase<number> {
  type: 'integer' | 'number'
  min: number
  /** The minimum itself is not allowed. */
  above?: boolean
  max?: number
  /** The maximum itself is not allowed. */
  below?: boolean
}

interface ChoiceField<T> extends FieldBase<T> {
  type: 'choice'
  choices: readonly T[]
}

interface PlainField<T> extends FieldBase<T> {
  type: 'boolean' | 'text' | 'texts'
}

/** One key of the configuration: its official name, type, range, default and meaning. */
export type Field = NumberField | ChoiceField<string> | PlainField<unknown>

type FieldOf<T> = [T] extends [number]
  ? NumberField
  : [T] extends [boolean]
    ? PlainField<boolean>
    : [T] extends [readonly string[]]
      ? PlainField<readonly string[]>
      : string extends T
        ? PlainField<string>
        : ChoiceField<T>

type Fields<T> = { readonly [K in keyof T]: FieldOf<T[K]> }

/** The model's keys; defaults are the official `arch/hrm_v1.yaml`. */
export const modelFields: Fields<ModelConfig> = {
  vocabSize: {
    official: 'arch.vocab_size',
    type: 'integer',
    min: 1,
    description: 'distinct tokens, V; taken from the dataset',
  },
  seqLen: {
    official: 'arch.seq_len',
    type: 'integer',
    min: 1,
    description: 'tokens per sequence, T; taken from the dataset',
  },
  numPuzzleIdentifiers: {
    official: 'arch.num_puzzle_identifiers',
    type: 'integer',
    min: 1,
    default: 1,
    description: 'rows of the puzzle embedding table, with the blank row 0; taken from the dataset',
  },
  puzzleEmbNdim: {
    official: 'arch.puzzle_emb_ndim',
    type: 'integer',
    min: 0,
    description: 'width of a puzzle embedding, put before the tokens in ceil(width / D) positions; 0 = none, default D',
  },
  hCycles: {
    official: 'arch.H_cycles',
    type: 'integer',
    min: 1,
    default: 2,
    description: 'updates of the H-level module in a segment',
  },
  lCycles: {
    official: 'arch.L_cycles',
    type: 'integer',
    min: 1,
    default: 2,
    description: 'updates of the L-level module in an H-cycle',
  },
  hLayers: {
    official: 'arch.H_layers',
    type: 'integer',
    min: 1,
    default: 4,
    description: 'transformer blocks of the H-level module',
  },
  lLayers: {
    official: 'arch.L_layers',
    type: 'integer',
    min: 1,
    default: 4,
    description: 'transformer blocks of the L-level module',
  },
  hiddenSize: {
    official: 'arch.hidden_size',
    type: 'integer',
    min: 2,
    default: 512,
    description: 'width of the hidden states, D',
  },
  numHeads: {
    official: 'arch.num_heads',
    type: 'integer',
    min: 1,
    default: 8,
    description: 'attention heads; D / heads must be even',
  },
  expansion: {
    official: 'arch.expansion',
    type: 'number',
    min: 0,
    above: true,
    default: 4,
    description: 'the SwiGLU inner size is expansion * D * 2/3, rounded up to a multiple of 256',
  },
  posEncodings: {
    official: 'arch.pos_encodings',
    type: 'choice',
    choices: ['rope', 'learned'],
    default: 'rope',
    description: 'how positions are told apart',
  },
  ropeTheta: {
    official: 'arch.rope_theta',
    type: 'number',
    min: 0,
    above: true,
    default: 10000,
    description: 'base of the rotary frequencies',
  },
  rmsNormEps: {
    official: 'arch.rms_norm_eps',
    type: 'number',
    min: 0,
    above: true,
    default: 1e-5,
    description: 'epsilon of RMSNorm',
  },
  haltMaxSegments: {
    official: 'arch.halt_max_steps',
    type: 'integer',
    min: 1,
    default: 16,
    description: 'segments after which a sequence halts at the latest',
  },
  haltExplorationProb: {
    official: 'arch.halt_exploration_prob',
    type: 'number',
    min: 0,
    max: 1,
    default: 0.1,
    description: 'chance that training draws a minimum number of segments',
  },
  lossType: {
    official: 'arch.loss.loss_type',
    type: 'choice',
    choices: ['stablemax_cross_entropy', 'softmax_cross_entropy'],
    default: 'stablemax_cross_entropy',
    description: 'cross-entropy over the tokens',
  },
  haltOnly: {
    official: 'arch.no_ACT_continue',
    type: 'boolean',
    default: false,
    description: 'learn q_halt alone, halting where it is above 0: no second forward for a continue target',
  },
}

/** The recipe's keys; defaults are the official `cfg_pretrain.yaml`, keys it lacks change nothing by default. */
export const trainFields: Fields<TrainConfig> = {
  globalBatchSize: {
    official: 'global_batch_size',
    type: 'integer',
    min: 1,
    default: 768,
    description: 'rows of a training batch',
  },
  microBatchSize: {
    official: 'micro_batch_size',
    type: 'integer',
    min: 0,
    default: 0,
    description:
      'rows computed at a time, a divisor of global_batch_size; gradients are summed before the update; 0 = all rows',
  },
  epochs: {
    official: 'epochs',
    type: 'integer',
    min: 1,
    default: 100000,
    description: 'passes over the groups of the training split; the schedule has int(epochs * examples / batch) steps',
  },
  evalInterval: {
    official: 'eval_interval',
    type: 'integer',
    min: 1,
    default: 10000,
    description: 'epochs between evaluations',
  },
  evalEverySteps: {
    official: 'eval_every_steps',
    type: 'integer',
    min: 0,
    default: 0,
    description: 'steps between evaluations instead of eval_interval; 0 = use eval_interval',
  },
  evalMaxExamples: {
    official: 'eval_max_examples',
    type: 'integer',
    min: 0,
    default: 0,
    description: 'examples of each set that an evaluation scores; 0 = all',
  },
  maxSteps: {
    official: 'max_steps',
    type: 'integer',
    min: 0,
    default: 0,
    description: 'steps after which the run ends, the schedule unchanged; 0 = the whole schedule',
  },
  validationGroups: {
    official: 'validation_groups',
    type: 'integer',
    min: 0,
    default: 0,
    description: 'groups held out of training, which evaluations during training score instead of the test split',
  },
  earlyStopPatience: {
    official: 'early_stop_patience',
    type: 'integer',
    min: 0,
    default: 0,
    description: 'evaluations without a better result after which the run ends; 0 = never',
  },
  epochsPerIter: {
    official: 'epochs_per_iter',
    type: 'integer',
    min: 0,
    default: 0,
    description:
      'epochs after which a partial batch is dropped, as the official loader does each eval_interval; 0 = only at the end',
  },
  logEvery: {
    official: 'log_every',
    type: 'integer',
    min: 1,
    default: 10,
    description: 'steps between step lines in metrics.jsonl',
  },
  lr: {
    official: 'lr',
    type: 'number',
    min: 0,
    default: 1e-4,
    description: 'learning rate of AdamATan2 after the warm-up',
  },
  lrMinRatio: {
    official: 'lr_min_ratio',
    type: 'number',
    min: 0,
    max: 1,
    default: 1,
    description: 'last learning rate of the cosine as a part of lr; 1 = constant',
  },
  lrWarmupSteps: {
    official: 'lr_warmup_steps',
    type: 'integer',
    min: 0,
    default: 2000,
    description: 'steps of linear warm-up',
  },
  beta1: {
    official: 'beta1',
    type: 'number',
    min: 0,
    max: 1,
    below: true,
    default: 0.9,
    description: 'decay of the first moment',
  },
  beta2: {
    official: 'beta2',
    type: 'number',
    min: 0,
    max: 1,
    below: true,
    default: 0.95,
    description: 'decay of the second moment',
  },
  weightDecay: {
    official: 'weight_decay',
    type: 'number',
    min: 0,
    default: 0.1,
    description: 'decoupled weight decay of every dense parameter, times lr',
  },
  puzzleEmbLr: {
    official: 'puzzle_emb_lr',
    type: 'number',
    min: 0,
    default: 1e-2,
    description: 'learning rate of the puzzle embeddings (SignSGD), same schedule',
  },
  puzzleEmbWeightDecay: {
    official: 'puzzle_emb_weight_decay',
    type: 'number',
    min: 0,
    default: 0.1,
    description: 'weight decay of the puzzle embeddings in the batch',
  },
  optimizer: {
    official: 'optimizer',
    type: 'choice',
    choices: ['adam_atan2', 'adam_atan2_inside'],
    default: 'adam_atan2',
    description:
      'adam_atan2: the official update, first-moment correction outside of atan2; adam_atan2_inside: the adam-atan2-pytorch form',
  },
  ema: {
    official: 'ema',
    type: 'number',
    min: 0,
    max: 1,
    below: true,
    default: 0,
    description: 'decay of the moving average of the weights; 0 = none',
  },
  emaWarmup: {
    official: 'ema_warmup',
    type: 'number',
    min: 0,
    default: 10,
    description: 'the decay of step t is min(ema, (1 + t) / (ema_warmup + t)); 0 = no warm-up',
  },
  onNonFinite: {
    official: 'on_non_finite',
    type: 'choice',
    choices: ['stop', 'skip'],
    default: 'stop',
    description:
      'what a NaN or an infinity in a loss or gradient does: end the run, or drop the update and reset the carry',
  },
  seed: {
    official: 'seed',
    type: 'integer',
    min: 0,
    max: Number.MAX_SAFE_INTEGER,
    default: 0,
    description: 'seed of data order and exploration, and with hrm train of the initial weights',
  },
}

/** Names and places; the official ones plus what a run folder needs. */
export const runFields: Fields<RunConfig> = {
  dataPath: { official: 'data_path', type: 'text', default: 'data/arc-aug-1000', description: 'dataset folder' },
  dataHash: { official: 'data_hash', type: 'text', default: '', description: 'SHA-256 of the dataset, recorded' },
  projectName: {
    official: 'project_name',
    type: 'text',
    default: '',
    description: 'recorded; by default from the name of the dataset folder',
  },
  runName: {
    official: 'run_name',
    type: 'text',
    default: '',
    description: 'recorded; names the run folder',
  },
  checkpointPath: {
    official: 'checkpoint_path',
    type: 'text',
    default: '',
    description: 'run folder',
  },
  checkpointEveryEval: {
    official: 'checkpoint_every_eval',
    type: 'boolean',
    default: true,
    description: 'recorded; a checkpoint is saved after each evaluation in any case',
  },
  checkpointEverySteps: {
    official: 'checkpoint_every_steps',
    type: 'integer',
    min: 0,
    default: 0,
    description: 'steps between checkpoints besides those at evaluations; 0 = about one in ten minutes',
  },
  checkpointKeep: {
    official: 'checkpoint_keep',
    type: 'integer',
    min: 1,
    default: 3,
    description: 'checkpoints kept besides latest and best',
  },
  archName: {
    official: 'arch.name',
    type: 'text',
    default: 'hrm.hrm_act_v1@HierarchicalReasoningModel_ACTV1',
    description: 'recorded name of the architecture',
  },
  lossName: {
    official: 'arch.loss.name',
    type: 'text',
    default: 'losses@ACTLossHead',
    description: 'recorded name of the loss head',
  },
  forwardDtype: {
    official: 'arch.forward_dtype',
    type: 'choice',
    choices: ['float32', 'bfloat16'],
    default: 'float32',
    description: 'dtype of the official forward pass, recorded; the device decides here',
  },
  evalSaveOutputs: {
    official: 'eval_save_outputs',
    type: 'texts',
    default: [],
    description: 'outputs that an evaluation saves; recorded, none are saved',
  },
}
