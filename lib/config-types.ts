/** Sizes and constants of one model. Shape letters as in `core/shapes.h`: T = seqLen, V = vocabSize, D = hiddenSize. */
export interface ModelConfig {
  /** Distinct tokens, V, >= 1; that of the data. */
  vocabSize: number
  /** Tokens per sequence, T, >= 1; that of the data. */
  seqLen: number
  /**
   * Rows of the puzzle embedding table, with the blank row 0, >= 1; that of the data.
   * @default 1
   */
  numPuzzleIdentifiers: number
  /**
   * Width of a puzzle embedding, put before the tokens in ceil(width / D) positions; 0 = none.
   * @default hiddenSize
   */
  puzzleEmbNdim: number
  /**
   * Updates of the H-level module in a segment, >= 1.
   * @default 2
   */
  hCycles: number
  /**
   * Updates of the L-level module in an H-cycle, >= 1.
   * @default 2
   */
  lCycles: number
  /**
   * Transformer blocks of the H-level module, >= 1.
   * @default 4
   */
  hLayers: number
  /**
   * Transformer blocks of the L-level module, >= 1.
   * @default 4
   */
  lLayers: number
  /**
   * Width of the hidden states, D; a multiple of 2 * numHeads.
   * @default 512
   */
  hiddenSize: number
  /**
   * Attention heads, >= 1.
   * @default 8
   */
  numHeads: number
  /**
   * The SwiGLU inner size is expansion * D * 2/3, rounded up to a multiple of 256; > 0.
   * @default 4
   */
  expansion: number
  /**
   * How positions are told apart: rotary or learned.
   * @default 'rope'
   */
  posEncodings: 'rope' | 'learned'
  /**
   * Base of the rotary frequencies, > 0.
   * @default 10000
   */
  ropeTheta: number
  /**
   * Epsilon of RMSNorm, > 0.
   * @default 0.00001
   */
  rmsNormEps: number
  /**
   * Segments after which a sequence halts at the latest, >= 1.
   * @default 16
   */
  haltMaxSegments: number
  /**
   * Chance that training draws a minimum number of segments, 0 … 1.
   * @default 0.1
   */
  haltExplorationProb: number
  /**
   * Cross-entropy over the tokens.
   * @default 'stablemax_cross_entropy'
   */
  lossType: 'stablemax_cross_entropy' | 'softmax_cross_entropy'
  /**
   * Learn to halt without a continue target: a sequence halts where q_halt > 0, and a training step needs no second
   * forward (40 instead of 64 layer units). Source: Tiny Recursive Models, `no_ACT_continue`.
   * @default false
   */
  haltOnly: boolean
}

