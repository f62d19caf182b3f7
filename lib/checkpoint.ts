import { createHash } from 'node:crypto'
import { readFile, stat } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { type Config, fromOfficial, type ModelConfig, resolveModelConfig, toOfficial } from './config.js'
import { sha256OfFile } from './dataset-files.js'
import { crc32c } from './crc32c.js'
import { exists, fileError, writeDurably } from './durable-folder.js'
import type { Engine } from './engine.js'
import { HRMError } from './errors.js'
import type { EvalSets, Weights } from './evaluate.js'
import type { TrainLoaderState } from './loader.js'
import { modelCard } from './model-card.js'
import type { NativeTensorInfo } from './native.js'
import { readPointer } from './run-folder.js'
import {
  formatCrc32c,
  piecesOf,
  readSafetensors,
  type SafetensorsEntry,
  type SafetensorsFile,
  writeSafetensors,
} from './safetensors.js'
import { parseStrictJson, type StrictJson } from './strict-json.js'
import { isFloat, itemSizes, toFloat32 } from './tensor-types.js'
import { encodeVocabulary, parseVocabulary, type Vocabulary, vocabularyFile } from './vocabulary.js'

const files = {
  config: 'config.json',
  model: 'model.safetensors',
  trainer: 'trainer.json',
  trainerTensors: 'trainer.safetensors',
  evaluation: 'eval.json',
  vocabulary: vocabularyFile,
  card: 'README.md',
  hashes: 'hash.json',
} as const

export const modelFile = files.model
export const trainerFile = files.trainerTensors

/** Marks our safetensors files; a folder with them must have `hash.json`. */
const format = { format: 'hrm-native/1' }

/** What resuming needs besides the tensors; the content of `trainer.json`. */
export interface TrainerRecord {
  /** Updates done. */
  step: number
  /** Length of the learning-rate schedule. */
  totalSteps: number
  loader: TrainLoaderState
  /** SHA-256 of the dataset. */
  datasetHash: string
  /** Whether the evaluation of this step was interrupted and is still to be done. */
  evaluationPending: boolean
  /** Absent in checkpoints of version 0.1.0, which could not stop early. */
  patience?: Patience
}

/** What decides on stopping early; evaluations outside of the schedule do not count, so that a pause changes nothing. */
export interface Patience {
  /** The best score, higher being better; null before the first one. */
  best: number | null
  /** Evaluations since. */
  since: number
}

/** Scores of a checkpoint; the content of `eval.json`. */
export interface EvaluationRecord {
  step: number
  sets: EvalSets
  /** With the averaged weights. */
  emaSets?: EvalSets
}

export interface CheckpointContent {
  config: Config
  trainer?: TrainerRecord | undefined
  evaluation?: EvaluationRecord | undefined
  /** What the tokens stand for, where the training data said so. */
  vocabulary?: Vocabulary | undefined
}

/** A checkpoint whose hashes were verified. */
export interface Checkpoint extends CheckpointContent {
  /** Full path of its folder. */
  dir: string
  model: ModelConfig
}

/** SHA-256 of each file but `hash.json`, and CRC-32C of each tensor by file. */
interface Hashes {
  sha256: Record<string, string>
  crc32c: Record<string, Record<string, string>>
}

/** `self` is the SHA-256 of the rest, so that damage to `hash.json` shows too. */
function encodeHashes({ sha256, crc32c }: Hashes): string {
  const body = { sha256, crc32c }
  const self = createHash('sha256').update(JSON.stringify(body)).digest('hex')
  return `${JSON.stringify({ ...body, self }, null, 1)}\n`
}

function corrupt(path: string, expected: string, found: string, details: Record<string, unknown>): HRMError {
  return new HRMError(
    'ERR_HRM_CORRUPT',
    `[load] expected ${expected} in ${path}, got ${found}; restore the file or use another checkpoint`,
    { path, ...details },
  )
}

function unfit(path: string, expected: string, found: string, details: Record<string, unknown> = {}): HRMError {
  return new HRMError('ERR_HRM_CHECKPOINT', `[load] expected ${expected} in ${path}, got ${found}`, {
    path,
    ...details,
  })
}

