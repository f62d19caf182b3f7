import { createHash } from 'node:crypto'
import { constants } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { setImmediate as yieldToEventLoop } from 'node:timers/promises'
import { crc32c } from './crc32c.js'
import { argumentError, HRMError } from './errors.js'
import { ioError } from './mapped-file.js'
import { parseStrictJson, type StrictJson } from './strict-json.js'
import { isFloat, itemSizes, toFloat32 } from './tensor-types.js'

export type SafetensorsDtype = keyof typeof itemSizes

export interface SafetensorsInfo {
  dtype: SafetensorsDtype
  shape: readonly number[]
}

/** What `read` returns: F16 and BF16 as their bit patterns, BOOL as 0 and 1. */
export type TensorArray = Float64Array | Float32Array | Uint16Array | BigInt64Array | Int32Array | Uint8Array

/** Longest header accepted, the limit of the reference implementation. */
const MAX_HEADER_BYTES = 100_000_000

/** Bytes hashed or converted before the event loop gets its turn: about 2 ms. */
const CHUNK_BYTES = 2 ** 20

/** Longest single read: one system call transfers below 2^31 bytes. */
const MAX_READ_BYTES = 2 ** 30

interface Entry extends SafetensorsInfo {
  /** First byte in the file. */
  start: number
  sizeBytes: number
}

function corrupt(path: string, expected: string, got: string, details: Record<string, unknown> = {}): HRMError {
  const message = `[safetensors] expected ${expected}, got ${got} in ${path}; do fetch or save the file again`
  return new HRMError('ERR_HRM_CORRUPT', message, { path, ...details })
}

function quote(value: unknown): string {
  if (value === undefined) return 'nothing'
  return (JSON.stringify(value instanceof Map ? Object.fromEntries(value) : value) ?? String(value)).slice(0, 80)
}

function isSize(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0
}

/** Checks one entry of the header; offsets are relative to the data, which start at `dataStart`. */
function parseEntry(path: string, name: string, json: StrictJson, dataStart: number): Entry {
  const fail = (expected: string, got: unknown): never => {
    throw corrupt(path, `${expected} for tensor ${quote(name)}`, quote(got), { tensor: name })
  }
  if (!(json instanceof Map)) return fail('an object', json)
  for (const key of json.keys())
    if (!['dtype', 'shape', 'data_offsets'].includes(key)) fail('dtype, shape and data_offsets', key)
  const dtype = json.get('dtype')
  const shape = json.get('shape')
  const offsets = json.get('data_offsets')
  if (typeof dtype !== 'string') return fail('dtype to be a string', dtype)
  if (!Object.hasOwn(itemSizes, dtype)) {
    const message = `[safetensors] expected dtype ${Object.keys(itemSizes).join(', ')} of tensor ${quote(name)}, got ${quote(dtype)} in ${path}; do convert the tensor`
    throw new HRMError('ERR_HRM_CHECKPOINT', message, { path, tensor: name })
  }
  if (!Array.isArray(shape) || !shape.every(isSize)) return fail('shape to be a list of sizes', shape)
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isSize))
    return fail('data_offsets [begin, end]', offsets)
  const [begin, end] = offsets as [number, number]
  const known = dtype as SafetensorsDtype
  const sizeBytes = shape.reduce((product, extent) => product * extent, itemSizes[known])
  if (!isSize(sizeBytes)) return fail('a size below 2^53 bytes', shape)
  if (end - begin !== sizeBytes)
    return fail(`data_offsets ${sizeBytes} bytes apart, as ${known} and shape say`, offsets)
  return { dtype: known, shape, start: dataStart + begin, sizeBytes }
}

