import { statSync } from 'node:fs'
import { join } from 'node:path'
import { fillImportedCheckpoint, isCheckpoint } from './checkpoint.js'
import { Dataset } from './dataset.js'
import { readIdentifiers } from './dataset-files.js'
import { exists, writeFolder } from './durable-folder.js'
import { argumentError, HRMError } from './errors.js'
import type { Weights } from './evaluate.js'
import { type ModelSource, openCheckpointSource, tensorBytes } from './model-source.js'
import { modelTensors } from './model-tensors.js'
import { matchPuzzles, withPuzzles } from './puzzle-match.js'
import { configFile } from './pytorch/official-config.js'
import { openOfficialCheckpoint, writeOfficialCheckpoint } from './pytorch/official-checkpoint.js'

/** How a checkpoint is read and what of it is kept. */
export interface ConvertOptions {
  /**
   * Of a checkpoint folder: the trained weights or their moving averages.
   * @default 'ema' for a checkpoint of a run with ema, else 'raw'
   */
  weights?: Weights | undefined
  /** Of a PyTorch checkpoint: its configuration. @default `all_config.yaml` beside it */
  config?: string | undefined
  /** Dataset folder that the model is to serve. */
  dataset?: string | undefined
  /** Of a PyTorch checkpoint: tokens per sequence. @default from its configuration, the dataset or the official task */
  seqLen?: number | undefined
  /** `identifiers.json` of the dataset that the puzzle embeddings were trained on, to match them with `dataset` by name. */
  identifiersFrom?: string | undefined
  /** Of a checkpoint folder that is written: how its values are stored. @default 'fp32' */
  dtype?: keyof typeof storedTypes | undefined
  /** Of a checkpoint folder that is written: the text of its README.md. @default one that describes the model */
  card?: string | undefined
}

/** Names of dtypes in safetensors files. */
const storedTypes = { fp32: 'F32', bf16: 'BF16' } as const

/** What was read and how. */
export interface ConvertSummary {
  /** Which weights; those of a PyTorch file are `raw`. */
  weights: Weights
  /** Of a PyTorch checkpoint: where the length of sequences is from, in words. */
  seqLenFrom?: string
  /** Of a PyTorch checkpoint: keys of its configuration that mean nothing here. */
  ignoredKeys?: string[]
  /** With `identifiersFrom`: puzzles by what became of their embedding. */
  puzzles?: { matched: number; new: number; dropped: number }
}

/** Whether a path is a checkpoint of the official training: a file, or a folder with its configuration. */
async function isOfficial(path: string): Promise<boolean> {
  if (!(await exists(path))) return false
  return !statSync(path).isDirectory() || (await exists(join(path, configFile)))
}

async function openSource(
  input: string,
  options: ConvertOptions,
  dataset: Dataset | undefined,
): Promise<{ source: ModelSource; summary: ConvertSummary }> {
  if (!(await isOfficial(input))) {
    if (options.seqLen !== undefined || options.config !== undefined)
      throw argumentError(`[convert] expected config and seqLen with a PyTorch checkpoint only, got ${input}`)
    const { source, weights } = await openCheckpointSource(input, options.weights)
    return { source, summary: { weights } }
  }
  if (options.weights === 'ema')
    throw argumentError(`[convert] expected averaged weights of a checkpoint folder, got the PyTorch file ${input}`)
  const { source, ignored, lengthFrom } = await openOfficialCheckpoint(input, { ...options, dataset })
  return { source, summary: { weights: 'raw', seqLenFrom: lengthFrom, ignoredKeys: ignored } }
}

