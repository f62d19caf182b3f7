import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { type Config, type ModelConfig, resolveModelConfig } from '../config.js'
import type { Dataset } from '../dataset.js'
import { replaceFile } from '../durable-folder.js'
import { HRMError } from '../errors.js'
import { ioError } from '../mapped-file.js'
import { type ModelSource, modelSource, tensorBytes, type TensorFile } from '../model-source.js'
import { modelTensors, puzzleTable, startStates } from '../model-tensors.js'
import { fileContentError, shown } from './file-error.js'
import { configFile, encodeOfficialConfig, readOfficialConfig } from './official-config.js'
import { looksLikePyTorch, PyTorchFile } from './pytorch-file.js'
import { type PyTorchEntry, writePyTorch } from './pytorch-writer.js'

/** Lengths of the official tasks by vocabulary: Sudoku 9x9, Maze 30x30 and ARC 30x30. */
const officialLengths: ReadonlyMap<number, number> = new Map([
  [11, 81],
  [6, 900],
  [12, 900],
])

/** Where the sizes come from that neither the tensors nor the configuration hold. */
export interface ImportOptions {
  /** The official configuration. @default `all_config.yaml` beside the checkpoint */
  config?: string | undefined
  /** The dataset that it was trained on, or one of the same task. */
  dataset?: Pick<Dataset, 'dir' | 'seqLen' | 'vocabSize'> | undefined
  /** Tokens per sequence. */
  seqLen?: number | undefined
}

/** An official checkpoint, open for reading. */
export interface OfficialCheckpoint {
  source: ModelSource
  /** Keys of its configuration that mean nothing here. */
  ignored: string[]
  /** Where the length of sequences is from, in words. */
  lengthFrom: string
}