function parseHeader(
  path: string,
  text: string,
  dataStart: number,
  size: number,
): { entries: Map<string, Entry>; metadata: Map<string, string> } {
  let json: StrictJson
  try {
    json = parseStrictJson(text)
  } catch (error) {
    throw corrupt(path, 'a JSON header', (error as SyntaxError).message)
  }
  if (!(json instanceof Map) || text[0] !== '{')
    throw corrupt(path, 'an object that starts with "{" as header', quote(text.slice(0, 12)))
  const entries = new Map<string, Entry>()
  const metadata = new Map<string, string>()
  for (const [name, value] of json) {
    if (name !== '__metadata__') {
      entries.set(name, parseEntry(path, name, value, dataStart))
      continue
    }
    if (!(value instanceof Map)) throw corrupt(path, '__metadata__ to be an object', quote(value))
    for (const [key, entry] of value) {
      if (typeof entry !== 'string') throw corrupt(path, `__metadata__ ${quote(key)} to be a string`, quote(entry))
      metadata.set(key, entry)
    }
  }
  let position = dataStart
  for (const [name, { start, sizeBytes }] of [...entries].toSorted(
    ([, a], [, b]) => a.start - b.start || a.sizeBytes - b.sizeBytes,
  )) {
    if (start !== position) {
      const what = start > position ? 'a hole' : 'an overlap'
      throw corrupt(
        path,
        `tensor ${quote(name)} at byte ${position - dataStart} of the data`,
        `${what}: it starts at ${start - dataStart}`,
        { tensor: name },
      )
    }
    position += sizeBytes
  }
  if (position !== size) throw corrupt(path, `${position} bytes, as the header says`, `${size}`)
  return { entries, metadata }
}

/** Reads exactly `target.length` bytes. */
async function readFully(handle: FileHandle, path: string, position: number, target: Uint8Array): Promise<void> {
  for (let done = 0; done < target.length;) {
    const wanted = Math.min(target.length - done, MAX_READ_BYTES)
    const { bytesRead } = await handle.read(target, done, wanted, position + done)
    if (bytesRead === 0)
      throw corrupt(path, `${target.length} bytes at ${position}`, `${done}: it was truncated while open`)
    done += bytesRead
  }
}

/** A safetensors file open for reading: the header is checked, tensors are read on demand. */
export class SafetensorsFile {
  readonly path: string
  /** Contents of `__metadata__`. */
  readonly metadata: ReadonlyMap<string, string>
  readonly #handle: FileHandle
  readonly #entries: ReadonlyMap<string, Entry>

  /** Use `readSafetensors`. */
  constructor(
    path: string,
    handle: FileHandle,
    entries: ReadonlyMap<string, Entry>,
    metadata: ReadonlyMap<string, string>,
  ) {
    this.path = path
    this.#handle = handle
    this.#entries = entries
    this.metadata = metadata
  }

  /** Names of the tensors in the order of the header. */
  names(): string[] {
    return [...this.#entries.keys()]
  }

  has(name: string): boolean {
    return this.#entries.has(name)
  }

  #entry(name: string): Entry {
    const entry = this.#entries.get(name)
    if (entry !== undefined) return entry
    throw new HRMError(
      'ERR_HRM_CHECKPOINT',
      `[safetensors] expected tensor ${quote(name)} in ${this.path}, got a file without it; do check what the file is for`,
      { path: this.path, tensor: name },
    )
  }

  /** @throws HRMError ERR_HRM_CHECKPOINT where there is no such tensor */
  info(name: string): SafetensorsInfo {
    const { dtype, shape } = this.#entry(name)
    return { dtype, shape }
  }

