// No checkpoint on the disk holds a NaN or an infinity.
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'tap'
import { fillCheckpoint, openCheckpoint } from '#dist/checkpoint.js'
import { resolveRunConfig, resolveTrainOptions } from '#dist/config.js'
import { writeFolder } from '#dist/durable-folder.js'
import { Engine } from '#dist/engine.js'
import { HRM, type HRMError, type TrainEvent } from '#dist/index.js'
import { native } from '#dist/native.js'
import { readSafetensors } from '#dist/safetensors.js'
import { config, options, trainOptions } from '../binding/small-engine.js'
import { recipe, tiny, tinyDataset } from '../facade/fixtures.js'
import { figure } from '../reliability/figures.js'

const content = {
  config: { model: config, train: resolveTrainOptions(), run: resolveRunConfig() },
  trainer: {
    step: 0,
    totalSteps: 1000,
    loader: { seed: 0, batchSize: 2, epochsPerIter: null, groups: 1, passage: 0, epoch: 0, position: 0 },
    datasetHash: '',
    evaluationPending: false,
  },
}

test('a NaN or an infinity in any tensor is refused and named, and the old checkpoint stays', async (t) => {
  const engine = new native.Engine(config, options)
  await engine.init(1)
  await engine.startTraining({ ...trainOptions(2), ema: 0.9 }, 0)
  const dir = join(t.testdir(), 'saved')
  const save = () => writeFolder('save', dir, (folder) => fillCheckpoint(folder, new Engine(engine), content))
  // All slots are in use: their states count.
  await engine.write('carry.halted', new Uint8Array(2))
  await save()
  const floats = [...engine.modelTensors(), ...engine.trainerTensors()].filter(({ dtype }) => dtype === 'F32')
  t.ok(floats.some(({ name }) => name === 'carry.z_H') && floats.some(({ name }) => name.startsWith('optimizer.v.')))
  let refused = 0
  for (const [at, { name }] of floats.entries()) {
    const values = (await engine.read(name)) as Float32Array
    const broken = values.slice()
    broken[(at * 7919) % broken.length] = [NaN, Infinity, -Infinity][at % 3]!
    await engine.write(name, broken)
    const error = await save().then(
      () => undefined,
      (error: unknown) => error as HRMError,
    )
    t.match(error, { code: 'ERR_HRM_NON_FINITE', details: { tensor: name } }, name)
    if (error) refused++
    t.same(readdirSync(t.testdirName), ['saved'], 'nothing temporary is left')
    t.equal((await openCheckpoint(dir)).trainer?.totalSteps, 1000)
    await engine.write(name, values)
  }
  await save()
  figure(t, 'non-finite-saves', { tensors: floats.length, refused })
  engine.dispose()
})

test('the states of slots that start anew are saved as zeros, whatever they hold', async (t) => {
  const engine = new native.Engine(config, options)
  await engine.init(1)
  await engine.startTraining(trainOptions(2), 0)
  const states = (await engine.read('carry.z_L')) as Float32Array
  const width = states.length / 2
  await engine.write(
    'carry.z_L',
    states.map((_, at) => (at < width ? NaN : at)),
  )
  await engine.write('carry.halted', Uint8Array.of(1, 0))
  const dir = join(t.testdir(), 'saved')
  await writeFolder('save', dir, (folder) => fillCheckpoint(folder, new Engine(engine), content))
  const file = await readSafetensors(join(dir, 'trainer.safetensors'))
  t.same(
    await file.read('carry.z_L'),
    states.map((_, at) => (at < width ? 0 : at)),
  )
  await file.close()
  engine.dispose()
})

test('a run whose weights are infinite saves none of them', async (t) => {
  const data = await tinyDataset(t)
  const dir = join(t.testdirName, 'run')
  await using model = await HRM.create(tiny)
  const events: TrainEvent[] = []
  const saving = { checkpoint: { dir, everySteps: 1 } }
  const hopeless = { ...recipe, lr: 1e300, lrWarmupSteps: 0, onNonFinite: 'skip', ...saving } as const
  const run = async () => {
    for await (const event of model.train(data, hopeless)) events.push(event)
  }
  await t.rejects(run(), { code: 'ERR_HRM_NON_FINITE' })
  t.same(
    events.map(({ type }) => type),
    ['start', 'step'],
  )
  t.notOk(existsSync(join(dir, 'latest')))
  t.same(
    readdirSync(dir).filter((name) => name.includes('step_')),
    [],
  )
})
