import type { HRMError } from '../errors.js'
import type { SafetensorsDtype } from '../safetensors.js'
import { corruptFile, fileContentError, shown } from './file-error.js'

/** A flat array in a file of its own inside the archive; tensors are views on it. */
export interface Storage {
  /** Name of its file under `data/`. */
  key: string
  dtype: SafetensorsDtype
  /** Elements. */
  length: number
}

/** A strided view on a storage: element (i, j, …) is at offset + i * strides[0] + j * strides[1] + … */
export class TensorView {
  constructor(
    readonly storage: Storage,
    readonly offset: number,
    readonly shape: readonly number[],
    readonly strides: readonly number[],
  ) {}
}

/** What a pickle may hold. Dicts are Maps, so that no key (`__proto__`) has a meaning of its own. */
export type Unpickled = null | boolean | number | string | Tuple | Unpickled[] | Dict | TensorView

class Tuple {
  constructor(readonly items: readonly Item[]) {}
}

class Dict extends Map<string, Unpickled> {
  /** Whether it was made as an OrderedDict, which may carry attributes. */
  constructor(readonly ordered: boolean) {
    super()
  }
}

/** A name that the file refers to; only those of this list are known, and none of them runs code of the file. */
class Global {
  constructor(
    readonly name: string,
    readonly dtype?: SafetensorsDtype,
  ) {}
}

class StorageReference {
  constructor(readonly storage: Storage) {}
}

/** Marks the start of a list of items on the stack. */
const mark = Symbol('mark')

type Item = Unpickled | Global | StorageReference | typeof mark

const globals: ReadonlyMap<string, Global> = new Map(
  [
    new Global('collections.OrderedDict'),
    new Global('torch._utils._rebuild_tensor_v2'),
    new Global('torch._utils._rebuild_parameter'),
    new Global('torch.FloatStorage', 'F32'),
    new Global('torch.DoubleStorage', 'F64'),
    new Global('torch.HalfStorage', 'F16'),
    new Global('torch.BFloat16Storage', 'BF16'),
    new Global('torch.LongStorage', 'I64'),
    new Global('torch.IntStorage', 'I32'),
    new Global('torch.ByteStorage', 'U8'),
    new Global('torch.BoolStorage', 'BOOL'),
  ].map((global) => [global.name, global]),
)

/** Longest pickle read: about 200 bytes describe a tensor. */
export const MAX_PICKLE_BYTES = 2 ** 20

/** Most lists, dicts and tuples made, which bounds the memory that a pickle can ask for. */
const MAX_COLLECTIONS = 50_000

/** Most dimensions of a tensor, PyTorch's own limit. */
const MAX_DIMENSIONS = 64

const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** A pickle machine without the parts that could run code: no imports, no classes, no calls but the two below. */
class Machine {
  readonly #path: string
  readonly #bytes: Uint8Array
  readonly #view: DataView
  #at = 0
  /** Where the current instruction starts. */
  #start = 0
  readonly #stack: Item[] = []
  readonly #memo = new Map<number, Item>()
  #collections = 0

  constructor(path: string, bytes: Uint8Array) {
    this.#path = path
    this.#bytes = bytes
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }

  run(): Unpickled {
    for (;;) {
      this.#start = this.#at
      const opcode = this.#byte()
      if (opcode === 0x2e /* STOP */) return this.#end()
      this.#step(opcode)
    }
  }

