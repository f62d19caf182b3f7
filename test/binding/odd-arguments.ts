// Random lists of arguments: a valid list, of which some values, fields and receivers are replaced by odd ones.
import type { Test } from 'tap'

/** Marsaglia's xorshift32 below a bound; the seed is spread first, so that neighbouring seeds differ at once. */
function generator(seed: number): (below: number) => number {
  let state = Math.imul(seed ^ (seed >>> 16), 0x45d9f3b) || 1
  return (below) => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return (state >>> 0) % below
  }
}

type Random = ReturnType<typeof generator>

/** What getters, proxies and conversions of odd values throw: the caller's own error, which must come back unchanged. */
class GetterError extends Error {}
const trap = (): never => {
  throw new GetterError('thrown by the caller')
}

function detach(array: ArrayBufferView): void {
  if (array.buffer instanceof ArrayBuffer) structuredClone(array.buffer, { transfer: [array.buffer] })
}

export function detached(): Int32Array {
  const array = new Int32Array(12)
  detach(array)
  return array
}

function resizable(): ArrayBuffer & { resize(bytes: number): void } {
  return Reflect.construct(ArrayBuffer, [48, { maxByteLength: 96 }])
}

/** A view of 12 elements on a buffer that has shrunk below it. */
export function shrunk(): Int32Array {
  const buffer = resizable()
  const array = new Int32Array(buffer, 0, 12)
  buffer.resize(8)
  return array
}

/** Says that it is longer than it is. */
class Boastful extends Int32Array {
  override get length() {
    return 2 ** 33
  }
}

/** Makes what it is asked for out of something else. */
class Hostile extends Int32Array {
  static get [Symbol.species](): Int32ArrayConstructor {
    return trap()
  }
  override subarray = trap
  override set = trap
}

class Rows extends Array<unknown> {}

function revoked(): object {
  const { proxy, revoke } = Proxy.revocable({}, {})
  revoke()
  return proxy
}

function cyclic(): object {
  const object: Record<string, unknown> = { big: 10n }
  object['self'] = object
  return object
}

const oddValues: (() => unknown)[] = [
  () => undefined,
  () => null,
  () => true,
  () => 0,
  () => -0,
  () => -1,
  () => 1,
  () => 1.5,
  () => NaN,
  () => Infinity,
  () => 2 ** 31,
  () => 2 ** 32 + 1,
  () => 2 ** 53,
  () => 1e300,
  () => '',
  () => 'none',
  () => 'inner.H_init',
  () => 'rope',
  () => '__proto__',
  () => 'a\0b',
  () => '\ud800',
  () => 'x'.repeat(100_000),
  () => Symbol('s'),
  () => 10n,
  () => [],
  () => [1, 2],
  () => Object.assign([[1]], { length: 2 ** 32 - 1 }),
  () => Rows.of(1, 2, 3, 4, 5, 6),
  () => ({}),
  () => Object.create(null) as unknown,
  () => Object.freeze({ frozen: 1 }),
  () => ({ valueOf: trap, toString: trap, toJSON: trap, [Symbol.toPrimitive]: trap }),
  cyclic,
  revoked,
  () => new Date(NaN),
  () => () => undefined,
  () => Map,
  () => new Proxy({}, { get: trap }),
  () => new Proxy({}, { ownKeys: trap }),
  () => new Proxy([], { get: trap }),
  () => new Proxy([1, 2, 3], { get: (target, key) => (key === 'length' ? 2 ** 31 : Reflect.get(target, key)) }),
  () => new Proxy(new Int32Array(12), {}),
  () => Object.create(Int32Array.prototype) as unknown,
  () => new Int32Array(0),
  () => new Int32Array(12).fill(-7),
  () => new Int32Array(12).fill(2 ** 30),
  () => new Uint8Array(2),
  () => new Float32Array(32).fill(NaN),
  () => new Float64Array(3),
  () => new BigInt64Array(4),
  () => new DataView(new ArrayBuffer(8)),
  () => new ArrayBuffer(8),
  () => new Int32Array(new SharedArrayBuffer(48)),
  () => new Int32Array(resizable()),
  () => new Boastful(12),
  () => new Hostile(12),
  detached,
  shrunk,
]

function isPlain(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype
}

/** The arrays in a valid value. */
function arraysIn(value: unknown): ArrayBufferView[] {
  if (ArrayBuffer.isView(value)) return [value]
  return isPlain(value) ? Object.values(value).flatMap(arraysIn) : []
}

/** Arrays anew, so that they can be detached. */
function copied(value: unknown): unknown {
  if (ArrayBuffer.isView(value)) return (value as Int32Array).slice()
  return isPlain(value) ? Object.fromEntries(Object.entries(value).map(([key, field]) => [key, copied(field)])) : value
}

