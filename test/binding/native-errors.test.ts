import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'tap'
import { native } from '#dist/native.js'
import { batchOf, config, options, segmentOf, startedEngine, trainOptions } from './small-engine.js'

const folder = mkdtempSync(join(tmpdir(), 'hrm-binding-'))
process.on('exit', () => rmSync(folder, { recursive: true }))

test('errors of the C++ core arrive with their codes', async (t) => {
  const create = (changes: object, opts: object = {}) =>
    new native.Engine({ ...config, ...changes }, { ...options, ...opts })
  t.throws(() => create({ numHeads: 5 }), { code: 'ERR_HRM_CONFIG', message: /hidden_size.*multiple of num_heads/ })
  t.throws(() => create({}, { device: 'cuda:0' }), { code: 'ERR_HRM_NO_DEVICE', message: /cuda:0/ })
  t.throws(() => create({}, { isa: 'z80' }), { code: 'ERR_HRM_ARGUMENT', name: 'RangeError', message: /z80/ })
  t.throws(() => create({ hiddenSize: 2 ** 20 }), { code: 'ERR_HRM_OUT_OF_MEMORY', message: /bytes/ })

  const engine = await startedEngine(2)
  await t.rejects(engine.startTraining(trainOptions(2), 0), { code: 'ERR_HRM_BUSY' })
  await t.rejects(engine.trainStep(batchOf(3)), {
    code: 'ERR_HRM_SHAPE',
    message: /expected 12 inputs for 2 rows, got 18/,
  })
  const batch = batchOf(2)
  batch.inputs[5] = config.vocabSize
  await t.rejects(engine.trainStep(batch), {
    code: 'ERR_HRM_ARGUMENT',
    name: 'RangeError',
    message: /got 7 at index 5/,
  })
  const draws = { u: new Float32Array(1), minSteps: new Int32Array(2) }
  await t.rejects(engine.trainStep(batchOf(2), draws), { code: 'ERR_HRM_SHAPE', message: /2 draws/ })
  await t.rejects(engine.write('inner.H_init', new Float32Array(31)), { code: 'ERR_HRM_SHAPE' })
  await t.rejects(engine.write('inner.H_init', new Float64Array(32)), { code: 'ERR_HRM_ARGUMENT' })
  const tokens = new Int32Array(12).fill(config.vocabSize)
  await t.rejects(engine.write('carry.inputs', tokens), { code: 'ERR_HRM_ARGUMENT' })
  await t.rejects(engine.write('carry.labels', tokens), { code: 'ERR_HRM_ARGUMENT' })
  await t.rejects(engine.write('carry.puzzle_identifiers', new Int32Array([0, -1])), { code: 'ERR_HRM_ARGUMENT' })
  await engine.write('carry.labels', new Int32Array(12).fill(-100))
  await engine.endTraining()
  await t.rejects(engine.trainStep(batchOf(2)), { code: 'ERR_HRM_ARGUMENT', message: /startTraining/ })
  const wrong = { ...trainOptions(2), beta1: 2 }
  await t.rejects(engine.startTraining(wrong, 0), { code: 'ERR_HRM_CONFIG', message: /beta1/ })

  const long = create({ seqLen: 2 ** 14, hiddenSize: 128 })
  // 2^20 rows * 2^14 positions * 128 * 4 bytes: no machine has them.
  await t.rejects(long.startTraining(trainOptions(2 ** 20), 0), { code: 'ERR_HRM_OUT_OF_MEMORY', message: /bytes/ })
  await t.rejects(long.openSession(2 ** 20), { code: 'ERR_HRM_OUT_OF_MEMORY' })
  long.dispose()

  const session = await engine.openSession(2)
  await t.rejects(session.segment(segmentOf(3)), { code: 'ERR_HRM_SHAPE', message: /1 to 2 rows/ })
  await t.rejects(session.segment({ ...segmentOf(2), reset: new Uint8Array(2) }), { code: 'ERR_HRM_ARGUMENT' })
  engine.dispose()
})

test('a non-finite weight is named and the step is not applied', async (t) => {
  const engine = await startedEngine(2)
  const name = engine.modelTensors()[0]?.name ?? ''
  const good = (await engine.read(name)) as Float32Array
  await engine.write(name, Float32Array.from(good).fill(NaN, 0, 1))
  t.match(await engine.trainStep(batchOf(2)), { nonFinite: name })
  await engine.write(name, good)
  t.match(await engine.trainStep(batchOf(2)), { nonFinite: '' })
  engine.dispose()
})

test('a mapped file reads as its bytes, and writes to the map stay in memory', (t) => {
  const path = join(folder, 'bytes')
  writeFileSync(
    path,
    Uint8Array.from({ length: 5000 }, (_, i) => i % 251),
  )
  const mapped = new Uint8Array(native.mapFile(path))
  t.strictSame(Buffer.from(mapped), readFileSync(path))
  mapped.fill(255)
  t.equal(readFileSync(path)[3], 3)
  writeFileSync(path, '')
  const empty = join(folder, 'empty')
  closeSync(openSync(empty, 'w'))
  t.equal(native.mapFile(empty).byteLength, 0)
  t.throws(() => native.mapFile(join(folder, 'missing')), { code: 'ERR_HRM_IO', message: /missing: No such file/ })
  t.throws(() => native.mapFile(folder), { code: 'ERR_HRM_IO' })
  t.end()
})

test('a lock is exclusive until it is released', (t) => {
  const path = join(folder, 'run.lock')
  const lock = native.lockFile(path)
  t.ok(lock)
  t.equal(native.lockFile(path), undefined)
  const file = openSync(path, 'r+')
  writeSync(file, 'the owner may write')
  closeSync(file)
  lock?.release()
  lock?.release()
  const again = native.lockFile(path)
  t.ok(again)
  again?.release()
  t.throws(() => native.lockFile(join(folder, 'no', 'folder')), { code: 'ERR_HRM_IO' })
  t.end()
})

test('Philox, the schedule and the initialiser give their published values', (t) => {
  // Random123 1.09, kat_vectors: philox 4x32 10.
  t.strictSame(
    native.debug.philox([0, 0], [0, 0, 0, 0]),
    Uint32Array.from([0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]),
  )
  t.equal(native.debug.learningRate(5, 1, 10, 100, 0.1), 0.5)
  const drawn = native.debug.truncatedNormal(0.5, 3, 20_000)
  const deviation = Math.sqrt(drawn.reduce((sum, x) => sum + x * x, 0) / drawn.length)
  t.ok(Math.abs(deviation - 0.5) < 0.01, `standard deviation ${deviation}`)
  t.strictSame(native.debug.truncatedNormal(0.5, 3, 20_000), drawn)
  t.end()
})
