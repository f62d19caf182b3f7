import { closeSync, fsyncSync, openSync, writeSync } from 'node:fs'
import { HRMError } from './errors.js'
import { ioError, MappedFile } from './mapped-file.js'

/** Element types that dataset arrays may have, with their size in bytes; all little-endian. */
const itemSizes = { u1: 1, i4: 4, i8: 8 } as const

export type NpyDtype = keyof typeof itemSizes

const dtypeOfDescr = new Map<string, NpyDtype>([
  ['|u1', 'u1'],
  ['<u1', 'u1'],
  ['<i4', 'i4'],
  ['<i8', 'i8'],
])
const descrOfDtype = { u1: '|u1', i4: '<i4', i8: '<i8' } as const

const MAGIC = [0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59]

/** Longest header accepted, the limit that numpy itself has. */
const MAX_HEADER_BYTES = 10_000

/** Elements decoded at a time by whole-file passes: 256 KiB to 2 MiB of file. */
const CHUNK_ELEMENTS = 2 ** 18

/** Elements that `at` reads around the one asked for. */
const PAGE_ELEMENTS = 64

interface NpyHeader {
  dtype: NpyDtype
  shape: number[]
  /** First byte of the data. */
  dataOffset: number
}

function malformed(path: string, expected: string, got: string): HRMError {
  return new HRMError('ERR_HRM_DATASET', `[npy] expected ${expected}, got ${got} in ${path}; do rebuild the dataset`, {
    path,
  })
}

/** The Python dictionary literal of a header, restricted to what numpy writes. */
class HeaderParser {
  static readonly #token = /\s*(?:'([^'\\]*)'|"([^"\\]*)"|(True|False)|([0-9]+)|([{}(),:]))/y
  readonly #text: string
  readonly #path: string
  #at = 0

  constructor(text: string, path: string) {
    this.#text = text
    this.#path = path
  }

  parse(): { descr: string; fortranOrder: boolean; shape: number[] } {
    const fields = new Map<string, string | boolean | number[]>()
    this.#punctuation('{')
    while (this.#peek() !== '}') {
      const key = this.#next()
      if (typeof key !== 'object') this.#fail('a quoted key')
      if (fields.has(key.text)) this.#fail(`the key ${key.text} once`)
      this.#punctuation(':')
      fields.set(key.text, this.#value())
      if (this.#peek() !== '}') this.#punctuation(',')
    }
    this.#punctuation('}')
    if (this.#text.slice(this.#at).trim() !== '') this.#fail('the end of the header')
    const descr = fields.get('descr')
    const fortranOrder = fields.get('fortran_order')
    const shape = fields.get('shape')
    if (typeof descr !== 'string' || typeof fortranOrder !== 'boolean' || !Array.isArray(shape) || fields.size !== 3) {
      throw malformed(
        this.#path,
        'a header of exactly descr, fortran_order and shape',
        `the keys ${[...fields.keys()].join(', ').slice(0, 200)}`,
      )
    }
    return { descr, fortranOrder, shape }
  }

  #fail(expected: string): never {
    throw malformed(
      this.#path,
      `${expected} at character ${this.#at} of the header`,
      JSON.stringify(this.#text.slice(this.#at, this.#at + 24)),
    )
  }

  #next(): { text: string } | boolean | number | string {
    HeaderParser.#token.lastIndex = this.#at
    const found = HeaderParser.#token.exec(this.#text)
    if (found === null) this.#fail('a header as numpy writes it, without structured types')
    this.#at += found[0].length
    const [, single, double, boolean, integer, punctuation] = found
    if (punctuation !== undefined) return punctuation
    if (boolean !== undefined) return boolean === 'True'
    if (integer !== undefined) return Number(integer)
    return { text: (single ?? double)! }
  }

  #peek(): { text: string } | boolean | number | string {
    const at = this.#at
    const token = this.#next()
    this.#at = at
    return token
  }

  #punctuation(expected: string): void {
    const at = this.#at
    if (this.#next() === expected) return
    this.#at = at
    this.#fail(expected)
  }

  #value(): string | boolean | number[] {
    const token = this.#next()
    if (typeof token === 'object') return token.text
    if (typeof token === 'boolean') return token
    if (token !== '(') this.#fail('a string, True, False or a tuple')
    const tuple: number[] = []
    while (this.#peek() !== ')') {
      const size = this.#next()
      if (typeof size !== 'number') this.#fail('a non-negative integer')
      tuple.push(size)
      if (this.#peek() !== ')') this.#punctuation(',')
    }
    this.#punctuation(')')
    return tuple
  }
}

function readHeader(file: MappedFile): NpyHeader {
  const { path, size } = file
  if (size < 10) throw malformed(path, 'a .npy file of at least 10 bytes', `${size} bytes`)
  const start = file.view(0, Math.min(size, 12)).slice()
  if (MAGIC.some((byte, index) => start[index] !== byte))
    throw malformed(path, 'the magic bytes of a .npy file', 'others')
  const version = start[6]!
  if (version < 1 || version > 3 || start[7] !== 0)
    throw malformed(path, 'npy version 1.0, 2.0 or 3.0', `${version}.${start[7]}`)
  const prefix = version === 1 ? 10 : 12
  if (size < prefix) throw malformed(path, `at least ${prefix} bytes`, `${size}`)
  const bytes = new DataView(start.buffer)
  const headerBytes = version === 1 ? bytes.getUint16(8, true) : bytes.getUint32(8, true)
  if (headerBytes > MAX_HEADER_BYTES)
    throw malformed(path, `a header of at most ${MAX_HEADER_BYTES} bytes`, `${headerBytes}`)
  if (prefix + headerBytes > size) throw malformed(path, `a header of ${headerBytes} bytes`, `a file of ${size} bytes`)
  const text = new TextDecoder('latin1').decode(file.view(prefix, headerBytes))
  const { descr, fortranOrder, shape } = new HeaderParser(text, path).parse()
  const dtype = dtypeOfDescr.get(descr)
  if (dtype === undefined) throw malformed(path, 'dtype |u1, <i4 or <i8', JSON.stringify(descr.slice(0, 40)))
  if (fortranOrder) throw malformed(path, 'C order (fortran_order False)', 'Fortran order')
  const elements = shape.reduce((product, extent) => product * extent, 1)
  const expected = prefix + headerBytes + elements * itemSizes[dtype]
  if (!shape.every(Number.isSafeInteger) || !Number.isSafeInteger(expected) || expected !== size) {
    throw malformed(path, `${expected} bytes for ${dtype} of shape (${shape.join(', ')})`, `${size} bytes`)
  }
  return { dtype, shape, dataOffset: prefix + headerBytes }
}

/** An integer array in a .npy file, read row by row as int32; the file's size is checked against its header at opening. */
export class NpyArray {
  readonly path: string
  readonly dtype: NpyDtype
  readonly shape: readonly number[]
  /** Elements of one row: the product of all extents but the first. */
  readonly rowLength: number
  readonly #file: MappedFile
  readonly #dataOffset: number
  /** Start and values of the elements that `at` read last. */
  #pageStart = 0
  #page = new Int32Array(0)

