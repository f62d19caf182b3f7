import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import { PyTorchFile } from '#dist/pytorch/pytorch-file.js'
import { readFloat32 } from '#dist/model-source.js'
import { itemSizes } from '#dist/tensor-types.js'

/** State dicts that PyTorch 1.13 saved. */
export const saved = join(import.meta.dirname, '../../../test/pytorch/torch-1.13')

/** The bytes of a tensor. */
export function tensorBytes(file: PyTorchFile, name: string): Uint8Array {
  const { dtype, shape } = file.info(name)
  const count = shape.reduce((product, extent) => product * extent, 1)
  return file.readRange(name, 0, count * itemSizes[dtype]).slice()
}

/** The elements of a floating-point tensor. */
export async function tensorValues(file: PyTorchFile, name: string): Promise<number[]> {
  const count = file.info(name).shape.reduce((product, extent) => product * extent, 1)
  return [...(await readFloat32(file, name, 0, count))]
}

/** An entry of a zip archive to be made; what is not given is as it should be. */
export interface PlannedEntry {
  name: string
  data: Uint8Array
  localName?: string
  method?: number
  flags?: number
  crc?: number
  /** Said in the directory instead of the true ones. */
  sizeBytes?: number
  offset?: number
}

/** A stored zip archive, which may lie. */
export function zipBytes(entries: readonly PlannedEntry[], end: { count?: number; comment?: string } = {}): Buffer {
  const parts: Buffer[] = []
  const directory: Buffer[] = []
  let at = 0
  for (const { name, data, localName = name, method = 0, flags = 0x800, ...lies } of entries) {
    const { crc = crc32(data), sizeBytes = data.length, offset = at } = lies
    const common = (path: string) => {
      const header = Buffer.alloc(26)
      header.writeUInt16LE(20)
      header.writeUInt16LE(flags, 2)
      header.writeUInt16LE(method, 4)
      header.writeUInt32LE(crc, 10)
      header.writeUInt32LE(sizeBytes, 14)
      header.writeUInt32LE(sizeBytes, 18)
      header.writeUInt16LE(Buffer.byteLength(path), 22)
      return header
    }
    const tail = Buffer.alloc(14)
    tail.writeUInt32LE(offset, 10)
    directory.push(
      Buffer.concat([
        Buffer.from('PK\x01\x02\x14\x00', 'latin1'),
        common(name),
        tail.subarray(0, 14),
        Buffer.from(name),
      ]),
    )
    const local = Buffer.concat([
      Buffer.from('PK\x03\x04', 'latin1'),
      common(localName),
      Buffer.from(localName),
      Buffer.from(data),
    ])
    parts.push(local)
    at += local.length
  }
  const { count = entries.length, comment = '' } = end
  const body = Buffer.concat(directory)
  const last = Buffer.alloc(22)
  last.write('PK\x05\x06', 'latin1')
  last.writeUInt16LE(count, 8)
  last.writeUInt16LE(count, 10)
  last.writeUInt32LE(body.length, 12)
  last.writeUInt32LE(at, 16)
  last.writeUInt16LE(comment.length, 20)
  return Buffer.concat([...parts, body, last, Buffer.from(comment)])
}

/** A PyTorch file with this pickle and one storage of 4 floats, `0`. */
export function torchBytes(pickle: string | Uint8Array, more: readonly PlannedEntry[] = []): Buffer {
  const data = typeof pickle === 'string' ? Buffer.from(pickle, 'latin1') : pickle
  const storage = new Uint8Array(Float32Array.of(1, 2, 3, 4).buffer)
  return zipBytes([{ name: 'a/data.pkl', data }, { name: 'a/data/0', data: storage }, ...more])
}

/** Pickle text of a short string. */
export function text(value: string): string {
  return `X${String.fromCharCode(value.length)}\0\0\0${value}`
}

/** Pickle text of `('storage', torch.FloatStorage, '0', 'cpu', length)` as a storage. */
export function storage(length = 'K\x04', type = 'FloatStorage', key = '0'): string {
  return `(${text('storage')}ctorch\n${type}\n${text(key)}${text('cpu')}${length}tQ`
}

/** Pickle text of a tensor on `storage()`. */
export function tensor({ of = storage(), offset = 'K\0', shape = 'K\x04', strides = 'K\x01' } = {}): string {
  return `ctorch._utils\n_rebuild_tensor_v2\n(${of}${offset}(${shape}t(${strides}t\x89ccollections\nOrderedDict\n)RtR`
}

/** Pickle text of a dict of these items. */
export function dict(...items: string[]): string {
  return `\x80\x02}(${items.join('')}u.`
}

/** The state dicts of `saved` and some of our own making, for mutations. */
export function sampleFiles(): Buffer[] {
  const own = torchBytes(dict(text('x'), tensor(), text('y'), tensor({ shape: 'K\x02K\x02', strides: 'K\x01K\x02' })))
  return [...readdirSync(saved).map((name) => readFileSync(join(saved, name))), own]
}