  #end(): Unpickled {
    if (this.#stack.length !== 1) throw this.#corrupt('one object', `${this.#stack.length}`)
    if (this.#at !== this.#bytes.length)
      throw this.#corrupt('the end of data.pkl', `${this.#bytes.length - this.#at} more bytes`)
    return this.#data(this.#pop())
  }

  #step(opcode: number): void {
    switch (opcode) {
      case 0x80: {
        const protocol = this.#byte()
        if (protocol > 5) throw this.#corrupt('pickle protocol 2 to 5', `${protocol}`)
        return
      }
      case 0x95: // FRAME
        this.#take(8)
        return
      case 0x28: // MARK
        this.#push(mark)
        return
      case 0x4e: // NONE
        this.#push(null)
        return
      case 0x88: // NEWTRUE
        this.#push(true)
        return
      case 0x89: // NEWFALSE
        this.#push(false)
        return
      case 0x4a: // BININT
        this.#push(this.#view.getInt32(this.#take(4), true))
        return
      case 0x4b: // BININT1
        this.#push(this.#byte())
        return
      case 0x4d: // BININT2
        this.#push(this.#view.getUint16(this.#take(2), true))
        return
      case 0x8a: // LONG1
        this.#push(this.#long())
        return
      case 0x47: // BINFLOAT
        this.#push(this.#view.getFloat64(this.#take(8)))
        return
      case 0x58: // BINUNICODE
        this.#push(this.#string(this.#view.getUint32(this.#take(4), true)))
        return
      case 0x8c: // SHORT_BINUNICODE
        this.#push(this.#string(this.#byte()))
        return
      case 0x29: // EMPTY_TUPLE
        this.#push(this.#collection(new Tuple([])))
        return
      case 0x85: // TUPLE1
      case 0x86: // TUPLE2
      case 0x87: // TUPLE3
        this.#push(this.#collection(new Tuple(this.#popMany(opcode - 0x84))))
        return
      case 0x74: // TUPLE
        this.#push(this.#collection(new Tuple(this.#popToMark())))
        return
      case 0x5d: // EMPTY_LIST
        this.#push(this.#collection([]))
        return
      case 0x61: // APPEND
        this.#append(this.#popMany(1))
        return
      case 0x65: // APPENDS
        this.#append(this.#popToMark())
        return
      case 0x7d: // EMPTY_DICT
        this.#push(this.#collection(new Dict(false)))
        return
      case 0x73: // SETITEM
        this.#setItems(this.#popMany(2))
        return
      case 0x75: // SETITEMS
        this.#setItems(this.#popToMark())
        return
      case 0x71: // BINPUT
        this.#memo.set(this.#byte(), this.#top())
        return
      case 0x72: // LONG_BINPUT
        this.#memo.set(this.#view.getUint32(this.#take(4), true), this.#top())
        return
      case 0x94: // MEMOIZE
        this.#memo.set(this.#memo.size, this.#top())
        return
      case 0x68: // BINGET
        this.#push(this.#recall(this.#byte()))
        return
      case 0x6a: // LONG_BINGET
        this.#push(this.#recall(this.#view.getUint32(this.#take(4), true)))
        return
      case 0x63: // GLOBAL
        this.#push(this.#global(this.#line(), this.#line()))
        return
      case 0x69: // INST: makes an object of a class
        this.#global(this.#line(), this.#line())
        throw this.#unsafe('an object of a class')
      case 0x93: {
        // STACK_GLOBAL
        const [module, name] = this.#popMany(2)
        if (typeof module !== 'string' || typeof name !== 'string') throw this.#corrupt('a name', 'something else')
        this.#push(this.#global(module, name))
        return
      }
      case 0x51: // BINPERSID
        this.#push(this.#storage(this.#pop()))
        return
      case 0x52: // REDUCE
        this.#reduce()
        return
      case 0x62: // BUILD
        this.#build()
        return
      default:
        throw this.#unsafe(`pickle instruction 0x${opcode.toString(16).padStart(2, '0')}`)
    }
  }

  // Reading ------------------------------------------------------------------------------------------------------------

  /** Moves over `count` bytes; returns where they start. */
  #take(count: number): number {
    const at = this.#at
    if (count > this.#bytes.length - at) throw this.#corrupt(`${count} bytes`, `the end of data.pkl`)
    this.#at = at + count
    return at
  }

