import { closeSync, openSync, readSync, statSync } from 'node:fs'
import { setImmediate as yieldToEventLoop } from 'node:timers/promises'
import { HRMError } from '../errors.js'
import { ioError, MappedFile } from '../mapped-file.js'
import type { SafetensorsInfo } from '../safetensors.js'
import { itemSizes } from '../tensor-types.js'
import { corruptFile, fileContentError, shown } from './file-error.js'
import { readStoredZip, verifyEntry, type ZipEntry } from './stored-zip.js'
import { MAX_PICKLE_BYTES, TensorView, unpickle } from './unpickler.js'

/** First bytes of a zip archive. */
const zipMagic = Buffer.from('PK\x03\x04', 'latin1')

/** First bytes of a file of PyTorch before 1.6: a pickle of its magic number. */
const legacyMagic = Buffer.from('80028a0a6cfc9c46f9206aa850192e', 'hex')

/** Whether a regular file starts as a PyTorch file does, whatever its name. @throws HRMError ERR_HRM_IO */
export function looksLikePyTorch(path: string): boolean {
  try {
    if (!statSync(path).isFile()) return false
    const descriptor = openSync(path, 'r')
    try {
      const start = new Uint8Array(legacyMagic.length)
      readSync(descriptor, start, 0, start.length, 0)
      return [zipMagic, legacyMagic].some((magic) => magic.equals(start.subarray(0, magic.length)))
    } finally {
      closeSync(descriptor)
    }
  } catch (error) {
    throw ioError('read', path, error)
  }
}

interface StoredTensor extends SafetensorsInfo {
  view: TensorView
  entry: ZipEntry
}

/** A state dict saved by `torch.save`, open for reading: its structure is checked, tensors are read on demand. */
export class PyTorchFile {
  readonly #file: MappedFile
  readonly #entries: ReadonlyMap<string, ZipEntry>
  readonly #tensors: ReadonlyMap<string, StoredTensor>

  private constructor(
    file: MappedFile,
    entries: ReadonlyMap<string, ZipEntry>,
    tensors: ReadonlyMap<string, StoredTensor>,
  ) {
    this.#file = file
    this.#entries = entries
    this.#tensors = tensors
  }

  /**
   * @throws HRMError ERR_HRM_UNSAFE_PICKLE where the file asks for more than tensors; ERR_HRM_CORRUPT where it is
   * malformed; ERR_HRM_CHECKPOINT where it is no state dict or of an old form; ERR_HRM_IO
   */
  static async open(path: string): Promise<PyTorchFile> {
    const file = await MappedFile.open(path)
    try {
      checkMagic(file)
      const entries = await readStoredZip(file)
      const root = rootOf(path, entries)
      checkByteOrder(file, entries.get(`${root}byteorder`))
      const tensors = readTensors(file, entries, root)
      return new PyTorchFile(file, entries, tensors)
    } catch (error) {
      file.close()
      throw error
    }
  }

  get path(): string {
    return this.#file.path
  }

  get sizeBytes(): number {
    return this.#file.size
  }

  /** Names of the tensors in the order of the state dict. */
  names(): string[] {
    return [...this.#tensors.keys()]
  }

  has(name: string): boolean {
    return this.#tensors.has(name)
  }

  #tensor(name: string): StoredTensor {
    const tensor = this.#tensors.get(name)
    if (tensor !== undefined) return tensor
    throw fileContentError(
      'ERR_HRM_CHECKPOINT',
      this.path,
      `tensor ${shown(name)}`,
      'a file without it',
      'check the file',
    )
  }

  /** @throws HRMError ERR_HRM_CHECKPOINT where there is no such tensor */
  info(name: string): SafetensorsInfo {
    const { dtype, shape } = this.#tensor(name)
    return { dtype, shape }
  }

