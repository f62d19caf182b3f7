import type { FileHandle } from 'node:fs/promises'
import { crc32 } from 'node:zlib'
import type { TensorBytes } from '../safetensors.js'

/** Element types written here. */
const storageTypes = { F32: 'FloatStorage', BF16: 'BFloat16Storage' } as const

const itemSizes = { F32: 4, BF16: 2 } as const

/** A tensor to be written, row-major and contiguous. */
export interface PyTorchEntry {
  name: string
  dtype: keyof typeof storageTypes
  shape: readonly number[]
  data: TensorBytes
}

/** Sizes and offsets from here on are told in the zip64 fields. */
const ZIP32_LIMIT = 0xffffffff

/** Where the content of an entry starts, in multiples of: PyTorch maps tensors from there. */
const ALIGNMENT = 64

/** The folder of the archive that everything lies in, as torch.save names it. */
const root = 'archive'

/** Pickle instructions in the order of a state dict. */
class Pickle {
  readonly #parts: Buffer[] = [Buffer.from([0x80, 2])]

  op(...bytes: number[]): this {
    this.#parts.push(Buffer.from(bytes))
    return this
  }

  global(module: string, name: string): this {
    this.#parts.push(Buffer.from(`c${module}\n${name}\n`))
    return this
  }

  string(text: string): this {
    const bytes = Buffer.from(text)
    const head = Buffer.from([0x58, 0, 0, 0, 0])
    head.writeUInt32LE(bytes.length, 1)
    this.#parts.push(head, bytes)
    return this
  }

  integer(value: number): this {
    if (value < 2 ** 31) {
      const bytes = Buffer.from([0x4a, 0, 0, 0, 0])
      bytes.writeInt32LE(value, 1)
      this.#parts.push(bytes)
      return this
    }
    const bytes = Buffer.alloc(10)
    bytes.set([0x8a, 8])
    bytes.writeBigInt64LE(BigInt(value), 2)
    this.#parts.push(bytes)
    return this
  }

  /** An empty OrderedDict. */
  orderedDict(): this {
    return this.global('collections', 'OrderedDict').op(0x29, 0x52)
  }

  integers(values: readonly number[]): this {
    this.op(0x28)
    for (const value of values) this.integer(value)
    return this.op(0x74)
  }

