import { readdirSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { test } from 'tap'
import { native, type NativeEngine } from '#dist/native.js'
import { batchOf, config, options, segmentOf, startedEngine, trainOptions } from './small-engine.js'

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

/** Collects until the condition holds, at most 5 s: finalisers and engine threads need their turns. */
async function collectUntil(holds: () => boolean, turns = 250): Promise<boolean> {
  for (let i = 0; i < turns && !holds(); i++) {
    collect()
    await sleep(20)
  }
  return holds()
}

const disposed = { code: 'ERR_HRM_DISPOSED' }

test('an engine trains, averages and solves', async (t) => {
  const engine = await startedEngine(3)
  t.match(engine.description, /^cpu /)
  t.ok(engine.numParameters > 0)
  const batch = batchOf(3)
  let last = Infinity
  for (let step = 1; step <= 3; step++) {
    const result = await engine.trainStep(batch)
    t.match(result, { step, lr: 1e-3, nonFinite: '' })
    t.ok(Number.isFinite(result.loss) && result.gradNorm > 0)
    last = result.loss
  }
  t.ok(last < Infinity)
  const name = 'inner.lm_head.weight'
  const raw = await engine.read(name)
  const average = await engine.read(`ema.${name}`)
  t.notSame(raw, average)
  await engine.swapEma()
  t.strictSame(await engine.read(name), average)
  await engine.swapEma()
  t.strictSame(await engine.read(name), raw)
  await engine.endTraining()
  t.strictSame(engine.trainerTensors(), [])

  const session = await engine.openSession(2)
  const first = await session.segment({ ...segmentOf(2), labels: batchOf(2).labels })
  t.equal(first.tokens.length, 2 * config.seqLen)
  t.equal(first.rowStats?.length, 2 * 6)
  t.strictSame(first.steps, new Int32Array([1, 1]))
  const second = await session.segment({ ...segmentOf(1), reset: new Uint8Array(1), keep: new Int32Array([1]) })
  t.strictSame(second.steps, new Int32Array([2]))
  t.equal(second.rowStats, undefined)
  t.equal((await session.read('last.q_logits')).length, 2 * 2)
  engine.dispose()
})

test('tensors are listed, read and written in their dtype', async (t) => {
  const engine = await startedEngine(2)
  for (const { name, dtype, shape } of [...engine.modelTensors(), ...engine.trainerTensors()]) {
    t.strictSame(engine.tensorInfo(name), { name, dtype, shape })
    const values = await engine.read(name)
    t.equal(
      values.length,
      shape.reduce((a, b) => a * b, 1),
      name,
    )
    t.equal(
      values.constructor.name,
      { F32: 'Float32Array', F64: 'Float64Array', I32: 'Int32Array', U8: 'Uint8Array' }[dtype],
    )
    await engine.write(name, values)
  }
  const weights = Float32Array.from({ length: 32 }, (_, i) => i / 8)
  await engine.write('inner.H_init', weights)
  weights.fill(0)
  t.strictSame(
    await engine.read('inner.H_init'),
    Float32Array.from({ length: 32 }, (_, i) => i / 8),
    'arguments are copied',
  )
  t.equal(engine.tensorInfo('inner.nothing'), undefined)
  await t.rejects(engine.read('inner.nothing'), { code: 'ERR_HRM_ARGUMENT' })
  engine.dispose()
})

test('promises of one engine settle in call order', async (t) => {
  const engine = await startedEngine(2)
  const session = await engine.openSession(1)
  const order: number[] = []
  const batch = batchOf(2)
  const calls = [
    () => engine.trainStep(batch),
    () => session.segment(segmentOf(1)),
    () => engine.read('inner.nothing'),
    () => engine.read('inner.H_init'),
    () => engine.trainStep(batch),
  ]
  await Promise.all(
    calls.map((call, index) =>
      call()
        .finally(() => order.push(index))
        .catch(() => undefined),
    ),
  )
  t.strictSame(order, [0, 1, 2, 3, 4])
  engine.dispose()
})

test('dispose lets queued work finish, then every call is refused', async (t) => {
  const engine = await startedEngine(2)
  const session = await engine.openSession(1)
  const queued = [engine.trainStep(batchOf(2)), session.segment(segmentOf(1))]
  engine.dispose()
  engine.dispose()
  t.ok((await Promise.all(queued)).every(Boolean))
  const calls: (() => Promise<unknown>)[] = [
    () => engine.init(1),
    () => engine.read('inner.H_init'),
    () => engine.write('inner.H_init', new Float32Array(32)),
    () => engine.startTraining(trainOptions(2), 0),
    () => engine.trainStep(batchOf(2)),
    () => engine.endTraining(),
    () => engine.swapEma(),
    () => engine.openSession(1),
    () => session.segment(segmentOf(1)),
    () => session.read('last.q_logits'),
    () => native.debug.startStages(engine),
    () => native.debug.takeStages(engine),
  ]
  for (const call of calls) await t.rejects(call(), disposed)
  t.throws(() => engine.modelTensors(), disposed)
  t.throws(() => engine.trainerTensors(), disposed)
  t.throws(() => engine.tensorInfo('inner.H_init'), disposed)
  t.match(engine.description, /^cpu /)
  session.close()
})

test('a closed session refuses, its engine goes on', async (t) => {
  const engine = await startedEngine(2)
  await engine.trainStep(batchOf(2))
  const session = await engine.openSession(1)
  const before = engine.bytes
  const queued = session.segment(segmentOf(1))
  session.close()
  session.close()
  await queued
  await t.rejects(session.segment(segmentOf(1)), disposed)
  await t.rejects(session.read('last.q_logits'), disposed)
  t.match(await engine.trainStep(batchOf(2)), { step: 2 })
  t.ok(engine.bytes < before, 'its memory is freed')
  engine.dispose()
})

test('dispose frees the memory of an engine', async (t) => {
  const engine = await startedEngine(64)
  t.ok(engine.bytes > 1e6)
  engine.dispose()
  for (let i = 0; i < 250 && engine.bytes > 0; i++) await sleep(20)
  t.equal(engine.bytes, 0)
})

/** Threads of this process; every live engine has one. */
const threads = () => readdirSync('/proc/self/task').length
const linux = process.platform === 'linux' ? false : 'threads are counted in /proc'

test(
  'V8 knows what memory hangs on an engine, so that dropped ones are collected unasked',
  { skip: linux },
  async (t) => {
    const before = threads()
    let size = 0
    let peak = 0
    for (let i = 0; i < 60; i++) {
      size = new native.Engine({ ...config, hiddenSize: 512, numHeads: 8 }, options).bytes
      await sleep(1)
      peak = Math.max(peak, threads() - before)
    }
    t.ok(size > 20e6, `${size} bytes each`)
    t.ok(peak < 30, `${peak} of 60 engines were alive at once`)
  },
)

test('the threads of engines that are dropped undisposed end', { skip: linux }, async (t) => {
  const kept = new native.Engine(config, options)
  await kept.init(1)
  await collectUntil(() => false, 5)
  const before = threads()
  const make = async () => {
    const engine = await startedEngine(8)
    const session = await engine.openSession(8)
    await session.segment(segmentOf(8))
  }
  for (let i = 0; i < 20; i++) await make()
  t.ok(await collectUntil(() => threads() <= before))
  await kept.init(2)
  kept.dispose()
})

test('a pending promise keeps a dropped engine alive', async (t) => {
  const drop = (): Promise<unknown> => {
    let engine: NativeEngine | undefined = new native.Engine(config, options)
    void engine.init(1)
    const session = engine.openSession(4)
    engine = undefined
    return session.then((open) => open.segment(segmentOf(4)))
  }
  const pending = Array.from({ length: 8 }, drop)
  collect()
  t.match(
    await Promise.all(pending),
    Array.from({ length: 8 }, () => ({ steps: new Int32Array(4).fill(1) })),
  )
})
