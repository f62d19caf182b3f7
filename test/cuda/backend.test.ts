// The whole package on the GPU code, which runs on the CPU here: slow, so everything is small.
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import tap, { test } from 'tap'
import { tinyDataset } from '../facade/fixtures.js'
import type { Report } from '../parity/run-parity.js'
import { figure } from '../reliability/figures.js'
import { moduleOnHost, runOnHost } from './on-host.js'

tap.setTimeout(900_000)

const root = fileURLToPath(new URL('../../..', import.meta.url))
const golden = process.env['HRM_GOLDEN'] ?? join(root, '../shared/golden')
const prelude = `
  import { Dataset, HRM, listDevices } from '#dist/index.js'
  import { stateHash } from '#dist/checkpoint.js'
  const sizes = { vocabSize: 7, seqLen: 9, hiddenSize: 64, numHeads: 2, hLayers: 1, lLayers: 1, expansion: 1,
    hCycles: 2, lCycles: 2, puzzleEmbNdim: 64, haltMaxSegments: 4 }
  const code = (promise) => promise.then(() => 'none', (error) => error.code)
  const examples = Array.from({ length: 5 }, (_, k) => Array.from({ length: 9 }, (_, i) => (i * 5 + k * k) % 7))
`

for (const name of ['iii_odd', 'ii_learned', 'i_sudoku_rope']) {
  const committed = join(root, 'test/golden', name)
  const folder = existsSync(committed) ? committed : join(golden, name)
  const skip = existsSync(folder) ? false : `no golden directory ${name}`
  test(`${name} is reproduced by the GPU code, in float and, by the rule for it, in bf16`, { skip }, async (t) => {
    const { status, stdout, stderr } = await runOnHost([join(root, 'scripts/parity.mjs'), folder])
    t.equal(stderr, '')
    t.equal(status, 0)
    const report = JSON.parse(stdout.trim().split('\n').at(-1) ?? '') as Report
    t.strictSame(report.failures, [])
    t.strictSame(
      report.runs.map(({ precision, engine }) => [precision, engine.startsWith('cuda')]),
      [
        ['fp32', true],
        ['bf16', true],
      ],
    )
    for (const run of report.runs) t.comment(run.engine, run.worst)
  })
}

test('a solve that stops early gives what single segments give, alone and among others', async (t) => {
  const result = await moduleOnHost<{ device: string; same: boolean; alone: boolean; segments: number[] }>(`${prelude}
    const model = await HRM.create(sizes, { maxBatch: 3 })
    const first = await model.solve(examples, { halting: 'max' })
    const expected = []
    for (const example of examples) {
      for await (const state of model.segments(example)) expected[expected.length] = state
    }
    const last = expected.filter(({ segment }) => segment === 4)
    const bytes = (results) => JSON.stringify(results.map(({ tokens, qHalt, qContinue }) => [[...tokens], qHalt, qContinue]))
    const again = await model.solve(examples, { halting: 'max' })
    const alone = []
    for (const example of examples) alone.push(await model.solve(example, { halting: 'q' }))
    const together = await model.solve(examples, { halting: 'q' })
    console.log(JSON.stringify({
      device: model.device,
      same: bytes(first) === bytes(last) && bytes(again) === bytes(first),
      alone: bytes(alone) === bytes(together),
      segments: again.map(({ segments }) => segments),
    }))`)
  t.match(result.device, /^cuda .*bf16/)
  t.ok(result.same, 'looping on the device changes nothing')
  t.ok(result.alone)
  t.same(result.segments, [4, 4, 4, 4, 4])
})