  end(): Buffer {
    return Buffer.concat([...this.#parts, Buffer.from([0x2e])])
  }
}

function stridesOf(shape: readonly number[]): number[] {
  const strides: number[] = []
  let stride = 1
  for (const extent of shape.toReversed()) {
    strides.unshift(stride)
    stride *= Math.max(extent, 1)
  }
  return strides
}

/** `OrderedDict` of name -> `_rebuild_tensor_v2(storage, 0, shape, strides, False, OrderedDict())`. */
function pickleStateDict(entries: readonly PyTorchEntry[]): Buffer {
  const pickle = new Pickle().orderedDict().op(0x28)
  entries.forEach(({ name, dtype, shape, data }, key) => {
    pickle.string(name).global('torch._utils', '_rebuild_tensor_v2').op(0x28)
    pickle.op(0x28).string('storage').global('torch', storageTypes[dtype]).string(`${key}`).string('cpu')
    pickle.integer(data.byteLength / itemSizes[dtype]).op(0x74, 0x51)
    pickle.integer(0).integers(shape).integers(stridesOf(shape)).op(0x89).orderedDict().op(0x74, 0x52)
  })
  return pickle.op(0x75).end()
}

/** A zip archive of stored entries in the making, at the start of an empty file. */
class ZipWriter {
  readonly #handle: FileHandle
  readonly #directory: Buffer[] = []
  #at = 0

  constructor(handle: FileHandle) {
    this.#handle = handle
  }

  async #append(bytes: Uint8Array): Promise<void> {
    await this.#writeAt(bytes, this.#at)
    this.#at += bytes.length
  }

  async #writeAt(bytes: Uint8Array, at: number): Promise<void> {
    for (let done = 0; done < bytes.length;)
      done += (await this.#handle.write(bytes, done, bytes.length - done, at + done)).bytesWritten
  }

  /** Writes an entry; its checksum is filled in when its content has passed. */
  async add(path: string, sizeBytes: number, pieces: TensorBytes['chunks']): Promise<void> {
    const name = Buffer.from(`${root}/${path}`)
    const begin = this.#at
    const large = sizeBytes >= ZIP32_LIMIT
    const sizes = large ? zip64Field(sizeBytes, sizeBytes) : Buffer.alloc(0)
    const unpadded = begin + 30 + name.length + sizes.length
    const extra = Buffer.concat([sizes, padding((ALIGNMENT - ((unpadded + 4) % ALIGNMENT)) % ALIGNMENT)])
    await this.#append(Buffer.concat([fileHeader(0x04034b50, sizeBytes, 0, name, extra), name, extra]))
    const content = this.#at
    let crc = 0
    for await (const piece of pieces()) {
      crc = crc32(piece, crc)
      await this.#append(piece)
    }
    if (this.#at - content !== sizeBytes)
      throw new RangeError(`${path} gave ${this.#at - content} bytes instead of ${sizeBytes}`)
    const header = fileHeader(0x04034b50, sizeBytes, crc, name, extra)
    await this.#writeAt(header, begin)
    this.#directory.push(directoryEntry(sizeBytes, crc, begin, name))
  }

  /** Writes the directory of the archive. */
  async end(): Promise<void> {
    const begin = this.#at
    const directory = Buffer.concat(this.#directory)
    await this.#append(directory)
    await this.#append(directoryEnd(this.#directory.length, directory.length, begin))
  }
}

/** The header of an entry up to its name: in the directory, bytes 4 and 5 come before. */
function fileHeader(signature: number, sizeBytes: number, crc: number, name: Buffer, extra: Buffer): Buffer {
  const header = Buffer.alloc(30)
  header.writeUInt32LE(signature)
  header.writeUInt16LE(sizeBytes >= ZIP32_LIMIT ? 45 : 20, 4)
  header.writeUInt16LE(0x0800, 6) // names in UTF-8
  header.writeUInt32LE(0x00210000, 10) // 1980-01-01 00:00
  header.writeUInt32LE(crc, 14)
  header.writeUInt32LE(Math.min(sizeBytes, ZIP32_LIMIT), 18)
  header.writeUInt32LE(Math.min(sizeBytes, ZIP32_LIMIT), 22)
  header.writeUInt16LE(name.length, 26)
  header.writeUInt16LE(extra.length, 28)
  return header
}

function directoryEntry(sizeBytes: number, crc: number, begin: number, name: Buffer): Buffer {
  const wide = [...(sizeBytes >= ZIP32_LIMIT ? [sizeBytes, sizeBytes] : []), ...(begin >= ZIP32_LIMIT ? [begin] : [])]
  const extra = wide.length > 0 ? zip64Field(...wide) : Buffer.alloc(0)
  const header = fileHeader(0x02014b50, sizeBytes, crc, name, extra)
  const version = header.subarray(4, 6)
  const end = Buffer.alloc(14)
  end.writeUInt32LE(Math.min(begin, ZIP32_LIMIT), 10)
  return Buffer.concat([header.subarray(0, 4), version, header.subarray(4), end, name, extra])
}

/** Extra field 1: sizes and offsets that do not fit into 32 bits. */
function zip64Field(...values: number[]): Buffer {
  const field = Buffer.alloc(4 + 8 * values.length)
  field.writeUInt16LE(1)
  field.writeUInt16LE(8 * values.length, 2)
  values.forEach((value, at) => field.writeBigUInt64LE(BigInt(value), 4 + 8 * at))
  return field
}

/** An extra field of `length` bytes after its own 4, which readers skip: `FB`, as PyTorch pads. */
function padding(length: number): Buffer {
  const field = Buffer.alloc(4 + length, 'Z')
  field.write('FB', 'latin1')
  field.writeUInt16LE(length, 2)
  return field
}

function directoryEnd(count: number, sizeBytes: number, begin: number): Buffer {
  const end = Buffer.alloc(22)
  end.writeUInt32LE(0x06054b50)
  end.writeUInt16LE(count, 8)
  end.writeUInt16LE(count, 10)
  end.writeUInt32LE(sizeBytes, 12)
  end.writeUInt32LE(Math.min(begin, ZIP32_LIMIT), 16)
  if (begin < ZIP32_LIMIT) return end
  const wide = Buffer.alloc(56)
  wide.writeUInt32LE(0x06064b50)
  wide.writeBigUInt64LE(44n, 4)
  wide.writeUInt16LE(45, 12)
  wide.writeUInt16LE(45, 14)
  wide.writeBigUInt64LE(BigInt(count), 24)
  wide.writeBigUInt64LE(BigInt(count), 32)
  wide.writeBigUInt64LE(BigInt(sizeBytes), 40)
  wide.writeBigUInt64LE(BigInt(begin), 48)
  const locator = Buffer.alloc(20)
  locator.writeUInt32LE(0x07064b50)
  locator.writeBigUInt64LE(BigInt(begin + sizeBytes), 8)
  locator.writeUInt32LE(1, 16)
  return Buffer.concat([wide, locator, end])
}

/**
 * Writes a state dict as `torch.save` does, which `torch.load` reads. The same tensors give the same bytes. Nothing is
 * forced to the disk: that is the caller's part.
 *
 * @param handle - an empty file
 * @param entries - at most 65,000, in order
 */
export async function writePyTorch(handle: FileHandle, entries: readonly PyTorchEntry[]): Promise<void> {
  const zip = new ZipWriter(handle)
  const add = (path: string, bytes: Buffer) => zip.add(path, bytes.length, () => [bytes])
  await add('data.pkl', pickleStateDict(entries))
  await add('byteorder', Buffer.from('little'))
  for (const [key, { data }] of entries.entries()) await zip.add(`data/${key}`, data.byteLength, () => data.chunks())
  await add('version', Buffer.from('3\n'))
  await zip.end()
}