/** The model with its puzzle embeddings as the dataset numbers them. */
function serve(
  source: ModelSource,
  dataset: Dataset,
  identifiersFrom: string | undefined,
): { source: ModelSource; puzzles?: NonNullable<ConvertSummary['puzzles']> } {
  if (identifiersFrom === undefined) {
    const { numPuzzleIdentifiers } = source.config.model
    if (dataset.numPuzzleIdentifiers <= numPuzzleIdentifiers) return { source }
    throw new HRMError(
      'ERR_HRM_DATASET',
      `[convert] expected at most ${numPuzzleIdentifiers} puzzle identifiers, as the checkpoint has, got ` +
        `${dataset.numPuzzleIdentifiers} in ${dataset.dir}; do give --identifiers-from with the identifiers.json of its own dataset`,
      { expected: numPuzzleIdentifiers, found: dataset.numPuzzleIdentifiers },
    )
  }
  const newPath = join(dataset.dir, 'identifiers.json')
  const oldNames = readIdentifiers(identifiersFrom)
  const newNames = readIdentifiers(newPath)
  if (newNames.length !== dataset.numPuzzleIdentifiers) {
    throw new HRMError(
      'ERR_HRM_DATASET',
      `[convert] expected ${dataset.numPuzzleIdentifiers} names in ${newPath}, as dataset.json says, got ${newNames.length}`,
      { path: newPath },
    )
  }
  const match = matchPuzzles(oldNames, identifiersFrom, newNames, newPath)
  const { matched, added, dropped } = match
  return { source: withPuzzles(source, oldNames, identifiersFrom, match), puzzles: { matched, new: added, dropped } }
}

async function convert(
  input: string,
  options: ConvertOptions,
  write: (source: ModelSource) => Promise<void>,
): Promise<ConvertSummary> {
  const { dataset: datasetPath, identifiersFrom } = options
  if (identifiersFrom !== undefined && datasetPath === undefined)
    throw argumentError('[convert] expected a dataset with identifiersFrom, got none; name the new dataset')
  const dataset = datasetPath === undefined ? undefined : await Dataset.open(datasetPath)
  try {
    const { source, summary } = await openSource(input, options, dataset)
    try {
      if (dataset === undefined) {
        await write(source)
        return summary
      }
      const { source: served, puzzles } = serve(source, dataset, identifiersFrom)
      await write({ ...served, vocabulary: dataset.vocabulary() ?? served.vocabulary })
      return puzzles === undefined ? summary : { ...summary, puzzles }
    } finally {
      await source.close()
    }
  } finally {
    dataset?.close()
  }
}

/**
 * Makes a checkpoint folder, without trainer state, of a checkpoint of the official PyTorch training or of another
 * folder. A checkpoint already at `output` is replaced.
 *
 * @param input - PyTorch file or folder with one; checkpoint or run folder
 * @throws HRMError ERR_HRM_UNSAFE_PICKLE, ERR_HRM_CORRUPT, ERR_HRM_CHECKPOINT, ERR_HRM_DATASET, ERR_HRM_IO;
 * ERR_HRM_ARGUMENT for options that do not fit the input
 */
export async function convertToFolder(input: string, output: string, options: ConvertOptions): Promise<ConvertSummary> {
  if ((await exists(output)) && !(await isCheckpoint(output)))
    throw new HRMError('ERR_HRM_CHECKPOINT', `[convert] expected a new folder or a checkpoint, got ${output}`, {
      path: output,
    })
  const dtype = storedTypes[options.dtype ?? 'fp32']
  return convert(input, options, (source) =>
    writeFolder('convert', output, (dir) => {
      const entries = modelTensors(source.config.model).map((tensor) => ({
        ...tensor,
        dtype,
        data: tensorBytes(source, tensor, dtype),
      }))
      return fillImportedCheckpoint(dir, source, entries, options.card)
    }),
  )
}

/**
 * Writes a checkpoint as a PyTorch file that the official code loads, with `all_config.yaml` beside it.
 *
 * @throws as convertToFolder()
 */
export async function convertToPyTorch(
  input: string,
  output: string,
  options: ConvertOptions,
): Promise<ConvertSummary> {
  if (options.dtype !== undefined || options.card !== undefined)
    throw argumentError(`[convert] expected dtype and card with a checkpoint folder only, got ${output}`)
  return convert(input, options, (source) => writeOfficialCheckpoint(source, output))
}