test('a training repeats bit for bit, also cut and resumed, and begins as on the CPU', async (t) => {
  const { dir } = await tinyDataset(t)
  const result = await moduleOnHost<{ hashes: string[]; losses: number[] }>(`${prelude}
    const data = await Dataset.open(${JSON.stringify(dir)})
    const recipe = { globalBatchSize: 4, lr: 1e-3, puzzleEmbLr: 1e-2, lrWarmupSteps: 2, epochs: 40, ema: 0.9, seed: 3 }
    const losses = []
    const train = async (name, maxSteps, device = 'auto') => {
      const model = await HRM.create({ ...sizes, seqLen: 5, numPuzzleIdentifiers: 3 }, { seed: 1, device })
      const folder = ${JSON.stringify(t.testdirName)} + '/' + name
      const run = model.train(data, { ...recipe, maxSteps, checkpoint: { dir: folder }, resume: 'auto', logEvery: 1 })
      for await (const event of run) if (event.type === 'step') losses.push(event.loss)
      model.dispose()
      return await stateHash(folder)
    }
    const whole = await train('whole', 12)
    const again = await train('again', 12)
    await train('cut', 7)
    const resumed = await train('cut', 12)
    await train('cpu', 3, 'cpu')
    console.log(JSON.stringify({ hashes: [whole, again, resumed], losses }))`)
  t.equal(new Set(result.hashes).size, 1)
  t.ok(result.losses.every((loss) => Number.isFinite(loss)))
  const cpu = result.losses.slice(-3)
  t.equal(result.losses.length, 3 * 12 + 3)
  cpu.forEach((loss, i) => t.ok(Math.abs(result.losses[i]! / loss - 1) < 0.02, `${result.losses[i]} is near ${loss}`))
})

test('the memory estimate is what a model takes on a GPU', async (t) => {
  const { dir } = await tinyDataset(t)
  const result = await moduleOnHost<{ what: string; off: number }[]>(`${prelude}
    import { estimateMemory } from '#dist/index.js'
    const data = await Dataset.open(${JSON.stringify(dir)})
    const off = []
    const compare = (what, model, config, use) => {
      const { bytes } = estimateMemory(config, use)
      off.push({ what, off: Math.abs(bytes / model.bytes - 1) * 100 })
    }
    for (const precision of ['bf16', 'fp32']) {
      for (const change of [{}, { haltOnly: true, posEncodings: 'learned' }, { hiddenSize: 128, hLayers: 2, puzzleEmbNdim: 0 }]) {
        const config = { ...sizes, seqLen: 5, numPuzzleIdentifiers: 3, ...change }
        for (const batch of [1, 3]) {
          const model = await HRM.create(config, { precision, maxBatch: batch })
          await model.solve(Array.from({ length: batch }, (_, i) => [i, 1, 2, 3, 4]))
          compare('solve ' + batch, model, config, { batch, precision })
          model.dispose()
        }
        for (const [microBatchSize, ema] of [[4, 0], [2, 0.9]]) {
          const model = await HRM.create(config, { precision })
          const recipe = { globalBatchSize: 4, lr: 1e-3, puzzleEmbLr: 1e-2, lrWarmupSteps: 2, epochs: 40, seed: 3, logEvery: 1 }
          const run = model.train(data, { ...recipe, microBatchSize, ema, maxSteps: 3 })
          for await (const event of run) {
            if (event.type === 'step' && event.step === 2) {
              compare('train ' + microBatchSize, model, config, { batch: 4, microBatch: microBatchSize, train: true, ema: ema > 0, precision })
            }
          }
          model.dispose()
        }
      }
    }
    console.log(JSON.stringify(off))`)
  t.equal(result.length, 24)
  for (const { what, off } of result) t.ok(off < 5, `${what}: off by ${off} %`)
  figure(t, 'memory-estimate-gpu', {
    models: result.length,
    'off by at most %': Math.max(...result.map(({ off }) => off)).toFixed(2),
  })
})