  #byte(): number {
    return this.#bytes[this.#take(1)]!
  }

  #string(length: number): string {
    const at = this.#take(length)
    try {
      return text.decode(this.#bytes.subarray(at, at + length))
    } catch {
      throw this.#corrupt('text in UTF-8', 'other bytes')
    }
  }

  #line(): string {
    const end = this.#bytes.indexOf(0x0a, this.#at)
    if (end < 0) throw this.#corrupt('a line', 'the end of data.pkl')
    const line = this.#string(end - this.#at)
    this.#at++
    return line
  }

  /** A two's complement integer of given length. */
  #long(): number {
    const length = this.#byte()
    if (length > 8) throw this.#corrupt('integers below 2^53', `one of ${length} bytes`)
    const at = this.#take(length)
    let value = 0n
    for (let byte = length - 1; byte >= 0; byte--) value = (value << 8n) | BigInt(this.#bytes[at + byte]!)
    const signed = Number(BigInt.asIntN(8 * length, value))
    if (!Number.isSafeInteger(signed)) throw this.#corrupt('integers below 2^53', `${BigInt.asIntN(8 * length, value)}`)
    return signed
  }

  // The stack ----------------------------------------------------------------------------------------------------------

  #push(item: Item): void {
    this.#stack.push(item)
  }

  #top(): Item {
    const item = this.#stack.at(-1)
    if (item === undefined || item === mark) throw this.#corrupt('an object', 'none')
    return item
  }

  #pop(): Item {
    const item = this.#top()
    this.#stack.pop()
    return item
  }

  #popMany(count: number): Item[] {
    return Array.from({ length: count }, () => this.#pop()).toReversed()
  }

  #popToMark(): Item[] {
    const at = this.#stack.lastIndexOf(mark)
    if (at < 0) throw this.#corrupt('a mark', 'none')
    return this.#stack.splice(at).slice(1)
  }

  #recall(index: number): Item {
    const item = this.#memo.get(index)
    if (item === undefined) throw this.#corrupt(`object ${index} of the memo`, 'none')
    return item
  }

  #collection<T>(made: T): T {
    if (++this.#collections > MAX_COLLECTIONS)
      throw this.#corrupt(`at most ${MAX_COLLECTIONS} lists, dicts and tuples`, 'more')
    return made
  }

  /** An item as a value: names and storages stand only where a tensor is rebuilt. */
  #data(item: Item): Unpickled {
    if (item instanceof Global) throw this.#unsafe(`${shown(item.name)} as a value`)
    if (item instanceof StorageReference || item === mark) throw this.#corrupt('a value', 'a storage or a mark')
    return item
  }

  // Building -----------------------------------------------------------------------------------------------------------

  #append(items: Item[]): void {
    const list = this.#top()
    if (!Array.isArray(list)) throw this.#corrupt('a list to add to', 'something else')
    for (const item of items) list.push(this.#data(item))
  }

  #setItems(items: Item[]): void {
    const dict = this.#top()
    if (!(dict instanceof Dict)) throw this.#corrupt('a dict to add to', 'something else')
    if (items.length % 2 !== 0) throw this.#corrupt('pairs of key and value', `${items.length} items`)
    for (let at = 0; at < items.length; at += 2) {
      const key = items[at]
      if (typeof key !== 'string') throw this.#unfit('names as the keys of a dict', 'another key')
      if (dict.has(key)) throw this.#corrupt('each key once', `${shown(key)} again`)
      dict.set(key, this.#data(items[at + 1]!))
    }
  }

  #global(module: string, name: string): Global {
    const full = `${module}.${name}`
    const known = globals.get(full)
    if (known === undefined) throw this.#unsafe(shown(full))
    return known
  }

  /** `('storage', type, key, device, length)`: a storage in a file of the archive. */
  #storage(id: Item): StorageReference {
    const [kind, type, key, device, length] = id instanceof Tuple ? id.items : []
    if (kind !== 'storage' || !(type instanceof Global) || type.dtype === undefined)
      throw this.#corrupt('the reference to a storage', 'something else')
    if (typeof key !== 'string' || !/^[0-9]{1,15}$/.test(key) || typeof device !== 'string' || !isSize(length))
      throw this.#corrupt('key, device and length of a storage', 'something else')
    return new StorageReference({ key, dtype: type.dtype, length })
  }

  #reduce(): void {
    const [callee, args] = this.#popMany(2)
    if (!(args instanceof Tuple)) throw this.#corrupt('a tuple of arguments', 'something else')
    if (!(callee instanceof Global)) throw this.#unsafe('a call of something without a name')
    switch (callee.name) {
      case 'collections.OrderedDict':
        if (args.items.length > 0) throw this.#unsafe('an OrderedDict with arguments')
        this.#push(this.#collection(new Dict(true)))
        return
      case 'torch._utils._rebuild_tensor_v2':
        this.#push(this.#tensor(args.items))
        return
      case 'torch._utils._rebuild_parameter': {
        const [tensor] = args.items
        if (!(tensor instanceof TensorView)) throw this.#corrupt('a parameter to hold a tensor', 'something else')
        this.#push(tensor)
        return
      }
      default:
        throw this.#unsafe(`a call of ${shown(callee.name)}`)
    }
  }

  /** Attributes of an OrderedDict: PyTorch keeps version numbers in `_metadata`, which say nothing about the tensors. */
  #build(): void {
    const [object, state] = this.#popMany(2)
    const fits = object instanceof Dict && object.ordered && state instanceof Dict && !object.has('_metadata')
    if (!fits || [...state.keys()].some((key) => key !== '_metadata')) throw this.#unsafe('an object with a state')
    this.#push(object)
  }

  /** `(storage, offset, size, stride, requires_grad, backward_hooks, …)` */
  #tensor(args: readonly Item[]): TensorView {
    const [reference, offset, size, stride] = args
    if (args.length < 6 || args.length > 7 || !(reference instanceof StorageReference))
      throw this.#corrupt('a tensor of a storage', 'something else')
    const shape = size instanceof Tuple ? size.items : []
    const strides = stride instanceof Tuple ? stride.items : []
    if (
      !(size instanceof Tuple && stride instanceof Tuple) ||
      !isSize(offset) ||
      !shape.every(isSize) ||
      !strides.every(isSize) ||
      shape.length !== strides.length ||
      shape.length > MAX_DIMENSIONS
    )
      throw this.#corrupt('offset, sizes and strides of a tensor', 'something else')
    const { storage } = reference
    const elements = shape.reduce((product, extent) => product * extent, 1)
    // Also keeps an expanded tensor (stride 0) from asking for more than the file holds.
    if (!(elements <= storage.length))
      throw this.#corrupt(`at most ${storage.length} elements, as storage ${storage.key} has`, `${elements}`)
    const last = shape.reduce((sum, extent, axis) => sum + (extent - 1) * strides[axis]!, offset)
    if (elements > 0 && !(last < storage.length))
      throw this.#corrupt(`elements before ${storage.length}, where storage ${storage.key} ends`, `element ${last}`)
    return new TensorView(storage, offset, shape, strides)
  }

  // Errors -------------------------------------------------------------------------------------------------------------

  #corrupt(expected: string, got: string): HRMError {
    return corruptFile(this.#path, `${expected} at byte ${this.#start} of data.pkl`, got)
  }

  #unfit(expected: string, got: string): HRMError {
    const remedy = 'save the state dict alone: torch.save(model.state_dict(), file)'
    return fileContentError('ERR_HRM_CHECKPOINT', this.#path, expected, got, remedy)
  }

  #unsafe(what: string): HRMError {
    return fileContentError(
      'ERR_HRM_UNSAFE_PICKLE',
      this.#path,
      `nothing but tensors at byte ${this.#start} of data.pkl`,
      what,
      'not trust the file; nothing in it was run',
    )
  }
}

function isSize(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0
}

/**
 * Reads the pickle of a PyTorch file. It knows tensors, dicts, lists and plain values; it imports, calls and runs nothing.
 *
 * @param path - of the archive, for messages
 * @throws HRMError ERR_HRM_UNSAFE_PICKLE naming what it asks for besides; ERR_HRM_CORRUPT where malformed;
 * ERR_HRM_CHECKPOINT for dicts with other keys than names
 */
export function unpickle(path: string, bytes: Uint8Array): Unpickled {
  return new Machine(path, bytes).run()
}