/** Objects with their keys as own properties, also `__proto__`. */
function plain(json: StrictJson): unknown {
  if (json instanceof Map) return Object.fromEntries([...json].map(([key, value]) => [key, plain(value)]))
  return Array.isArray(json) ? json.map(plain) : json
}

async function readStrictJsonFile(dir: string, name: string): Promise<StrictJson> {
  const path = join(dir, name)
  try {
    return parseStrictJson(await readFile(path, 'utf8'))
  } catch (error) {
    if (error instanceof SyntaxError) throw corrupt(path, 'JSON', error.message, { file: name, field: 'syntax' })
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') throw unfit(dir, name, 'no such file', { file: name })
    throw fileError('load', path, error)
  }
}

async function readJsonFile(dir: string, name: string): Promise<unknown> {
  return plain(await readStrictJsonFile(dir, name))
}

async function readVocabulary(dir: string): Promise<Vocabulary> {
  return parseVocabulary(await readStrictJsonFile(dir, files.vocabulary), (expected) => {
    throw unfit(join(dir, files.vocabulary), expected, 'something else', { file: files.vocabulary })
  })
}

/** The folder of a checkpoint: `dir` itself, or `latest` of a run folder. */
async function findCheckpoint(dir: string): Promise<string> {
  const path = resolve(dir)
  try {
    if (!(await exists(path))) throw unfit(path, 'a checkpoint or run folder', 'nothing')
    if (!(await stat(path)).isDirectory()) throw unfit(path, 'a folder', 'a file')
    if (await exists(join(path, files.config))) return path
    const latest = await readPointer(path, 'latest')
    if (latest !== undefined) return latest
  } catch (error) {
    throw fileError('load', path, error)
  }
  throw unfit(path, `${files.config}, or latest as a run folder has it`, 'neither', { file: files.config })
}

/** Names the tensor of a damaged safetensors file, or its header. */
async function findDamage(path: string, expected: Record<string, string>): Promise<string> {
  let file: SafetensorsFile
  try {
    file = await readSafetensors(path)
  } catch (error) {
    // Whatever its header seems to say: it is not what was saved.
    if (error instanceof HRMError && error.code !== 'ERR_HRM_IO') return 'header'
    throw error
  }
  try {
    for (const [name, crc] of Object.entries(expected)) {
      if (!file.has(name)) return 'header'
      if (formatCrc32c(crc32c(await file.readBytes(name))) !== crc) return name
    }
    return 'header'
  } finally {
    await file.close()
  }
}

/**
 * Compares every file of a checkpoint folder with `hash.json`.
 *
 * @returns the hashes, or undefined where an imported checkpoint has none
 * @throws ERR_HRM_CORRUPT naming the tensor, or the file and its part, that is damaged
 * @throws ERR_HRM_CHECKPOINT naming a file that is missing
 */
export async function verifyCheckpoint(dir: string): Promise<Hashes | undefined> {
  const hashPath = join(dir, files.hashes)
  if (!(await exists(hashPath))) {
    if (!(await exists(join(dir, files.model)))) throw unfit(dir, files.model, 'no such file', { file: files.model })
    const file = await readSafetensors(join(dir, files.model))
    await file.close()
    if (file.metadata.get('format') === format.format) {
      throw unfit(dir, files.hashes, 'no such file', { file: files.hashes })
    }
    return undefined
  }
  const damaged = (found: string) =>
    corrupt(hashPath, 'hashes as they were saved', found, { file: files.hashes, field: 'self' })
  const text = await readFile(hashPath, 'utf8')
  let hashes: Hashes
  try {
    hashes = plain(parseStrictJson(text)) as Hashes
    if (encodeHashes(hashes) !== text) throw damaged('a change')
  } catch (error) {
    if (error instanceof SyntaxError) throw damaged(error.message)
    throw error instanceof HRMError ? error : damaged('another structure')
  }
  for (const [name, expected] of Object.entries(hashes.sha256)) {
    const path = join(dir, name)
    if (!(await exists(path))) throw unfit(dir, name, 'no such file', { file: name })
    const found = await sha256OfFile(path)
    if (found === expected) continue
    const checksums = hashes.crc32c[name]
    if (checksums) {
      const part = await findDamage(path, checksums)
      if (part !== 'header')
        throw corrupt(path, `tensor ${part} as it was saved`, 'other bytes', { file: name, tensor: part })
      throw corrupt(path, 'the header as it was saved', 'other bytes', { file: name, field: 'header' })
    }
    if (name.endsWith('.json')) await readJsonFile(dir, name)
    throw corrupt(path, `SHA-256 ${expected}`, found, { file: name, field: 'sha256' })
  }
  return hashes
}

