import { native, type NativeEngineOptions } from '../native.js'
import { type BenchPreset, segmentCase, solveCase, stepCase, trainCase } from './cases.js'
import type { Case } from './measure.js'

export const suiteNames = ['kernels', 'solve', 'train'] as const
export type SuiteName = (typeof suiteNames)[number]

/** What to time: every preset at every batch size. */
export interface SuiteOptions {
  presets: readonly BenchPreset[]
  batches: readonly number[]
  engine: NativeEngineOptions
  /** Without the steps of a training. */
  inferenceOnly: boolean
}

const combined = ({ presets, batches }: SuiteOptions, make: (preset: BenchPreset, batch: number) => Case[]) =>
  presets.flatMap((preset) => batches.flatMap((batch) => make(preset, batch)))

/** Backend steps in the order of a training step; those over a block's weights once a preset. */
function kernels({ presets, batches, engine, inferenceOnly }: SuiteOptions): Case[] {
  const steps = native.debug.timedSteps().filter(({ training }) => !(training && inferenceOnly))
  return presets.flatMap((preset) =>
    steps.flatMap(({ name, batched }) =>
      (batched ? batches : [null]).map((batch) => stepCase(preset, name, batch, engine)),
    ),
  )
}

/** The cases of `hrm bench kernels|solve|train`. */
export function suite(name: SuiteName, options: SuiteOptions): Case[] {
  const { engine } = options
  if (name === 'kernels') return kernels(options)
  if (name === 'train') return combined(options, (preset, batch) => [trainCase(preset, batch, engine)])
  return combined(options, (preset, batch) => [segmentCase(preset, batch, engine), solveCase(preset, batch, engine)])
}

/** The cases of `hrm bench` alone: the 27M model of the paper, then the presets people train on a CPU. */
export function overview(engine: NativeEngineOptions, inferenceOnly: boolean): Case[] {
  const training = (preset: BenchPreset, batch: number) => (inferenceOnly ? [] : [trainCase(preset, batch, engine)])
  return [
    segmentCase('paper', 1, engine),
    segmentCase('paper', 8, engine),
    segmentCase('paper', 32, engine),
    ...training('paper', 8),
    segmentCase('small', 32, engine),
    ...training('small', 32),
    segmentCase('tiny', 64, engine),
    ...training('tiny', 64),
  ]
}