  /** Bytes `begin` to `end` of a tensor, row-major and little-endian, whole elements; valid until the next call. */
  readRange(name: string, begin: number, end: number): Uint8Array {
    const { view, entry, dtype } = this.#tensor(name)
    const itemSize = itemSizes[dtype]
    if (!isContiguous(view)) return gather(this.#file, view, entry.start, itemSize, begin / itemSize, end / itemSize)
    return this.#file.view(entry.start + view.offset * itemSize + begin, end - begin)
  }

  /** Compares every entry of the archive with its CRC-32. @throws HRMError ERR_HRM_CORRUPT */
  async verify(): Promise<void> {
    for (const entry of this.#entries.values()) {
      verifyEntry(this.#file, entry)
      await yieldToEventLoop()
    }
  }

  close(): void {
    this.#file.close()
  }
}

function checkMagic(file: MappedFile): void {
  const start = file.view(0, Math.min(file.size, legacyMagic.length))
  if (zipMagic.equals(start.subarray(0, zipMagic.length))) return
  if (!legacyMagic.equals(start)) throw corruptFile(file.path, 'a zip archive as torch.save writes it', 'another file')
  throw fileContentError(
    'ERR_HRM_CHECKPOINT',
    file.path,
    'a zip archive as torch.save writes it since PyTorch 1.6',
    'the older form, a bare pickle',
    'save it again with a newer PyTorch: torch.save(torch.load(old, weights_only=True), new)',
  )
}

/** The folder of the archive that everything lies in, `archive/` or after the name of the file. */
function rootOf(path: string, entries: ReadonlyMap<string, ZipEntry>): string {
  const roots = [...entries.keys()].filter((name) => /^[^/]+\/data\.pkl$/.test(name))
  if (roots.length !== 1) throw corruptFile(path, 'one data.pkl in a folder of the archive', `${roots.length}`)
  return roots[0]!.slice(0, -'data.pkl'.length)
}

function checkByteOrder(file: MappedFile, entry: ZipEntry | undefined): void {
  if (entry === undefined) return
  const order = Buffer.from(file.view(entry.start, Math.min(entry.sizeBytes, 16))).toString('latin1')
  if (order === 'little') return
  const remedy = 'save it again on a little-endian machine'
  throw fileContentError('ERR_HRM_CHECKPOINT', file.path, 'little-endian data', shown(order), remedy)
}

function readTensors(
  file: MappedFile,
  entries: ReadonlyMap<string, ZipEntry>,
  root: string,
): Map<string, StoredTensor> {
  const { path } = file
  const pickle = entries.get(`${root}data.pkl`)!
  if (pickle.sizeBytes > MAX_PICKLE_BYTES)
    throw corruptFile(path, `a data.pkl of at most ${MAX_PICKLE_BYTES} bytes`, `${pickle.sizeBytes}`)
  const unfit = (expected: string, got: string): HRMError => {
    const remedy = 'save the state dict alone: torch.save(model.state_dict(), file)'
    return fileContentError('ERR_HRM_CHECKPOINT', path, expected, got, remedy)
  }
  const dict = unpickle(path, file.view(pickle.start, pickle.sizeBytes).slice())
  if (!(dict instanceof Map)) throw unfit('a dict of tensors', 'something else')
  const tensors = new Map<string, StoredTensor>()
  for (const [name, view] of dict) {
    if (!(view instanceof TensorView)) throw unfit(`a tensor as ${shown(name)}`, 'something else')
    const { key, dtype, length } = view.storage
    const entry = entries.get(`${root}data/${key}`)
    if (entry === undefined) throw corruptFile(path, `entry ${shown(`${root}data/${key}`)}`, 'none')
    if (entry.sizeBytes !== length * itemSizes[dtype])
      throw corruptFile(path, `${length} elements of ${dtype} in storage ${key}`, `${entry.sizeBytes} bytes`)
    tensors.set(name, { dtype, shape: view.shape, view, entry })
  }
  return tensors
}

/** Whether the elements lie one after the other in row-major order. */
function isContiguous({ shape, strides }: TensorView): boolean {
  let expected = 1
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    if (shape[axis] !== 1 && strides[axis] !== expected) return false
    expected *= shape[axis]!
  }
  return true
}

/** Elements `begin` to `end` of any view in row-major order. */
function gather(
  file: MappedFile,
  { shape, strides, offset }: TensorView,
  start: number,
  itemSize: number,
  begin: number,
  end: number,
): Uint8Array {
  const bytes = new Uint8Array((end - begin) * itemSize)
  for (let at = begin; at < end; at++) {
    let rest = at
    let source = offset
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      const extent = shape[axis]!
      source += (rest % extent) * strides[axis]!
      rest = Math.floor(rest / extent)
    }
    bytes.set(file.view(start + source * itemSize, itemSize), (at - begin) * itemSize)
  }
  return bytes
}