/** The training recipe: schedule, optimisers, evaluation. */
export interface TrainConfig {
  /**
   * Rows of a training batch, >= 1.
   * @default 768
   */
  globalBatchSize: number
  /**
   * Rows computed at a time, a divisor of `globalBatchSize`; their gradients are summed before the update, so that a
   * large batch fits a small memory. Every row keeps its carry. 0 = all rows at once.
   * @default 0
   */
  microBatchSize: number
  /**
   * Passes over the groups of the training split, >= 1; the schedule has int(epochs * examples / batch) steps.
   * @default 100000
   */
  epochs: number
  /**
   * Epochs between evaluations, >= 1.
   * @default 10000
   */
  evalInterval: number
  /**
   * Steps between evaluations instead of `evalInterval`; 0 = use `evalInterval`.
   * @default 0
   */
  evalEverySteps: number
  /**
   * Examples of each set that an evaluation scores; 0 = all.
   * @default 0
   */
  evalMaxExamples: number
  /**
   * Steps after which the run ends, the schedule unchanged; 0 = the whole schedule.
   * @default 0
   */
  maxSteps: number
  /**
   * Groups of the training split, drawn by the seed, that training never sees; evaluations during training score the
   * first puzzle of each instead of the test split. 0 = none.
   * @default 0
   */
  validationGroups: number
  /**
   * Evaluations in a row without a better `checkpoint.best` after which the run ends; 0 = never. The official README
   * advises to stop early by hand, as small training sets overfit until the loss becomes unstable.
   * @default 0
   */
  earlyStopPatience: number
  /**
   * Epochs after which a partial batch is dropped, as the official loader does each evaluation interval; 0 = only at the end.
   * @default 0
   */
  epochsPerIter: number
  /**
   * Steps between step lines in metrics.jsonl, >= 1.
   * @default 10
   */
  logEvery: number
  /**
   * Learning rate of AdamATan2 after the warm-up, >= 0.
   * @default 0.0001
   */
  lr: number
  /**
   * Last learning rate of the cosine as a part of `lr`, 0 … 1; 1 = constant.
   * @default 1
   */
  lrMinRatio: number
  /**
   * Steps of linear warm-up, >= 0.
   * @default 2000
   */
  lrWarmupSteps: number
  /**
   * Decay of the first moment, 0 <= beta1 < 1.
   * @default 0.9
   */
  beta1: number
  /**
   * Decay of the second moment, 0 <= beta2 < 1.
   * @default 0.95
   */
  beta2: number
  /**
   * Decoupled weight decay of every dense parameter, times the learning rate, >= 0.
   * @default 0.1
   */
  weightDecay: number
  /**
   * Learning rate of the puzzle embeddings (SignSGD), same schedule, >= 0.
   * @default 0.01
   */
  puzzleEmbLr: number
  /**
   * Weight decay of the puzzle embeddings in the batch, >= 0.
   * @default 0.1
   */
  puzzleEmbWeightDecay: number
  /**
   * The official update, first-moment correction outside of atan2, or the form of the package adam-atan2-pytorch.
   * @default 'adam_atan2'
   */
  optimizer: 'adam_atan2' | 'adam_atan2_inside'
  /**
   * Decay of the moving average of the weights, 0 <= ema < 1; 0 = none.
   * @default 0
   */
  ema: number
  /**
   * The decay of step t is min(ema, (1 + t) / (emaWarmup + t)), >= 0; 0 = no warm-up.
   * @default 10
   */
  emaWarmup: number
  /**
   * What a NaN or an infinity in the loss or a gradient does: end the run, or drop the update and reset the carry. A
   * weight that is not finite ends the run in any case, since no later update would mend it.
   * @default 'stop'
   */
  onNonFinite: 'stop' | 'skip'
  /**
   * Seed of data order and exploration, and with `hrm train` of the initial weights, 0 … 2^53 - 1.
   * @default 0
   */
  seed: number
}

/** Names and places of a run: recorded in checkpoints, without effect on the numbers. */
export interface RunConfig {
  /** Dataset folder. */
  dataPath: string
  /** SHA-256 of the dataset. */
  dataHash: string
  /** By default from the name of the dataset folder. */
  projectName: string
  /** Names the run folder. */
  runName: string
  /** Run folder. */
  checkpointPath: string
  /**
   * As official files have it; a checkpoint is saved after each evaluation in any case.
   * @default true
   */
  checkpointEveryEval: boolean
  /**
   * Steps between checkpoints besides those at evaluations; 0 = as `hrm train` chooses, about one in ten minutes.
   * @default 0
   */
  checkpointEverySteps: number
  /**
   * Checkpoints kept besides latest and best, >= 1.
   * @default 3
   */
  checkpointKeep: number
  /** Official name of the architecture. */
  archName: string
  /** Official name of the loss head. */
  lossName: string
  /**
   * Dtype of the official forward pass; here the device decides.
   * @default 'float32'
   */
  forwardDtype: 'float32' | 'bfloat16'
  /** Outputs that an official evaluation saves; none are saved here. */
  evalSaveOutputs: readonly string[]
}
