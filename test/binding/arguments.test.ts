import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'tap'
import { native } from '#dist/native.js'
import { batchOf, config, options, segmentOf, startedEngine, trainOptions } from './small-engine.js'

const argument = { code: 'ERR_HRM_ARGUMENT' }

/** Marsaglia's xorshift32, so that a failing list of arguments can be repeated. */
function generator(seed: number): (below: number) => number {
  let state = seed
  return (below) => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return (state >>> 0) % below
  }
}

function detached(): Int32Array {
  const array = new Int32Array(12)
  structuredClone(array.buffer, { transfer: [array.buffer] })
  return array
}

/** A view on a buffer that has shrunk below the view. */
function shrunk(): Int32Array {
  const buffer: ArrayBuffer & { resize?(bytes: number): void } = Reflect.construct(ArrayBuffer, [
    48,
    { maxByteLength: 96 },
  ])
  const array = new Int32Array(buffer)
  buffer.resize?.(8)
  return array
}

class GetterError extends Error {}
const trap = () => {
  throw new GetterError('thrown by a getter')
}

const oddValues: (() => unknown)[] = [
  () => undefined,
  () => null,
  () => true,
  () => 0,
  () => -1,
  () => 1.5,
  () => NaN,
  () => Infinity,
  () => 2 ** 31,
  () => 2 ** 53,
  () => 1e300,
  () => '',
  () => 'inner.H_init',
  () => 'rope',
  () => 'a\0b',
  () => Symbol('s'),
  () => 10n,
  () => [],
  () => [1, 2],
  () => ({}),
  () => () => undefined,
  () => new Proxy({}, { get: trap }),
  () => new Proxy([], { get: trap }),
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
  detached,
  shrunk,
]

type Call = (...list: unknown[]) => unknown

test('wrong arguments raise coded TypeErrors and RangeErrors, and nothing else happens', async (t) => {
  // Some odd values are names, and lockFile() creates the file that it is given.
  const folder = mkdtempSync(join(tmpdir(), 'hrm-arguments-'))
  const origin = process.cwd()
  process.chdir(folder)
  t.teardown(() => {
    process.chdir(origin)
    rmSync(folder, { recursive: true })
  })
  const engine = await startedEngine(2)
  const session = await engine.openSession(2)
  const { debug } = native
  const noise = { sigmas: new Float64Array(2), keys: new Int32Array(6) }
  // Each with a valid list, of which some values are replaced by odd ones. seqLen is small and sizes are left out where a
  // large one would be valid and only slow.
  const calls: [string, Call, unknown[]][] = [
    ['Engine', (...list) => Reflect.construct(native.Engine, list), [config, options]],
    ['init', engine.init.bind(engine) as Call, [3]],
    ['tensorInfo', engine.tensorInfo.bind(engine) as Call, ['inner.H_init']],
    ['read', engine.read.bind(engine) as Call, ['inner.H_init']],
    ['write', engine.write.bind(engine) as Call, ['carry.inputs', new Int32Array(12)]],
    ['startTraining', engine.startTraining.bind(engine) as Call, [trainOptions(2), 0]],
    [
      'trainStep',
      engine.trainStep.bind(engine) as Call,
      [batchOf(2), { u: new Float32Array(2), minSteps: new Int32Array(2) }],
    ],
    ['openSession', engine.openSession.bind(engine) as Call, [1]],
    [
      'segment',
      session.segment.bind(session) as Call,
      [{ ...segmentOf(2), labels: batchOf(2).labels, keep: new Int32Array(1), noise, residual: true }],
    ],
    ['session.read', session.read.bind(session) as Call, ['last.q_logits']],
    ['startStages', debug.startStages as Call, [engine]],
    ['takeStages', debug.takeStages as Call, [engine]],
    ['learningRate', debug.learningRate as Call, [1, 1e-3, 10, 100, 0.1]],
    ['truncatedNormal', debug.truncatedNormal as Call, [1, 0, 3, new Float64Array(3)]],
    [
      'philox',
      debug.philox as Call,
      [
        [1, 2],
        [1, 2, 3, 4],
      ],
    ],
    ['mapFile', native.mapFile as Call, ['/dev/null/none']],
    ['lockFile', native.lockFile as Call, ['/dev/null/none']],
  ]
  const tooLarge = new Set([
    'batchSize',
    'hiddenSize',
    'seqLen',
    'hLayers',
    'lLayers',
    'hCycles',
    'lCycles',
    'vocabSize',
  ])
  const next = generator(20250621)
  const odd = () => oddValues[next(oddValues.length)]?.()
  const counts = { resolved: 0, raised: 0 }
  const unexpected: string[] = []
  const lists = process.env.HRM_TEST_LONG === '1' ? 100_000 : 4_000

  for (let i = 0; i < lists; i++) {
    const [name, call, valid] = calls[next(calls.length)]!
    const list = valid.map((value) => {
      if (next(3) === 0) return odd()
      if (
        typeof value !== 'object' ||
        value === null ||
        ArrayBuffer.isView(value) ||
        Array.isArray(value) ||
        value === engine
      )
        return value
      const copy: Record<string, unknown> = { ...value }
      const keys = Object.keys(copy)
      for (let n = next(3); n > 0; n--) {
        const key = keys[next(keys.length)]!
        const replacement = odd()
        if (!(tooLarge.has(key) && typeof replacement === 'number' && replacement > 2)) copy[key] = replacement
      }
      return copy
    })
    list.length = next(8) === 0 ? next(list.length + 1) : list.length
    try {
      await call(...list)
      counts.resolved++
    } catch (error) {
      counts.raised++
      const { code } = error as { code?: string }
      const known =
        error instanceof GetterError ||
        (code === 'ERR_HRM_ARGUMENT' && (error instanceof TypeError || error instanceof RangeError)) ||
        (code !== 'ERR_HRM_ARGUMENT' && /^ERR_HRM_[A-Z_]+$/.test(code ?? ''))
      if (!known) unexpected.push(`${name}(${list.map((value) => typeof value).join(', ')}): ${String(error)}`)
    }
  }
  t.strictSame(unexpected, [])
  t.ok(
    counts.resolved > lists / 50 && counts.raised > lists / 4,
    `${counts.resolved} accepted, ${counts.raised} refused`,
  )
  t.ok((await engine.read('inner.H_init')).every(Number.isFinite), 'the engine still works')
  engine.dispose()
})

