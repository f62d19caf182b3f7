import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'tap'
import { native } from '#dist/native.js'
import { figure, long } from '../reliability/figures.js'
import { type Callable, callWithOddArguments, detached, shrunk } from './odd-arguments.js'
import { batchOf, config, options, segmentOf, startedEngine, trainOptions } from './small-engine.js'

const argument = { code: 'ERR_HRM_ARGUMENT' }

/** Sizes of which a large one would be valid, and only slow. */
const sizes = new Set([
  'batchSize',
  'hiddenSize',
  'seqLen',
  'hLayers',
  'lLayers',
  'hCycles',
  'lCycles',
  'vocabSize',
  'threads',
])

/** Names of what an object or a prototype offers. */
const members = (object: object) => Object.getOwnPropertyNames(object).filter((name) => name !== 'constructor')

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
  const closed = await engine.openSession(2)
  closed.close()
  const disposed = new native.Engine(config, options)
  disposed.dispose()
  const lock = native.lockFile('lock')!
  const { debug } = native
  const noise = { sigmas: new Float64Array(2), keys: new Int32Array(6) }
  const request = { ...segmentOf(2), labels: batchOf(2).labels, keep: new Int32Array([0, 1]), noise, residual: true }
  const draws = { u: new Float32Array(2), minSteps: new Int32Array(2) }

  /** A method or getter of the prototype, on whatever receiver. */
  const member = (target: object, name: string): Callable['call'] => {
    const { get, value } = Object.getOwnPropertyDescriptor(Object.getPrototypeOf(target), name)!
    return (get ?? value) as Callable['call']
  }
  const lists: Record<string, () => unknown[]> = {
    init: () => [3],
    tensorInfo: () => ['inner.H_init'],
    read: () => ['inner.H_init'],
    write: () => ['carry.inputs', new Int32Array(12)],
    startTraining: () => [trainOptions(2), 0],
    trainStep: () => [batchOf(2), draws],
    openSession: () => [1],
  }
  // After a segment that failed there is nothing to keep.
  let segments = 0
  const anySegment = () => (segments++ % 2 === 0 ? { ...request, keep: undefined } : request)
  const sessionLists: Record<string, () => unknown[]> = { segment: () => [anySegment()], read: () => ['last.q_logits'] }
  const debugLists: Record<string, () => unknown[]> = {
    startStages: () => [engine],
    takeStages: () => [engine],
    learningRate: () => [1, 1e-3, 10, 100, 0.1],
    truncatedNormal: () => [1, 0, 3, new Float64Array(3)],
    philox: () => [
      [1, 2],
      [1, 2, 3, 4],
    ],
    timeStep: () => [engine, 'block_forward', 1, 1],
    peakFlops: () => [1, '', 1],
    gpuPeakFlops: () => ['cuda:0', 'bf16', 1],
  }
  /** Seldom: it ends what others need, or takes long. */
  const seldom = new Set(['dispose', 'close', 'endTraining', 'timeStep', 'peakFlops', 'gpuPeakFlops'])
  const entry = (
    name: string,
    call: Callable['call'],
    self: Callable['self'],
    valid?: Callable['valid'],
  ): Callable => ({
    name,
    call,
    ...(self ? { self } : {}),
    ...(valid ? { valid } : {}),
    weight: seldom.has(name.replace(/.*\./, '')) ? 1 : 8,
  })
  const calls = [
    entry(
      'Engine',
      (...list) => Reflect.construct(native.Engine, list),
      undefined,
      () => [config, options],
    ),
    ...members(native.Engine.prototype).map((name) =>
      entry(
        `engine.${name}`,
        member(engine, name),
        name === 'dispose' ? () => new native.Engine(config, options) : () => engine,
        lists[name],
      ),
    ),
    ...members(Object.getPrototypeOf(session) as object).map((name) =>
      entry(`session.${name}`, member(session, name), () => (name === 'close' ? {} : session), sessionLists[name]),
    ),
    ...members(debug).map((name) =>
      entry(`debug.${name}`, debug[name as keyof typeof debug] as Callable['call'], undefined, debugLists[name]),
    ),
    entry('cpuInfo', native.cpuInfo as Callable['call'], undefined),
    entry('gpuInfo', native.gpuInfo as Callable['call'], undefined),
    entry('mapFile', native.mapFile as Callable['call'], undefined, () => ['lock']),
    entry('lockFile', native.lockFile as Callable['call'], undefined, () => ['lock']),
    entry('lock.release', lock.release as Callable['call'], undefined),
  ]
  t.strictSame(
    members(native),
    ['Engine', 'cpuInfo', 'gpuInfo', 'mapFile', 'lockFile', 'debug'],
    'every export is called',
  )

  const objects = [engine, session, closed, disposed, lock, native.Engine.prototype]
  const total = long ? 100_000 : 4000
  const fits = (field: string, value: unknown) => !(sizes.has(field) && typeof value === 'number' && value > 2)
  const counts = await callWithOddArguments(t, { lists: total, calls, objects, fits })
  const sum = (kind: 'accepted' | 'refused') => [...counts.values()].reduce((all, count) => all + count[kind], 0)
  for (const name of ['Engine', 'engine.trainStep', 'engine.openSession', 'session.segment', 'debug.philox']) {
    const { accepted, refused } = counts.get(name)!
    t.ok(accepted > 0 && refused > 0, `${name}: ${accepted} accepted, ${refused} refused`)
  }
  t.ok((await engine.read('inner.H_init')).every(Number.isFinite), 'the engine still works')
  t.match(await session.segment(segmentOf(2)), { steps: new Int32Array([1, 1]) }, 'the session still works')
  figure(t, 'arguments-addon', {
    lists: total,
    functions: calls.length,
    accepted: sum('accepted'),
    refused: sum('refused'),
    'other errors': 0,
    crashes: 0,
  })
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
  for (const name of ['description', 'numParameters', 'bytes'] as const) {
    t.throws(() => Reflect.get(native.Engine.prototype, name, session), argument)
  }
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
