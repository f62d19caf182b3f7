import { cpSync, readdirSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test, type Test } from 'tap'
import { HRM, HRMError } from '#dist/index.js'
import { recipe, tiny, tinyDataset } from '../facade/fixtures.js'

async function trained(t: Test): Promise<string> {
  const data = await tinyDataset(t)
  const dir = join(t.testdirName, 'run')
  await using model = await HRM.create(tiny)
  await model.train(data, { ...recipe, maxSteps: 3, ema: 0.9, checkpoint: { dir } }).done()
  return join(dir, 'step_3')
}

/** The error of loading a copy of the checkpoint after `damage`. */
async function errorAfter(checkpoint: string, damage: (copy: string) => void): Promise<HRMError> {
  const copy = `${checkpoint}-copy`
  rmSync(copy, { recursive: true, force: true })
  cpSync(checkpoint, copy, { recursive: true })
  damage(copy)
  try {
    ;(await HRM.load(copy)).dispose()
  } catch (error) {
    if (error instanceof HRMError) return error
    throw error
  }
  throw new Error('expected an error, got a model')
}

const files = [
  'README.md',
  'config.json',
  'eval.json',
  'hash.json',
  'model.safetensors',
  'trainer.json',
  'trainer.safetensors',
]

test('a checkpoint has the files that the format names', async (t) => {
  t.same(readdirSync(await trained(t)).sort(), files)
})

test('any flipped bit is found and its file named', async (t) => {
  const checkpoint = await trained(t)
  for (const file of files) {
    const { size } = statSync(join(checkpoint, file))
    // The ends, and places spread over the file.
    for (const place of [0, size - 1, ...Array.from({ length: 12 }, (_, i) => (i * 2654435761) % size)]) {
      const error = await errorAfter(checkpoint, (copy) => {
        const bytes = readFileSync(join(copy, file))
        bytes[place]! ^= 1 << (place % 8)
        writeFileSync(join(copy, file), bytes)
      })
      t.equal(error.code, 'ERR_HRM_CORRUPT', `${file} byte ${place}: ${error.message}`)
      t.ok(error.message.includes(file), `${error.message} names ${file}`)
    }
  }
})

test('damage inside a tensor names the tensor', async (t) => {
  const checkpoint = await trained(t)
  for (const file of ['model.safetensors', 'trainer.safetensors']) {
    const bytes = readFileSync(join(checkpoint, file))
    const headerBytes = Number(bytes.readBigUInt64LE())
    const header = JSON.parse(bytes.toString('utf8', 8, 8 + headerBytes)) as Record<string, { data_offsets: number[] }>
    for (const [name, { data_offsets: offsets }] of Object.entries(header)) {
      if (name === '__metadata__') continue
      const error = await errorAfter(checkpoint, (copy) => {
        const damaged = Buffer.from(bytes)
        damaged[8 + headerBytes + offsets[0]!]! ^= 0x10
        writeFileSync(join(copy, file), damaged)
      })
      t.match(error, { code: 'ERR_HRM_CORRUPT', details: { tensor: name } })
    }
  }
})

test('truncated files are found', async (t) => {
  const checkpoint = await trained(t)
  for (const file of files) {
    const { size } = statSync(join(checkpoint, file))
    for (const length of [0, 5, size - 1]) {
      const error = await errorAfter(checkpoint, (copy) => truncateSync(join(copy, file), length))
      t.equal(error.code, 'ERR_HRM_CORRUPT', `${file} at ${length}: ${error.message}`)
      t.ok(error.message.includes(file), error.message)
    }
  }
})

test('missing files are named', async (t) => {
  const checkpoint = await trained(t)
  for (const file of files) {
    const error = await errorAfter(checkpoint, (copy) => rmSync(join(copy, file)))
    t.match(error, { code: 'ERR_HRM_CHECKPOINT' })
    t.ok(error.message.includes(file), error.message)
  }
})

test('a folder that is no checkpoint says what is missing', async (t) => {
  const dir = t.testdir({ file: 'text', empty: {} })
  for (const path of ['file', 'empty', 'nothing']) {
    await t.rejects(HRM.load(join(dir, path)), { code: 'ERR_HRM_CHECKPOINT' }, path)
  }
})