  /** The bytes of a tensor as stored, row-major and little-endian. @throws HRMError ERR_HRM_CHECKPOINT, ERR_HRM_IO, ERR_HRM_CORRUPT */
  readBytes(name: string): Promise<Uint8Array> {
    return this.readRange(name, 0, this.#entry(name).sizeBytes)
  }

  /** Bytes `begin` to `end` of a tensor. @throws HRMError as readBytes() */
  async readRange(name: string, begin: number, end: number): Promise<Uint8Array> {
    const { start } = this.#entry(name)
    const sizeBytes = end - begin
    let bytes: Uint8Array
    try {
      bytes = new Uint8Array(sizeBytes)
    } catch (cause) {
      throw new HRMError(
        'ERR_HRM_OUT_OF_MEMORY',
        `[safetensors] expected ${sizeBytes} bytes of memory for tensor ${quote(name)}, got none; do free memory`,
        { path: this.path, tensor: name },
        { cause },
      )
    }
    try {
      await readFully(this.#handle, this.path, start + begin, bytes)
    } catch (error) {
      throw ioError('read', this.path, error)
    }
    return bytes
  }

  /** The elements of a tensor, row-major. @throws HRMError ERR_HRM_CHECKPOINT, ERR_HRM_IO, ERR_HRM_CORRUPT */
  async read(name: string): Promise<TensorArray> {
    const { buffer } = await this.readBytes(name)
    switch (this.#entry(name).dtype) {
      case 'F64':
        return new Float64Array(buffer)
      case 'F32':
        return new Float32Array(buffer)
      case 'F16':
      case 'BF16':
        return new Uint16Array(buffer)
      case 'I64':
        return new BigInt64Array(buffer)
      case 'I32':
        return new Int32Array(buffer)
      case 'U8':
        return new Uint8Array(buffer)
      case 'BOOL': {
        const values = new Uint8Array(buffer)
        const wrong = values.findIndex((value) => value > 1)
        if (wrong >= 0)
          throw corrupt(this.path, `0 or 1 in tensor ${quote(name)}`, `${values[wrong]}`, { tensor: name })
        return values
      }
    }
  }

  /** A floating-point tensor as float32: F16 and BF16 exactly, F64 rounded. @throws HRMError ERR_HRM_CHECKPOINT for others */
  async readFloat32(name: string): Promise<Float32Array> {
    const { dtype } = this.#entry(name)
    if (!isFloat(dtype)) {
      throw new HRMError(
        'ERR_HRM_CHECKPOINT',
        `[safetensors] expected a floating-point tensor ${quote(name)} in ${this.path}, got ${dtype}; do check what the file is for`,
        { path: this.path, tensor: name },
      )
    }
    return toFloat32(dtype, await this.readBytes(name))
  }

  close(): Promise<void> {
    return this.#handle.close()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }
}

/**
 * Opens a safetensors file and checks its header: lengths, dtypes, shapes, no holes, overlaps or repeated names.
 *
 * @throws HRMError ERR_HRM_CORRUPT where malformed, ERR_HRM_CHECKPOINT for an unsupported dtype, ERR_HRM_IO
 *
 * @example
 * const file = await readSafetensors('model.safetensors')
 * const weights = await file.readFloat32(file.names()[0])
 */
export async function readSafetensors(path: string): Promise<SafetensorsFile> {
  let handle: FileHandle | undefined
  try {
    // Without O_NONBLOCK, opening a named pipe would wait for its writer.
    handle = await open(path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0))
    const stat = await handle.stat()
    if (!stat.isFile()) throw corrupt(path, 'a regular file', 'something else')
    if (stat.size < 8) throw corrupt(path, 'at least 8 bytes', `${stat.size}`)
    const start = new Uint8Array(8)
    await readFully(handle, path, 0, start)
    const headerBytes = new DataView(start.buffer).getBigUint64(0, true)
    if (headerBytes > MAX_HEADER_BYTES)
      throw corrupt(path, `a header of at most ${MAX_HEADER_BYTES} bytes`, `${headerBytes}`)
    const dataStart = 8 + Number(headerBytes)
    if (dataStart > stat.size) throw corrupt(path, `a header of ${headerBytes} bytes`, `a file of ${stat.size} bytes`)
    const header = new Uint8Array(Number(headerBytes))
    await readFully(handle, path, 8, header)
    let text: string
    try {
      text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(header)
    } catch {
      throw corrupt(path, 'a header in UTF-8', 'other bytes')
    }
    const { entries, metadata } = parseHeader(path, text, dataStart, stat.size)
    const file = new SafetensorsFile(path, handle, entries, metadata)
    handle = undefined
    return file
  } catch (error) {
    throw ioError('read', path, error)
  } finally {
    await handle?.close()
  }
}

/** The bytes of a tensor piece by piece, for tables that do not fit into memory. */
export interface TensorBytes {
  byteLength: number
  /** Pieces in order, each valid until the next is asked for. */
  chunks(): Iterable<Uint8Array> | AsyncIterable<Uint8Array>
}

export interface SafetensorsEntry extends SafetensorsInfo {
  name: string
  /** The elements, row-major and little-endian; the bytes are written as they are. */
  data: ArrayBufferView | TensorBytes
}

export interface SafetensorsSummary {
  sizeBytes: number
  /** SHA-256 of the file, lower-case hexadecimal. */
  sha256: string
  /** CRC-32C of the bytes of each tensor, eight hexadecimal digits, by name. */
  crc32c: Map<string, string>
}

/** A CRC-32C as eight hexadecimal digits. */
export function formatCrc32c(crc: number): string {
  return crc.toString(16).padStart(8, '0')
}

function encodeHeader(entries: readonly SafetensorsEntry[], metadata: Readonly<Record<string, string>>): Uint8Array {
  const fields: string[] = []
  if (Object.keys(metadata).length > 0) fields.push(`"__metadata__":${JSON.stringify(metadata)}`)
  const names = new Set<string>()
  let begin = 0
  for (const { name, dtype, shape, data } of entries) {
    if (name === '__metadata__' || names.has(name))
      throw argumentError(`[safetensors] expected each name once, got ${quote(name)}; do rename the tensor`)
    names.add(name)
    if (!Object.hasOwn(itemSizes, dtype))
      throw argumentError(`[safetensors] expected a known dtype of ${quote(name)}, got ${dtype}; do convert the tensor`)
    const sizeBytes = shape.reduce((product, extent) => product * extent, itemSizes[dtype])
    if (!shape.every(isSize) || data.byteLength !== sizeBytes) {
      throw argumentError(
        `[safetensors] expected ${sizeBytes} bytes for ${dtype} (${shape.join(', ')}) of ${quote(name)}, got ${data.byteLength}; do pass matching data`,
      )
    }
    fields.push(`${JSON.stringify(name)}:${JSON.stringify({ dtype, shape, data_offsets: [begin, begin + sizeBytes] })}`)
    begin += sizeBytes
  }
  const json = Buffer.from(`{${fields.join(',')}}`)
  const header = Buffer.alloc(8 + Math.ceil(json.length / 8) * 8, ' ')
  header.writeBigUInt64LE(BigInt(header.length - 8))
  json.copy(header, 8)
  return header
}

async function writeFully(handle: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let done = 0; done < bytes.length;) done += (await handle.write(bytes, done, bytes.length - done)).bytesWritten
}

/** The bytes of data in memory, in pieces after which the event loop may turn. */
export function* piecesOf(data: ArrayBufferView): Generator<Uint8Array> {
  const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
  for (let start = 0; start < bytes.length; start += CHUNK_BYTES) yield bytes.subarray(start, start + CHUNK_BYTES)
}

/**
 * Writes tensors in the given order, at the handle's position or to a new file at a path, which must not exist. The
 * same entries give the same bytes. Nothing is forced to the disk: that is the caller's part.
 *
 * @throws TypeError ERR_HRM_ARGUMENT where data and shape differ or a name repeats; HRMError ERR_HRM_IO naming the
 * path, or for a handle the error of the file system as it is
 */
export async function writeSafetensors(
  target: FileHandle | string,
  entries: readonly SafetensorsEntry[],
  metadata: Readonly<Record<string, string>> = {},
): Promise<SafetensorsSummary> {
  const header = encodeHeader(entries, metadata)
  try {
    const handle = typeof target === 'string' ? await open(target, 'wx') : target
    try {
      const hash = createHash('sha256').update(header)
      await writeFully(handle, header)
      let sizeBytes = header.length
      const checksums = new Map<string, string>()
      for (const { name, data } of entries) {
        let crc = 0
        let written = 0
        for await (const chunk of ArrayBuffer.isView(data) ? piecesOf(data) : data.chunks()) {
          hash.update(chunk)
          crc = crc32c(chunk, crc)
          await writeFully(handle, chunk)
          written += chunk.length
        }
        if (written !== data.byteLength)
          throw argumentError(
            `[safetensors] expected ${data.byteLength} bytes of ${quote(name)}, got ${written}; do pass all of its pieces`,
          )
        sizeBytes += written
        checksums.set(name, formatCrc32c(crc))
        await yieldToEventLoop()
      }
      return { sizeBytes, sha256: hash.digest('hex'), crc32c: checksums }
    } finally {
      if (typeof target === 'string') await handle.close()
    }
  } catch (error) {
    throw typeof target === 'string' ? ioError('write', target, error) : error
  }
}