/** A copy of a valid object of which up to two fields are odd, or read in an odd way. */
function spoilFields(random: Random, value: Record<string, unknown>, odd: () => unknown, fits: Fits): unknown {
  const valid = copied(value) as Record<string, unknown>
  const victims = arraysIn(valid)
  const copy = { ...valid }
  const keys = Object.keys(valid)
  for (let n = random(3); n > 0 && keys.length > 0; n--) {
    const key = keys[random(keys.length)]!
    const kept = valid[key]
    const kind = random(8)
    // Reading this field throws, or takes the memory of the arrays that were, or will be, read besides.
    const takeMemory = () => {
      victims.forEach(detach)
      return kept
    }
    const replacement = kind === 2 && isPlain(kept) ? spoilFields(random, kept, odd, fits) : odd()
    const described = kind > 1 ? { value: replacement } : { get: kind === 0 ? trap : takeMemory }
    if (kind < 2 || fits(key, replacement))
      Object.defineProperty(copy, key, { ...described, enumerable: true, configurable: true })
  }
  switch (random(12)) {
    case 0:
      return Object.freeze(copy)
    case 1:
      return Object.create(copy)
    case 2: {
      let left = random(12)
      return new Proxy(copy, { get: (target, key) => (left-- === 0 ? trap() : Reflect.get(target, key)) })
    }
    case 3:
      return Object.assign(copy, { unknown: 1 })
    default:
      return copy
  }
}

/** Whether an odd value may take the place of a field: false for what would be valid, only slow or large. */
type Fits = (field: string, value: unknown) => boolean

/** One function under test. */
export interface Callable {
  name: string
  /** Its receiver. */
  self?: () => unknown
  call: (this: unknown, ...list: unknown[]) => unknown
  /** A list that it takes. */
  valid?: () => unknown[]
  /** How often it is called beside others, 1 = seldom. @default 8 */
  weight?: number
}

/** What V8 itself says of receivers, proxies, conversions and sizes before any code of the package sees them. */
const ofTheEngine = [
  /^Illegal invocation$/,
  /^Cannot (read|write) private member/,
  /^Receiver must be/,
  /proxy that has been revoked$/,
  /^Cannot convert a Symbol value to a/,
  /^Cannot convert object to primitive value$/,
  /^this is not a typed array\.$/,
  /called on incompatible receiver/,
  /on a detached ArrayBuffer$/,
  /^Invalid typed array length/,
  /^Array buffer allocation failed$/,
  /^Class constructor \w+ cannot be invoked without 'new'$/,
]

function expected(error: unknown, oddReceiver: boolean): boolean {
  if (error instanceof GetterError) return true
  const { code, message } = error as { code?: unknown; message?: unknown }
  const argument = error instanceof TypeError || error instanceof RangeError
  if (code === 'ERR_HRM_ARGUMENT') return argument
  if (argument && oddReceiver) return true
  if (code !== undefined) return error instanceof Error && typeof code === 'string' && /^ERR_HRM_[A-Z_]+$/.test(code)
  return argument && ofTheEngine.some((pattern) => pattern.test(String(message)))
}

/**
 * Calls the functions with random lists and waits for what they return. Every error must be a TypeError or RangeError of
 * this package (or of V8 itself), an error with a code of this package, or the very error that a getter threw. A failure
 * names its seed: HRM_TEST_SEED=… begins with that list.
 *
 * @param objects - of the package, which also come where they do not belong
 * @returns lists that were accepted and refused, by function
 */
export async function callWithOddArguments(
  t: Test,
  {
    lists,
    calls,
    objects,
    fits = () => true,
  }: { lists: number; calls: readonly Callable[]; objects: readonly object[]; fits?: Fits },
): Promise<Map<string, { accepted: number; refused: number }>> {
  const base = Number(process.env['HRM_TEST_SEED'] ?? 20250621)
  const values = [...oddValues, ...objects.map((object) => () => object)]
  const wheel = calls.flatMap((callable) => Array.from({ length: callable.weight ?? 8 }, () => callable))
  const counts = new Map(calls.map(({ name }) => [name, { accepted: 0, refused: 0 }]))
  const unexpected: string[] = []
  for (let seed = base; seed < base + lists && unexpected.length < 20; seed++) {
    if (seed % 10_000 === 0) t.comment(`at seed ${seed}`)
    const random = generator(seed)
    const odd = () => values[random(values.length)]!()
    const { name, self, call, valid } = wheel[random(wheel.length)]!
    const list = (valid?.() ?? []).map((value) => {
      if (random(4) === 0) return odd()
      return isPlain(value) ? spoilFields(random, value, odd, fits) : value
    })
    const change = random(8)
    if (change === 0) list.length = random(list.length + 1)
    if (change === 1) list.push(odd())
    const oddReceiver = self !== undefined && random(16) === 0
    const receiver = oddReceiver ? odd() : self?.()
    try {
      await Reflect.apply(call, receiver, list)
      counts.get(name)!.accepted++
    } catch (error) {
      counts.get(name)!.refused++
      if (!expected(error, oddReceiver))
        unexpected.push(`HRM_TEST_SEED=${seed} ${name}: ${(error as Error).stack ?? String(error)}`)
    }
  }
  t.strictSame(unexpected, [])
  return counts
}