/**
 * Opens a checkpoint folder, or the `latest` of a run folder, and verifies all of its files.
 *
 * @throws ERR_HRM_CHECKPOINT, ERR_HRM_CORRUPT, ERR_HRM_CONFIG, ERR_HRM_IO
 */
export async function openCheckpoint(path: string): Promise<Checkpoint> {
  const dir = await findCheckpoint(path)
  try {
    const hashes = await verifyCheckpoint(dir)
    const config = fromOfficial(await readJsonFile(dir, files.config), join(dir, files.config))
    const has = (name: string) => hashes !== undefined && name in hashes.sha256
    return {
      dir,
      config,
      model: resolveModelConfig(config.model),
      trainer: has(files.trainer) ? ((await readJsonFile(dir, files.trainer)) as TrainerRecord) : undefined,
      evaluation: has(files.evaluation) ? ((await readJsonFile(dir, files.evaluation)) as EvaluationRecord) : undefined,
      vocabulary: has(files.vocabulary) ? await readVocabulary(dir) : undefined,
    }
  } catch (error) {
    throw fileError('load', dir, error)
  }
}

/**
 * SHA-256 over all state of a saved run: weights, puzzle embeddings, moments, averages, carry, position of the loader
 * and step. Equal for equal states, whatever the machine or the number of threads.
 *
 * @throws ERR_HRM_CHECKPOINT, ERR_HRM_CORRUPT
 */
export async function stateHash(path: string): Promise<string> {
  const dir = await findCheckpoint(path)
  const hashes = await verifyCheckpoint(dir)
  const state = [files.model, files.trainerTensors, files.trainer].map((name) => hashes?.sha256[name] ?? '')
  return createHash('sha256').update(state.join('\n')).digest('hex')
}

/** The tensor with its bytes watched: ERR_HRM_NON_FINITE where a value is a NaN or an infinity. */
function finite(entry: SafetensorsEntry): SafetensorsEntry {
  const { name, dtype, data } = entry
  if (!isFloat(dtype)) return entry
  const chunks = async function* () {
    for await (const chunk of ArrayBuffer.isView(data) ? piecesOf(data) : data.chunks()) {
      const { buffer, byteOffset, byteLength } = chunk
      const values =
        dtype === 'F64'
          ? new Float64Array(buffer as ArrayBuffer, byteOffset, byteLength / itemSizes.F64)
          : toFloat32(dtype, chunk)
      // Only a NaN or an infinity less itself is not zero, but a NaN, which stays in the sum.
      let zero = 0
      for (let i = 0; i < values.length; i++) zero += values[i]! - values[i]!
      if (zero !== 0) {
        throw new HRMError(
          'ERR_HRM_NON_FINITE',
          `[save] expected finite values in ${name}, got a NaN or an infinity; do go on from an earlier checkpoint`,
          { tensor: name },
        )
      }
      yield chunk
    }
  }
  return { ...entry, data: { byteLength: data.byteLength, chunks } }
}

/** Writes the files of a checkpoint into an empty folder, each forced to the disk, and last their hashes. */
class CheckpointWriter {
  readonly #dir: string
  readonly #hashes: Hashes = { sha256: {}, crc32c: {} }

  constructor(dir: string) {
    this.#dir = dir
  }