/** The PyTorch file of a folder that `hrm pull` or the official training left, or the path itself where it is a file. */
export function findPyTorchFile(path: string): string {
  let names: string[]
  try {
    if (!statSync(path).isDirectory()) return path
    names = readdirSync(path, { withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map(({ name }) => name)
  } catch (error) {
    throw ioError('read', path, error)
  }
  const found = names.sort().filter((name) => looksLikePyTorch(join(path, name)))
  if (found.length === 1) return join(path, found[0]!)
  const got = found.length === 0 ? 'none' : found.slice(0, 8).map(shown).join(', ')
  throw fileContentError('ERR_HRM_CHECKPOINT', path, 'one PyTorch file', got, 'name the file to read')
}

/** Tensors by the names of the model: prefixes of torch.compile and of the loss head are taken off. */
function withoutPrefixes(file: PyTorchFile): Map<string, { file: TensorFile; stored: string }> {
  const places = new Map<string, { file: TensorFile; stored: string }>()
  for (const stored of file.names()) {
    const name = stored.replace(/^(?:_orig_mod\.|model\.)+/, '')
    if (places.has(name))
      throw fileContentError(
        'ERR_HRM_CHECKPOINT',
        file.path,
        `one tensor ${shown(name)}`,
        'two',
        'check what was saved',
      )
    places.set(name, { file, stored })
  }
  return places
}

/** The rows of a tensor; undefined where it is absent or no matrix. */
function rowsOf(file: PyTorchFile, stored: string | undefined): number | undefined {
  if (stored === undefined) return undefined
  const { shape } = file.info(stored)
  return shape.length === 2 ? shape[0] : undefined
}

/** Completes a configuration with the sizes that the official code takes from the dataset. */
function withSizes(
  file: PyTorchFile,
  stored: (name: string) => string | undefined,
  config: Config,
  { dataset, seqLen }: ImportOptions,
): { model: ModelConfig; lengthFrom: string } {
  const { path } = file
  const unfit = (expected: string, got: string, remedy: string) =>
    fileContentError('ERR_HRM_CHECKPOINT', path, expected, got, remedy)
  const vocabSize = rowsOf(file, stored('inner.embed_tokens.embedding_weight'))
  if (vocabSize === undefined)
    throw unfit('the matrix inner.embed_tokens.embedding_weight', 'none', 'check that it is an HRM checkpoint')
  if (dataset !== undefined && dataset.vocabSize !== vocabSize)
    throw unfit(`a vocabulary of ${dataset.vocabSize}, as ${dataset.dir} has`, `${vocabSize}`, 'name its own dataset')
  const puzzles = rowsOf(file, stored(puzzleTable))
  const sized = { ...config.model, vocabSize, ...(puzzles === undefined ? {} : { numPuzzleIdentifiers: puzzles }) }
  const complete = (length: number) => {
    try {
      return resolveModelConfig({ ...sized, seqLen: length })
    } catch (error) {
      if (!(error instanceof HRMError) || error.code !== 'ERR_HRM_CONFIG') throw error
      throw new HRMError('ERR_HRM_CHECKPOINT', error.message, error.details, { cause: error })
    }
  }
  const told: [number | undefined, string][] = [
    [seqLen, '--seq-len'],
    [dataset?.seqLen, 'the dataset'],
    [config.model.seqLen, 'the configuration'],
    [config.model.posEncodings === 'learned' ? learnedLength(file, stored, complete(1)) : undefined, 'its positions'],
    [officialLengths.get(vocabSize), `the official task with a vocabulary of ${vocabSize}`],
  ]
  const [length, lengthFrom] = told.find(([value]) => value !== undefined) ?? []
  if (length === undefined || lengthFrom === undefined)
    throw unfit(
      'a vocabulary of 11, 6 or 12, as the official tasks have',
      `${vocabSize}`,
      'give --seq-len or --dataset',
    )
  return { model: complete(length), lengthFrom }
}

function learnedLength(
  file: PyTorchFile,
  stored: (name: string) => string | undefined,
  { puzzleEmbNdim, hiddenSize }: ModelConfig,
): number | undefined {
  const positions = rowsOf(file, stored('inner.embed_pos.embedding_weight'))
  const length = (positions ?? 0) - Math.ceil(puzzleEmbNdim / hiddenSize)
  return length > 0 ? length : undefined
}

/**
 * Opens a checkpoint of the official PyTorch training: a state dict (`step_N`) with `all_config.yaml` beside it. All of
 * the file is compared with its checksums, and every tensor with the configuration; nothing in it is run.
 *
 * @throws HRMError ERR_HRM_UNSAFE_PICKLE, ERR_HRM_CORRUPT, ERR_HRM_CHECKPOINT, ERR_HRM_IO
 */
export async function openOfficialCheckpoint(path: string, options: ImportOptions = {}): Promise<OfficialCheckpoint> {
  const found = findPyTorchFile(path)
  const file = await PyTorchFile.open(found)
  try {
    await file.verify()
    const places = withoutPrefixes(file)
    const stored = (name: string) => places.get(name)?.stored
    const { config, ignored } = await readOfficialConfig(options.config ?? join(dirname(found), configFile))
    const { model, lengthFrom } = withSizes(file, stored, config, options)
    return { source: modelSource(found, { ...config, model }, places), ignored, lengthFrom }
  } catch (error) {
    file.close()
    throw error
  }
}

/** Stored names begin with it: the official training saves the compiled model inside its loss head. */
const savedPrefix = '_orig_mod.model.'

/** The start states have the dtype of the forward pass, as the official code makes them; all else is float32. */
function officialEntries(source: ModelSource): PyTorchEntry[] {
  const half = source.config.run.forwardDtype === 'bfloat16'
  return modelTensors(source.config.model).map(({ name, shape }) => {
    const dtype = half && startStates.has(name) ? 'BF16' : 'F32'
    return { name: savedPrefix + name, shape, dtype, data: tensorBytes(source, { name, shape }, dtype) }
  })
}

/**
 * Writes a state dict that the official code loads, and `all_config.yaml` beside it. A state dict already there is
 * replaced in one step.
 *
 * @throws HRMError ERR_HRM_CHECKPOINT where the configuration of another model lies beside it; ERR_HRM_IO
 */
export async function writeOfficialCheckpoint(source: ModelSource, path: string): Promise<void> {
  const configPath = join(dirname(resolve(path)), configFile)
  const text = await encodeOfficialConfig(source.config)
  if (existsSync(configPath) && readFileSync(configPath, 'utf8') !== text) {
    const remedy = 'choose a folder of its own'
    throw fileContentError(
      'ERR_HRM_CHECKPOINT',
      configPath,
      'no file, or the same configuration',
      'another one',
      remedy,
    )
  }
  await replaceFile('convert', configPath, (handle) => handle.writeFile(text))
  await replaceFile('convert', path, (handle) => writePyTorch(handle, officialEntries(source)))
}
