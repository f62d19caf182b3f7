import { spawn } from 'node:child_process'
import { text } from 'node:stream/consumers'
import { test } from 'tap'
import { resolveDevice } from '#dist/devices.js'
import { estimateMemory, HRM, listDevices } from '#dist/index.js'
import { native } from '#dist/native.js'
import { examples, rejection, tiny } from './fixtures.js'

test('a model tells its configuration, device and size', async (t) => {
  await using model = await HRM.create({ ...tiny, preset: 'tiny' }, { device: 'cpu', threads: 1 })
  t.match(model.config, { ...tiny, hCycles: 2, posEncodings: 'rope' })
  t.match(model.device, /cpu/)
  // 2 blocks of 4 D^2 + 3 F D, two tables of V D, q head 2 D + 2.
  t.equal(model.numParameters, 2 * (4 * 16 ** 2 + 3 * 256 * 16) + 2 * 7 * 16 + 2 * 16 + 2)
  t.ok(model.bytes > 4 * model.numParameters)
  t.throws(() => ((model.config as { vocabSize: number }).vocabSize = 9))
})

test('the same seed gives the same model, another seed another', async (t) => {
  const tokens = async (seed: number, threads: number) => {
    await using model = await HRM.create(tiny, { seed, threads })
    const results = await model.solve(examples(8))
    return results.map(({ tokens, qHalt }) => [...tokens, qHalt])
  }
  t.same(await tokens(5, 1), await tokens(5, 2))
  t.notSame(await tokens(5, 1), await tokens(6, 1))
})

test('wrong configurations and options are refused', async (t) => {
  t.match(await rejection(HRM.create({ preset: 'tiny' })), { code: 'ERR_HRM_CONFIG', message: /vocabSize/ })
  t.match(await rejection(HRM.create({ ...tiny, hiddenSize: 17 })), { code: 'ERR_HRM_CONFIG', message: /hiddenSize/ })
  t.match(await rejection(HRM.create(tiny, { seeds: 1 } as never)), { code: 'ERR_HRM_ARGUMENT', message: /"seeds"/ })
  t.match(await rejection(HRM.create(tiny, { seed: -1 })), { code: 'ERR_HRM_ARGUMENT', name: 'RangeError' })
  t.match(await rejection(HRM.create(tiny, { maxBatch: 0 })), { code: 'ERR_HRM_ARGUMENT', message: /maxBatch/ })
  t.match(await rejection(HRM.create(tiny, { threads: 1.5 })), { code: 'ERR_HRM_ARGUMENT', message: /threads/ })
  t.match(await rejection(HRM.create(tiny, { device: 'cuda' })), { code: 'ERR_HRM_NO_DEVICE', message: /cuda/ })
  t.match(await rejection(HRM.create(tiny, { device: 'tpu' })), { code: 'ERR_HRM_ARGUMENT', message: /cuda:N/ })
  t.match(await rejection(HRM.create(tiny, { precision: 'bf16' })), { code: 'ERR_HRM_NO_DEVICE', message: /bf16/ })
  t.match(await rejection(HRM.create(tiny, { isa: 'sse9' })), { code: 'ERR_HRM_NO_DEVICE', message: /sse9/ })
  t.match(await rejection(HRM.load(undefined as never)), { code: 'ERR_HRM_ARGUMENT' })
})

test('an option wins over its environment variable, which wins over the default', (t) => {
  const { isa } = native.cpuInfo()
  const env = { HRM_DEVICE: 'cpu', HRM_THREADS: '3', HRM_ISA: isa }
  t.same(resolveDevice('test', {}, env), { device: 'cpu', threads: 3, precision: 'fp32', isa })
  t.match(resolveDevice('test', { threads: 2, isa: 'reference' }, env), { threads: 2, isa: 'reference' })
  t.match(resolveDevice('test', {}, {}), { device: 'cpu', threads: 0, isa: '' })
  t.match(resolveDevice('test', { device: 'auto' }, { HRM_DEVICE: 'cuda' }), { device: 'cpu' })
  t.throws(() => resolveDevice('test', {}, { HRM_DEVICE: 'cuda:1' }), { code: 'ERR_HRM_NO_DEVICE' })
  t.throws(() => resolveDevice('test', {}, { HRM_THREADS: 'many' }), {
    code: 'ERR_HRM_ARGUMENT',
    message: /HRM_THREADS/,
  })
  t.throws(() => resolveDevice('test', {}, { HRM_ISA: 'sse9' }), { code: 'ERR_HRM_NO_DEVICE' })
  t.end()
})

test('the devices list this CPU', (t) => {
  const cpu = listDevices().find((found) => found.device === 'cpu')
  t.match(cpu, { device: 'cpu', name: String, isa: String, threads: Number })
  t.ok(cpu!.threads >= 1 && cpu!.isas.includes(cpu!.isa))
  t.end()
})

test('the memory estimate is the sum of its parts and grows with the batch', (t) => {
  const paper = { preset: 'paper', vocabSize: 11, seqLen: 81 } as const
  const { bytes, parts } = estimateMemory(paper, { batch: 8, train: true })
  t.equal(
    bytes,
    Object.values(parts).reduce((a, b) => a + b, 0),
  )
  t.ok(parts.weights > 4 * 27_275_266 && parts.weights < 4 * 27_300_000)
  t.ok(estimateMemory(paper, { batch: 16, train: true }).bytes > bytes)
  const micro = estimateMemory(paper, { batch: 64, train: true, microBatch: 8 }).parts
  const whole = estimateMemory(paper, { batch: 64, train: true }).parts
  t.ok(micro.activations < whole.activations / 4 && micro.optimiser > whole.optimiser)
  t.equal(micro.carry, whole.carry)
  t.ok(estimateMemory(paper, { batch: 8, device: 'cuda' }).parts.packed < parts.packed, 'needs no GPU at hand')
  t.throws(() => estimateMemory(paper, { device: 'cpu', precision: 'bf16' }), { code: 'ERR_HRM_ARGUMENT' })
  t.throws(() => estimateMemory(paper, { batch: 8, microBatch: 9 }), { code: 'ERR_HRM_ARGUMENT' })
  t.equal(estimateMemory(paper).parts.optimiser, 0)
  t.throws(() => estimateMemory(paper, { batch: 0 }), { code: 'ERR_HRM_ARGUMENT' })
  t.end()
})

test('disposing frees the memory', async (t) => {
  // In a process of its own, where nothing else takes memory. What the allocator keeps of freed memory settles after
  // a few models.
  const script = `
    import { HRM } from '#dist/index.js'
    const config = ${JSON.stringify({ ...tiny, hiddenSize: 128, hLayers: 2, lLayers: 2 })}
    let bytes = 0
    async function makeModels(count) {
      for (let i = 0; i < count; i++) {
        const model = await HRM.create(config, { threads: 1 })
        await model.solve(${JSON.stringify(examples(2))})
        bytes = model.bytes
        model.dispose()
      }
    }
    await makeModels(20)
    const before = process.memoryUsage.rss()
    await makeModels(40)
    console.log(JSON.stringify({ bytes, left: process.memoryUsage.rss() - before }))`
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: ['ignore', 'pipe', 'inherit'] })
  const { bytes, left } = JSON.parse(await text(child.stdout)) as { bytes: number; left: number }
  t.ok(left < 20 * bytes, `40 models of ${bytes} bytes left ${left} bytes behind`)
})
