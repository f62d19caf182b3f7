import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'tap'
import { openCheckpoint, loadWeights } from '#dist/checkpoint.js'
import { convertToFolder, convertToPyTorch } from '#dist/convert.js'
import { Dataset } from '#dist/dataset.js'
import { resolveDevice } from '#dist/devices.js'
import { Engine } from '#dist/engine.js'
import { HRM } from '#dist/index.js'
import { evalBatches } from '#dist/loader.js'
import { modelTensors } from '#dist/model-tensors.js'
import { native } from '#dist/native.js'
import { PyTorchFile } from '#dist/pytorch/pytorch-file.js'
import { readSafetensors } from '#dist/safetensors.js'
import { golden, unlessGolden } from '../data/fixtures.js'
import { tiny } from '../facade/fixtures.js'
import { tensorBytes } from './fixtures.js'

const skip = unlessGolden('ckpt/checkpoint')
const checkpoint = (name: string) => join(golden, 'ckpt/checkpoint', name)

function largest(values: Iterable<number>): number {
  let most = 0
  for (const value of values) most = Math.max(most, Math.abs(value))
  return most
}

for (const [name, group] of [
  ['step_1', 'f32'],
  ['step_1_bf16init_cuda', 'bf16init'],
] as const) {
  void test(`logits of the official ${name} are those of PyTorch`, { skip }, async (t) => {
    const dir = join(t.testdir(), 'ours')
    t.match(await convertToFolder(checkpoint(name), dir, {}), { weights: 'raw', ignoredKeys: [] })
    const expected = await readSafetensors(join(golden, 'ckpt/checkpoint_expected.safetensors'))
    const opened = await openCheckpoint(dir)
    const engine = new Engine(new native.Engine(opened.model, resolveDevice('test', { device: 'cpu', threads: 1 })))
    await loadWeights(engine, opened, 'raw')
    const data = await Dataset.open(join(golden, 'ckpt/sudoku-tiny'))
    const session = await engine.call('test', (native) => native.openSession(4))
    const { batch } = [...evalBatches(data, 'test', 4)][0]!
    for (let segment = 0; segment < opened.model.haltMaxSegments; segment++) {
      const reset = new Uint8Array(4).fill(segment === 0 ? 1 : 0)
      await session.segment({ rows: 4, reset, inputs: batch.inputs, puzzleIds: batch.puzzleIds })
    }
    const raw = new Map<string, Float32Array>()
    raw.set('logits', (await session.read('last.logits')) as Float32Array)
    const q = (await session.read('last.q_logits')) as Float32Array
    raw.set(
      'q_halt_logits',
      q.filter((_, at) => at % 2 === 0),
    )
    raw.set(
      'q_continue_logits',
      q.filter((_, at) => at % 2 === 1),
    )
    for (const [tensor, values] of raw) {
      const wanted = await expected.readFloat32(`${group}.batch0.${tensor}`)
      t.equal(values.length, wanted.length)
      const error = largest(values.map((value, at) => value - wanted[at]!))
      t.ok(error <= 1e-5 * largest(wanted), `${tensor}: ${error} of ${largest(wanted)}`)
    }
    engine.dispose()
    data.close()
    await expected.close()
    const { evaluate } = JSON.parse(readFileSync(join(golden, 'ckpt/checkpoint_expected.json'), 'utf8'))
    const dataset = await Dataset.open(join(golden, 'ckpt/sudoku-tiny'))
    await using model = await HRM.load(dir, { threads: 1 })
    const { sets } = await model.evaluate(dataset, { batchSize: 4 })
    for (const [metric, value] of Object.entries(evaluate[group].all as Record<string, number>)) {
      const found = sets['all']![metric as 'accuracy']!
      t.ok(Math.abs(found - value) <= 1e-5 * Math.max(1, Math.abs(value)), `${metric}: ${found}, ${value}`)
    }
    dataset.close()
  })

  void test(`${name} keeps every tensor on its way to a folder and back`, { skip }, async (t) => {
    const dir = t.testdir()
    await convertToFolder(checkpoint(name), join(dir, 'ours'), {})
    await convertToPyTorch(join(dir, 'ours'), join(dir, 'back/step_1.pt'), {})
    await convertToFolder(join(dir, 'back/step_1.pt'), join(dir, 'again'), {})
    const bytes = (folder: string) => readFileSync(join(dir, folder, 'model.safetensors'))
    t.ok(bytes('again').equals(bytes('ours')), 'the same bytes')
    const official = await PyTorchFile.open(checkpoint(name))
    const back = await PyTorchFile.open(join(dir, 'back/step_1.pt'))
    t.same(new Set(back.names()), new Set(official.names()))
    for (const tensor of official.names()) {
      if (official.info(tensor).dtype === 'F32')
        t.ok(Buffer.from(tensorBytes(back, tensor)).equals(tensorBytes(official, tensor)), tensor)
    }
    official.close()
    back.close()
  })
}

void test('the table of tensors is that of the engine, in its order', async (t) => {
  const variants = [
    {},
    { posEncodings: 'learned' },
    { puzzleEmbNdim: 0 },
    { puzzleEmbNdim: 24, hLayers: 2, lLayers: 3 },
  ] as const
  for (const variant of variants) {
    const model = await HRM.create({ ...tiny, ...variant })
    const engine = new native.Engine(model.config, resolveDevice('test', { device: 'cpu', threads: 1 }))
    t.same(
      modelTensors(model.config),
      engine.modelTensors().map(({ name, shape }) => ({ name, shape })),
    )
    engine.dispose()
    model.dispose()
  }
})
