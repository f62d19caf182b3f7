import { join } from 'node:path'
import type { Test } from 'tap'
import type { ModelOptions } from '#dist/config.js'
import { Dataset } from '#dist/dataset.js'
import { npy, writeSplit } from '../data/fixtures.js'

/** A model that takes a millisecond per segment. */
export const tiny = {
  vocabSize: 7,
  seqLen: 5,
  numPuzzleIdentifiers: 3,
  hiddenSize: 16,
  numHeads: 2,
  hLayers: 1,
  lLayers: 1,
  haltMaxSegments: 4,
} as const satisfies ModelOptions

/** What the tiny dataset teaches: each token becomes another one. */
const answer = [0, 3, 4, 5, 6, 1, 2]

/** `count` different examples of `tiny` tokens 1…6; `from` keeps two splits apart. */
export function examples(count: number, from = 0): number[][] {
  return Array.from({ length: count }, (_, i) =>
    Array.from({ length: tiny.seqLen }, (_, at) => 1 + (Math.floor(((from + i) * 2654435761) / 6 ** at) % 6)),
  )
}

function split(inputs: number[][]): Record<string, Uint8Array | string> {
  const { seqLen } = tiny
  const shape = [inputs.length, seqLen]
  const ends = Array.from({ length: inputs.length + 1 }, (_, i) => i)
  return {
    'dataset.json': JSON.stringify({
      pad_id: 0,
      ignore_label_id: 0,
      blank_identifier_id: 0,
      vocab_size: tiny.vocabSize,
      seq_len: seqLen,
      num_puzzle_identifiers: tiny.numPuzzleIdentifiers,
      total_groups: inputs.length,
      mean_puzzle_examples: 1,
      sets: ['all'],
    }),
    'all__inputs.npy': npy('|u1', shape, inputs.flat()),
    'all__labels.npy': npy(
      '|u1',
      shape,
      inputs.flat().map((token) => answer[token]!),
    ),
    'all__puzzle_identifiers.npy': npy(
      '<i4',
      [inputs.length],
      inputs.map((_, i) => i % tiny.numPuzzleIdentifiers),
    ),
    'all__puzzle_indices.npy': npy('<i4', [ends.length], ends),
    'all__group_indices.npy': npy('<i4', [ends.length], ends),
  }
}

/** Opens a dataset of `train` and `test` examples in the test's folder, which is emptied for the first. */
export async function tinyDataset(t: Test, { train = 24, test = 7, name = 'data' } = {}): Promise<Dataset> {
  const dir = join(name === 'data' ? t.testdir() : t.testdirName, name)
  writeSplit(dir, 'train', split(examples(train)))
  if (test > 0) writeSplit(dir, 'test', split(examples(test, 1000)))
  const dataset = await Dataset.open(dir)
  t.teardown(() => dataset.close())
  return dataset
}

/** A recipe of 24 steps for the tiny dataset. */
export const recipe = {
  globalBatchSize: 8,
  epochs: 8,
  evalInterval: 100,
  lr: 1e-2,
  lrWarmupSteps: 4,
  puzzleEmbLr: 1e-2,
  weightDecay: 0.1,
  logEvery: 1,
} as const

/** What a promise rejects with; undefined where it resolves. */
export async function rejection(
  promise: Promise<unknown>,
): Promise<{ code?: string; message: string; details?: Record<string, unknown> }> {
  try {
    await promise
  } catch (error) {
    return error as { code?: string; message: string }
  }
  throw new Error('expected a rejection, got success')
}