test('what does not fit a GPU is refused with what is needed and free, and smaller work goes on', async (t) => {
  const result = await moduleOnHost<{ codes: string[]; message: string; tokens: number }>(
    `${prelude}
    const codes = []
    let message = ''
    for (let i = 0; i < 10; i++) {
      const model = await HRM.create({ ...sizes, hiddenSize: 1024, numHeads: 32, hLayers: 8, lLayers: 8 }).catch((error) => error)
      codes.push(model.code)
      message = model.message
    }
    const model = await HRM.create(sizes)
    console.log(JSON.stringify({ codes, message, tokens: (await model.solve(examples[0])).tokens.length }))`,
    { HRM_CUDA_HOST_MEMORY: String(32 << 20) },
  )
  t.same(new Set(result.codes), new Set(['ERR_HRM_OUT_OF_MEMORY']))
  t.match(result.message, /expected \d+ free bytes on the device, got \d+/)
  t.equal(result.tokens, 9)
})

test('after a device is lost every call says so at once, and the CPU goes on', async (t) => {
  const result = await moduleOnHost<{ codes: string[]; cpu: number }>(
    `${prelude}
    const model = await HRM.create(sizes)
    const codes = []
    for (let i = 0; i < 20; i++) codes.push(await code(model.solve(examples)))
    const cpu = await HRM.create(sizes, { device: 'cpu' })
    console.log(JSON.stringify({ codes, cpu: (await cpu.solve(examples)).length }))`,
    { HRM_CUDA_HOST_LOSE_AFTER: '150' },
  )
  const lost = result.codes.indexOf('ERR_HRM_CUDA')
  t.ok(lost >= 0)
  t.ok(result.codes.slice(0, lost).every((code) => code === 'none'))
  t.ok(result.codes.slice(lost).every((code) => code === 'ERR_HRM_CUDA'))
  t.equal(result.cpu, 5)
})

test('sizes and precisions that GPUs do not take are named', async (t) => {
  const result = await moduleOnHost<{ messages: string[]; codes: string[]; devices: string[] }>(`${prelude}
    const errors = []
    for (const [config, options] of [
      [{ ...sizes, hiddenSize: 48, numHeads: 2 }, {}],
      [{ ...sizes, numHeads: 4 }, {}],
      [sizes, { device: 'cuda', precision: 'fp64' }],
      [sizes, { device: 'cuda:7' }],
      [sizes, { device: 'cpu', precision: 'bf16' }],
    ]) {
      const model = await HRM.create(config, options).catch((error) => error)
      errors.push(model instanceof Error ? model : await model.solve(examples[0]).catch((error) => error))
    }
    console.log(JSON.stringify({ messages: errors.map((e) => e.message), codes: errors.map((e) => e.code),
      devices: listDevices().map(({ device }) => device) }))`)
  t.same(result.codes, [
    'ERR_HRM_CONFIG',
    'ERR_HRM_CONFIG',
    'ERR_HRM_NO_DEVICE',
    'ERR_HRM_NO_DEVICE',
    'ERR_HRM_NO_DEVICE',
  ])
  t.match(result.messages[0], /multiple of 32, got 48/)
  t.match(result.messages[1], /32, 64 or 128 channels, got 16/)
  t.same(result.devices, ['cuda:0', 'cpu'])
})

test('without a GPU the devices and hrm doctor tell why', async (t) => {
  const hidden = await moduleOnHost<{ devices: string[] }>(
    `${prelude} console.log(JSON.stringify({ devices: listDevices().map(({ device }) => device) }))`,
    { HRM_CUDA_HOST_DEVICES: '0' },
  )
  t.same(hidden.devices, ['cpu'])
  const unusable = { HRM_CUDA_HOST_DEVICES: '0' }
  const code = `${prelude} for (let i = 0; i < 2; i++) (await HRM.create(sizes, { device: 'auto' })).dispose()`
  const { stderr } = await runOnHost(['--input-type=module', '-e', code], unusable)
  t.equal(
    stderr.match(/HRMWarning: the GPU is not used: HRM_CUDA_HOST_DEVICES is 0; models run on the CPU/g)?.length,
    1,
  )
  const doctor = join(root, 'dist/cli/main.js')
  const { stdout } = await runOnHost([doctor, 'doctor'], { HRM_DEVICE: '' })
  t.match(stdout, /gpu +ok +(none: .+; models run on the CPU|cuda:0)/)
})
