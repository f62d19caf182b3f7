import { join } from 'node:path'
import { defaultWeights, emaPrefix, modelFile, openCheckpoint, trainerFile } from './checkpoint.js'
import type { Config, ModelConfig } from './config.js'
import { HRMError } from './errors.js'
import type { Weights } from './evaluate.js'
import { modelTensors, type TensorShape } from './model-tensors.js'
import { readSafetensors, type SafetensorsInfo, type TensorBytes } from './safetensors.js'
import { isFloat, itemSizes, toBfloat16, toFloat32 } from './tensor-types.js'
import type { Vocabulary } from './vocabulary.js'

/** Bytes of float32 given out at once. */
const CHUNK_BYTES = 2 ** 20

/** A file of named tensors. */
export interface TensorFile {
  readonly path: string
  names(): string[]
  has(name: string): boolean
  info(name: string): SafetensorsInfo
  /** Bytes `begin` to `end` of a tensor, row-major; valid until the next call. */
  readRange(name: string, begin: number, end: number): Uint8Array | Promise<Uint8Array>
  close(): void | Promise<void>
}

/** The tensors of one model as float32, read on demand, wherever they are stored. */
export interface ModelSource {
  readonly path: string
  /** Model, recipe and run; the model is complete. */
  readonly config: Config & { model: ModelConfig }
  /** What the tokens stand for, where it is known. */
  readonly vocabulary?: Vocabulary | undefined
  /** Elements `begin` to `end` of a tensor in row-major order; valid until the next call. */
  read(name: string, begin: number, end: number): Promise<Float32Array>
  close(): Promise<void>
}

/** All of a tensor as it is or rounded to bfloat16, piece by piece. */
export function tensorBytes(source: ModelSource, { name, shape }: TensorShape, dtype: 'F32' | 'BF16'): TensorBytes {
  const count = shape.reduce((product, extent) => product * extent, 1)
  const perChunk = CHUNK_BYTES / itemSizes.F32
  return {
    byteLength: count * itemSizes[dtype],
    async *chunks() {
      for (let begin = 0; begin < count; begin += perChunk) {
        const values = await source.read(name, begin, Math.min(begin + perChunk, count))
        const { buffer, byteOffset, byteLength } = dtype === 'F32' ? values : toBfloat16(values)
        yield new Uint8Array(buffer, byteOffset, byteLength)
      }
    },
  }
}

/** Elements of a stored tensor as float32. */
export async function readFloat32(file: TensorFile, name: string, begin: number, end: number): Promise<Float32Array> {
  const { dtype } = file.info(name)
  if (!isFloat(dtype)) throw unfit(file.path, `a floating-point tensor ${name}`, dtype)
  const itemSize = itemSizes[dtype]
  const bytes = await file.readRange(name, begin * itemSize, end * itemSize)
  return toFloat32(dtype, bytes.byteOffset % itemSize === 0 ? bytes : bytes.slice())
}

/** Where each tensor of a model is stored: its file and its name there. */
export type TensorPlaces = ReadonlyMap<string, { file: TensorFile; stored: string }>

function unfit(path: string, expected: string, got: string): HRMError {
  return new HRMError('ERR_HRM_CHECKPOINT', `[load] expected ${expected} in ${path}, got ${got}`, { path })
}

/**
 * A model whose tensors are at `places`, which is checked against the shapes of its configuration.
 *
 * @throws HRMError ERR_HRM_CHECKPOINT naming the tensor that is missing, left over, misshapen or of another kind
 */
export function modelSource(path: string, config: Config & { model: ModelConfig }, places: TensorPlaces): ModelSource {
  const expected = new Map(modelTensors(config.model).map(({ name, shape }) => [name, shape]))
  const extra = [...places.keys()].find((name) => !expected.has(name))
  if (extra !== undefined) throw unfit(path, 'only tensors of the configured model', `tensor ${extra.slice(0, 200)}`)
  for (const [name, shape] of expected) {
    const place = places.get(name)
    if (place === undefined) throw unfit(path, `tensor ${name}`, 'none')
    const found = place.file.info(place.stored)
    if (found.shape.length !== shape.length || found.shape.some((extent, axis) => extent !== shape[axis]))
      throw unfit(path, `tensor ${name} of shape [${shape.join(', ')}]`, `[${found.shape.join(', ').slice(0, 200)}]`)
    if (!isFloat(found.dtype)) throw unfit(path, `a floating-point tensor ${name}`, found.dtype)
  }
  return {
    path,
    config,
    read(name, begin, end) {
      const { file, stored } = places.get(name)!
      return readFloat32(file, stored, begin, end)
    },
    async close() {
      for (const file of new Set([...places.values()].map(({ file }) => file))) await file.close()
    },
  }
}

/**
 * The tensors of a checkpoint folder, or of the `latest` of a run folder, whose files are verified.
 *
 * @param weights - the trained ones or their averages
 * @default the averages where there are some
 * @throws HRMError ERR_HRM_CHECKPOINT, ERR_HRM_CORRUPT, ERR_HRM_CONFIG, ERR_HRM_IO
 */
export async function openCheckpointSource(
  path: string,
  weights?: Weights,
): Promise<{ source: ModelSource; weights: Weights }> {
  const checkpoint = await openCheckpoint(path)
  const { dir, config, model, trainer, vocabulary } = checkpoint
  const used = weights ?? defaultWeights(checkpoint)
  if (used === 'ema' && trainer === undefined) throw unfit(dir, trainerFile, 'no such file')
  const files: TensorFile[] = []
  try {
    const own = await readSafetensors(join(dir, modelFile))
    files.push(own)
    const places = new Map<string, { file: TensorFile; stored: string }>(
      own.names().map((name) => [name, { file: own, stored: name }]),
    )
    if (used === 'ema') {
      const averages = await readSafetensors(join(dir, trainerFile))
      files.push(averages)
      const names = averages.names().filter((name) => name.startsWith(emaPrefix))
      if (names.length === 0) throw unfit(averages.path, 'averaged weights', 'none: the run had no ema')
      for (const stored of names) places.set(stored.slice(emaPrefix.length), { file: averages, stored })
    }
    const source = modelSource(dir, { ...config, model }, places)
    return { source: { ...source, vocabulary }, weights: used }
  } catch (error) {
    for (const file of files) await file.close()
    throw error
  }
}