test('a message names the operation, the argument, what was expected and what came', async (t) => {
  const engine = await startedEngine(2)
  await t.rejects(engine.trainStep({ ...batchOf(2), inputs: new Uint8Array(12) } as never), {
    ...argument,
    name: 'TypeError',
    message: '[trainStep] expected batch.inputs to be an Int32Array, got another typed array',
  })
  await t.rejects(engine.openSession(0), {
    ...argument,
    name: 'RangeError',
    message: '[openSession] expected capacity to be an integer between 1 and 1048576, got 0',
  })
  t.throws(() => new native.Engine({ ...config, posEncodings: 'alibi' as never }, options), {
    ...argument,
    name: 'RangeError',
    message: `[Engine] expected config.posEncodings to be 'rope' or 'learned', got "alibi"`,
  })
  await t.rejects(native.debug.startStages({} as never), {
    ...argument,
    name: 'TypeError',
    message: '[startStages] expected engine to be an Engine, got an object',
  })
  engine.dispose()
})

test('objects of another class are refused as receivers and as arguments', async (t) => {
  const engine = await startedEngine(2)
  const session = await engine.openSession(1)
  t.throws(() => engine.modelTensors.call(session as never), TypeError)
  t.throws(() => session.segment.call(engine as never, segmentOf(1)), TypeError)
  t.throws(() => engine.dispose.call({} as never), TypeError)
  Object.setPrototypeOf(session, native.Engine.prototype)
  await t.rejects(native.debug.takeStages(session as never), argument)
  await t.rejects(native.debug.takeStages(Object.create(native.Engine.prototype)), argument)
  t.throws(() => Reflect.apply(native.Engine, undefined, [config, options]), TypeError)
  const Session = (await engine.openSession(1)).constructor as new (...list: unknown[]) => unknown
  t.throws(() => new Session(), argument)
  t.throws(() => new Session({}), argument)
  engine.dispose()
})

test('buffers that were detached, shrunk or are shared are read as they are at the call', async (t) => {
  const engine = await startedEngine(2)
  await t.rejects(engine.trainStep({ ...batchOf(2), inputs: detached() }), { code: 'ERR_HRM_SHAPE' })
  await t.rejects(engine.trainStep({ ...batchOf(2), inputs: shrunk() }), { code: 'ERR_HRM_SHAPE' })
  const shared = new Int32Array(new SharedArrayBuffer(12 * 4))
  const running = engine.trainStep({ ...batchOf(2), inputs: shared })
  shared.fill(2 ** 30)
  t.match(await running, { step: 1 }, 'later writes do not reach the engine')
  // A getter that detaches what was read before it.
  const batch = batchOf(2)
  const sly = {
    inputs: batch.inputs,
    labels: batch.labels,
    get puzzleIds() {
      structuredClone(batch.inputs.buffer, { transfer: [batch.inputs.buffer as ArrayBuffer] })
      return batch.puzzleIds
    },
  }
  t.match(await engine.trainStep(sly), { step: 2 })
  // A getter that disposes the engine.
  const fatal = {
    ...batchOf(2),
    get puzzleIds() {
      engine.dispose()
      return new Int32Array(2)
    },
  }
  await t.rejects(engine.trainStep(fatal), { code: 'ERR_HRM_DISPOSED' })
})
