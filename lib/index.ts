export * as arc from './arc/index.js'
export {
  type ModelConfig,
  type ModelOptions,
  type PresetName,
  presetNames,
  type RunConfig,
  type TrainConfig,
} from './config.js'
export type { BuildProgress } from './dataset-build.js'
export type { SplitCounts } from './dataset-writer.js'
export {
  type Batch,
  Dataset,
  type DatasetMetadata,
  type DatasetSet,
  type Example as DatasetExample,
  type Split,
} from './dataset.js'
export {
  type CpuDevice,
  type DeviceInfo,
  type DeviceOptions,
  type GpuDevice,
  listDevices,
  type Precision,
} from './devices.js'
export type { Environment } from './environment.js'
export { type ErrorCode, errorCodes, HRMError } from './errors.js'
export type { EvalSets, Prediction, Weights } from './evaluate.js'
export type { LeakReport } from './leaks.js'
export { estimateMemory, type MemoryEstimate, type MemoryOptions, type MemoryParts } from './memory.js'
export type { EvalMetrics, TrainMetrics } from './metrics.js'
export {
  type CreateOptions,
  type EvaluateOptions,
  type Evaluation,
  HRM,
  type LoadOptions,
  type ModelRunOptions,
} from './model.js'
export type { Halting, SegmentsOptions, SegmentState, SolveOptions, SolveResult } from './solver.js'
export type { Example, IntegerArray, SolveInput } from './tokens.js'
export type { CheckpointOptions, TrainOptions } from './trainer.js'
export type {
  CheckpointEvent,
  EndEvent,
  EvalEvent,
  LogErrorEvent,
  SaveErrorEvent,
  StartEvent,
  StepEvent,
  TrainEvent,
  TrainRun,
} from './train-run.js'
export { type Task, type Verdict, verify } from './verify.js'
export type { ViewKind, ViewTask } from './views.js'
export type { Value, Vocabulary } from './vocabulary.js'
export type { VoteOptions, VotePick, VoteSummary } from './votes.js'