  async tensors(name: string, entries: readonly SafetensorsEntry[]): Promise<void> {
    await writeDurably(join(this.#dir, name), async (handle) => {
      const { sha256, crc32c: checksums } = await writeSafetensors(handle, entries.map(finite), format)
      this.#hashes.sha256[name] = sha256
      this.#hashes.crc32c[name] = Object.fromEntries(checksums)
    })
  }

  async text(name: string, body: string): Promise<void> {
    await writeDurably(join(this.#dir, name), (handle) => handle.writeFile(body))
    this.#hashes.sha256[name] = createHash('sha256').update(body).digest('hex')
  }

  json(name: string, value: object): Promise<void> {
    return this.text(name, `${JSON.stringify(value, null, 2)}\n`)
  }

  end(): Promise<void> {
    return writeDurably(join(this.#dir, files.hashes), (handle) => handle.writeFile(encodeHashes(this.#hashes)))
  }
}

async function readTensors(engine: Engine, infos: readonly NativeTensorInfo[]): Promise<SafetensorsEntry[]> {
  const entries = []
  for (const info of infos) {
    const data = await engine.call('save', (native) => native.read(info.name))
    entries.push({ ...info, data })
  }
  return entries
}

/**
 * The trainer's tensors. Rows of the carry that have halted start anew before they are read again, as all do after a
 * step that was not finite: they are saved as zeros.
 */
async function readTrainerTensors(engine: Engine): Promise<SafetensorsEntry[]> {
  const entries = await readTensors(engine, await engine.call('save', (native) => native.trainerTensors()))
  const named = new Map(entries.map(({ name, data }) => [name, data]))
  const halted = named.get('carry.halted') as Uint8Array
  for (const name of ['carry.z_H', 'carry.z_L']) {
    const states = named.get(name) as Float32Array | Float64Array
    const width = states.length / halted.length
    halted.forEach((flag, row) => flag && states.fill(0, row * width, (row + 1) * width))
  }
  return entries
}

/** Bytes of the tensors of a checkpoint, the rest of which is small. */
export async function checkpointBytes(engine: Engine, withTrainer: boolean): Promise<number> {
  const items = { F32: 4, F64: 8, I32: 4, U8: 1 }
  const tensors = await engine.call('save', (native) => [
    ...native.modelTensors(),
    ...(withTrainer ? native.trainerTensors() : []),
  ])
  return tensors.reduce((sum, { dtype, shape }) => sum + shape.reduce((n, extent) => n * extent, items[dtype]), 0)
}

/**
 * Writes the files of a checkpoint into an empty folder, each forced to the disk. With `trainer` the state of the
 * training in progress is written too.
 *
 * @throws ERR_HRM_NON_FINITE naming a tensor with a NaN or an infinity, ERR_HRM_IO
 */
export async function fillCheckpoint(dir: string, engine: Engine, content: CheckpointContent): Promise<void> {
  const writer = new CheckpointWriter(dir)
  const modelTensors = await engine.call('save', (native) => native.modelTensors())
  await writer.json(files.config, toOfficial(content.config))
  await writer.tensors(files.model, await readTensors(engine, modelTensors))
  if (content.trainer) {
    await writer.tensors(files.trainerTensors, await readTrainerTensors(engine))
    await writer.json(files.trainer, content.trainer)
  }
  if (content.evaluation) await writer.json(files.evaluation, content.evaluation)
  if (content.vocabulary) await writer.text(files.vocabulary, encodeVocabulary(content.vocabulary))
  await writer.text(files.card, modelCard(content, modelTensors))
  await writer.end()
}

/**
 * Writes the files of a checkpoint without trainer state into an empty folder, from the model's tensors in order.
 *
 * @param card - text of README.md, @default one that describes the model
 */
export async function fillImportedCheckpoint(
  dir: string,
  content: Pick<CheckpointContent, 'config' | 'vocabulary'>,
  tensors: readonly SafetensorsEntry[],
  card?: string,
): Promise<void> {
  const writer = new CheckpointWriter(dir)
  await writer.json(files.config, toOfficial(content.config))
  await writer.tensors(files.model, tensors)
  if (content.vocabulary) await writer.text(files.vocabulary, encodeVocabulary(content.vocabulary))
  await writer.text(files.card, card ?? modelCard(content, tensors))
  await writer.end()
}

/** Whether a folder may be replaced by a checkpoint: it is one. */
export async function isCheckpoint(dir: string): Promise<boolean> {
  return (await exists(join(dir, files.config))) && (await exists(join(dir, files.model)))
}

/** Copies tensors of a file into the engine; `prefix` stands before their names in the file only. */
async function loadTensors(engine: Engine, file: SafetensorsFile, infos: readonly NativeTensorInfo[], prefix = '') {
  for (const { name, dtype, shape } of infos) {
    const stored = prefix + name
    const found = file.info(stored)
    if (found.shape.length !== shape.length || found.shape.some((extent, axis) => extent !== shape[axis])) {
      throw unfit(file.path, `tensor ${stored} of shape [${shape.join(', ')}]`, `[${found.shape.join(', ')}]`, {
        tensor: stored,
      })
    }
    if (dtype === 'I32' || dtype === 'U8') {
      if (found.dtype !== dtype)
        throw unfit(file.path, `tensor ${stored} of dtype ${dtype}`, found.dtype, { tensor: stored })
      const values = (await file.read(stored)) as Int32Array | Uint8Array
      await engine.call('load', (native) => native.write(name, values))
      continue
    }
    const values = found.dtype === 'F64' ? ((await file.read(stored)) as Float64Array) : await file.readFloat32(stored)
    const fitting =
      dtype === 'F64'
        ? values instanceof Float64Array
          ? values
          : Float64Array.from(values)
        : values instanceof Float32Array
          ? values
          : Float32Array.from(values)
    await engine.call('load', (native) => native.write(name, fitting))
  }
}

/** Refuses tensors that the model does not have. */
function checkNames(file: SafetensorsFile, infos: readonly NativeTensorInfo[]): void {
  const known = new Set(infos.map(({ name }) => name))
  const extra = file.names().find((name) => !known.has(name))
  if (extra === undefined) return
  throw unfit(file.path, 'only tensors of the model that config.json describes', `tensor ${extra}`, { tensor: extra })
}

/** Prefix of the averaged weights among the trainer's tensors. */
export const emaPrefix = 'ema.'

/** The averaged weights where the run had them. */
export function defaultWeights({ trainer, config }: Checkpoint): Weights {
  return trainer !== undefined && (config.train.ema ?? 0) > 0 ? 'ema' : 'raw'
}

/**
 * Copies the weights of a checkpoint into an engine of the same model.
 *
 * @throws ERR_HRM_CHECKPOINT for a missing or misshapen tensor, or averaged weights it does not have
 */
export async function loadWeights(engine: Engine, checkpoint: Checkpoint, weights: Weights): Promise<void> {
  const infos = await engine.call('load', (native) => native.modelTensors())
  const model = await readSafetensors(join(checkpoint.dir, files.model))
  try {
    checkNames(model, infos)
    await loadTensors(engine, model, infos)
  } finally {
    await model.close()
  }
  if (weights === 'raw') return
  if (!checkpoint.trainer)
    throw unfit(checkpoint.dir, files.trainerTensors, 'no such file', { file: files.trainerTensors })
  const trainer = await readSafetensors(join(checkpoint.dir, files.trainerTensors))
  try {
    const averaged = infos.filter(({ name }) => trainer.has(emaPrefix + name))
    if (averaged.length === 0) throw unfit(trainer.path, 'averaged weights', 'none: the run had no ema')
    await loadTensors(engine, trainer, averaged, emaPrefix)
  } finally {
    await trainer.close()
  }
}

/** Copies the trainer's tensors of a checkpoint into an engine that trains with the same options. */
export async function loadTrainer(engine: Engine, checkpoint: Checkpoint): Promise<void> {
  const infos = await engine.call('load', (native) => native.trainerTensors())
  const file = await readSafetensors(join(checkpoint.dir, files.trainerTensors))
  try {
    checkNames(file, infos)
    await loadTensors(engine, file, infos)
  } finally {
    await file.close()
  }
}
