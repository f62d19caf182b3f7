import type { ModelConfig } from '../config.js'
import type { Dataset } from '../dataset.js'
import type { HRM } from '../model.js'

/** Rows of the timed segments at most. */
const MAX_ROWS = 8
/** The first one also packs the weights. */
const TIMED_SEGMENTS = 2

/**
 * Work of a training step in forward segments: one with gradient, one for the target of q_continue where it has one,
 * and a backward of twice the work of its forward through the last L and H update.
 */
export function segmentsPerStep({ hCycles, lCycles, hLayers, lLayers, haltOnly }: ModelConfig): number {
  return (haltOnly ? 1 : 2) + (2 * (hLayers + lLayers)) / (hCycles * (lCycles * lLayers + hLayers))
}

/** Seconds that a training step will take, from the time of two segments over a few rows. */
export async function estimateStepSeconds(model: HRM, dataset: Dataset, batchSize: number): Promise<number> {
  const split = dataset.splits[0]!
  const set = dataset.sets(split)[0]!
  const rows = Math.min(MAX_ROWS, batchSize, set.numExamples)
  const inputs = Array.from({ length: rows }, (_, row) => dataset.example(split, set.name, row).inputs)
  const begin = performance.now()
  await model.solve(inputs, { maxSegments: TIMED_SEGMENTS })
  const seconds = (performance.now() - begin) / 1000 / TIMED_SEGMENTS
  return (seconds / rows) * batchSize * segmentsPerStep(model.config)
}