  private constructor(file: MappedFile, header: NpyHeader) {
    this.path = file.path
    this.dtype = header.dtype
    this.shape = header.shape
    this.rowLength = header.shape.slice(1).reduce((product, extent) => product * extent, 1)
    this.#file = file
    this.#dataOffset = header.dataOffset
  }

  /** @throws HRMError ERR_HRM_DATASET when malformed, ERR_HRM_IO when unreadable */
  static async open(path: string): Promise<NpyArray> {
    const file = await MappedFile.open(path)
    try {
      return new NpyArray(file, readHeader(file))
    } catch (error) {
      file.close()
      throw error
    }
  }

  /** Rows: the first extent. */
  get length(): number {
    return this.shape[0] ?? 1
  }

  /** Bytes of the data. */
  get sizeBytes(): number {
    return this.length * this.rowLength * itemSizes[this.dtype]
  }

  /** Reads the given rows in the given order to the start of `out`, [rows.length, rowLength] int32. */
  readRows(rows: ArrayLike<number>, out: Int32Array): void {
    for (let index = 0; index < rows.length; index++) {
      const row = rows[index]!
      this.readRange(row, row + 1, out.subarray(index * this.rowLength, (index + 1) * this.rowLength))
    }
  }

  /** Reads rows `start` to `end` to the start of `out`, [end - start, rowLength] int32. */
  readRange(start: number, end: number, out: Int32Array): void {
    const itemSize = itemSizes[this.dtype]
    const elements = (end - start) * this.rowLength
    const bytes = this.#file.view(this.#dataOffset + start * this.rowLength * itemSize, elements * itemSize)
    if (this.dtype === 'u1') {
      out.set(bytes)
      return
    }
    // Typed arrays need aligned bytes, which only the header's padding promises.
    const aligned = bytes.byteOffset % 4 === 0 ? bytes : bytes.slice()
    const words = new Int32Array(aligned.buffer, aligned.byteOffset, (elements * itemSize) / 4)
    if (this.dtype === 'i4') {
      out.set(words)
      return
    }
    for (let index = 0; index < elements; index++) {
      const low = words[2 * index]!
      if (words[2 * index + 1] !== low >> 31) {
        const value = BigInt.asIntN(64, (BigInt(words[2 * index + 1]!) << 32n) | BigInt(low >>> 0))
        throw malformed(
          this.path,
          'values within int32',
          `${value} in row ${start + Math.floor(index / this.rowLength)}`,
        )
      }
      out[index] = low
    }
  }

  /** Row `index` of an array with one element per row. Neighbours are cached, so walking is cheap. */
  at(index: number): number {
    if (index < this.#pageStart || index >= this.#pageStart + this.#page.length) {
      const start = Math.max(0, Math.min(index - 8, this.length - PAGE_ELEMENTS))
      const page = new Int32Array(Math.min(PAGE_ELEMENTS, this.length - start))
      this.readRange(start, start + page.length, page)
      this.#page = page
      this.#pageStart = start
    }
    return this.#page[index - this.#pageStart]!
  }

  /** All rows in blocks of bounded size: the first row and the values of each block, valid until the next one. */
  *blocks(): Generator<{ start: number; values: Int32Array }> {
    const rows = Math.max(1, Math.floor(CHUNK_ELEMENTS / Math.max(1, this.rowLength)))
    const buffer = new Int32Array(Math.min(rows, this.length) * this.rowLength)
    for (let start = 0; start < this.length; start += rows) {
      const end = Math.min(start + rows, this.length)
      const values = buffer.subarray(0, (end - start) * this.rowLength)
      this.readRange(start, end, values)
      yield { start, values }
    }
  }

  close(): void {
    this.#file.close()
  }
}

/** Header bytes of the files written here: enough for two extents, a multiple of 64 as numpy aligns. */
const WRITTEN_HEADER_BYTES = 128

function encodeHeader(dtype: 'u1' | 'i4', shape: readonly number[]): Uint8Array {
  const extents = shape.length === 1 ? `${shape[0]},` : shape.join(', ')
  const text = `{'descr': '${descrOfDtype[dtype]}', 'fortran_order': False, 'shape': (${extents}), }`
  const body = `${text.padEnd(WRITTEN_HEADER_BYTES - 11)}\n`
  return Uint8Array.from([...MAGIC, 1, 0, body.length & 0xff, body.length >>> 8, ...Buffer.from(body, 'latin1')])
}

/** Writes an array row after row to a .npy file; the header, which holds the number of rows, comes last. */
export class NpyWriter {
  readonly path: string
  readonly #dtype: 'u1' | 'i4'
  readonly #rowLength: number | undefined
  readonly #descriptor: number
  readonly #buffer: Uint8Array | Int32Array
  #buffered = 0
  #elements = 0
  #position = WRITTEN_HEADER_BYTES
  #open = true

  /** @param rowLength - elements of a row; undefined for an array of one dimension */
  constructor(path: string, dtype: 'u1' | 'i4', rowLength?: number) {
    this.path = path
    this.#dtype = dtype
    this.#rowLength = rowLength
    this.#buffer = dtype === 'u1' ? new Uint8Array(2 ** 20) : new Int32Array(2 ** 18)
    try {
      this.#descriptor = openSync(path, 'wx')
    } catch (error) {
      throw ioError('write', path, error)
    }
  }

  /** Appends elements, whole rows in the end. Values must lie within the dtype. */
  append(values: ArrayLike<number>): void {
    for (let done = 0; done < values.length;) {
      const take = Math.min(values.length - done, this.#buffer.length - this.#buffered)
      for (let index = 0; index < take; index++) this.#buffer[this.#buffered + index] = values[done + index]!
      this.#buffered += take
      done += take
      if (this.#buffered === this.#buffer.length) this.#flush()
    }
    this.#elements += values.length
  }

  #flush(): void {
    const itemSize = itemSizes[this.#dtype]
    this.#write(new Uint8Array(this.#buffer.buffer, 0, this.#buffered * itemSize), this.#position)
    this.#position += this.#buffered * itemSize
    this.#buffered = 0
  }

  #write(bytes: Uint8Array, position: number): void {
    try {
      for (let done = 0; done < bytes.length;) {
        done += writeSync(this.#descriptor, bytes, done, bytes.length - done, position + done)
      }
    } catch (error) {
      throw ioError('write', this.path, error)
    }
  }

  /** Writes what is buffered and the header, forces both to the disk and closes the file. */
  finish(): void {
    this.#flush()
    const rows = this.#elements / (this.#rowLength ?? 1)
    this.#write(encodeHeader(this.#dtype, this.#rowLength === undefined ? [rows] : [rows, this.#rowLength]), 0)
    try {
      fsyncSync(this.#descriptor)
    } catch (error) {
      throw ioError('write', this.path, error)
    }
    this.abort()
  }

  /** Closes the file as it is. Idempotent. */
  abort(): void {
    if (this.#open) closeSync(this.#descriptor)
    this.#open = false
  }
}
