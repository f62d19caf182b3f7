import {
  closeSync,
  cpSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { test, type Test } from 'tap'
import { openCheckpoint } from '#dist/checkpoint.js'
import { HRM, HRMError } from '#dist/index.js'
import { RandomStream } from '#dist/random.js'
import { figure, long } from '../reliability/figures.js'
import { recipe, tiny, tinyDataset } from '../facade/fixtures.js'

async function trained(t: Test): Promise<string> {
  const data = await tinyDataset(t)
  const dir = join(t.testdirName, 'run')
  await using model = await HRM.create(tiny)
  await model.train(data, { ...recipe, maxSteps: 3, ema: 0.9, checkpoint: { dir } }).done()
  cpSync(join(dir, 'step_3'), join(dir, 'step_3-whole'), { recursive: true })
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

/** Where the bytes of each tensor of a file lie. */
function tensorRanges(path: string): { name: string; begin: number; end: number }[] {
  const bytes = readFileSync(path)
  const start = 8 + Number(bytes.readBigUInt64LE())
  const header = JSON.parse(bytes.toString('utf8', 8, start)) as Record<string, { data_offsets: [number, number] }>
  return Object.entries(header)
    .filter(([name]) => name !== '__metadata__')
    .map(
      ([
        name,
        {
          data_offsets: [begin, end],
        },
      ]) => ({ name, begin: start + begin, end: start + end }),
    )
}

test('of random flips of a bit, each is found and its place named', { timeout: 3_600_000 }, async (t) => {
  const checkpoint = await trained(t)
  const flips = long ? 10_000 : 500
  const random = new RandomStream(3, 'subsample', 0)
  const sizes = files.map((file) => statSync(join(checkpoint, file)).size)
  const total = sizes.reduce((sum, size) => sum + size, 0)
  let found = 0
  let tensors = 0
  for (let flip = 0; flip < flips; flip++) {
    // Half of them anywhere, half of them in each file as often.
    let at = random.nextBelow(total)
    let which = sizes.findIndex((size) => (at -= size) < 0)
    if (flip % 2 === 1) which = random.nextBelow(files.length)
    const file = files[which]!
    const place = random.nextBelow(sizes[which]!)
    const path = join(checkpoint, file)
    const handle = openSync(path, 'r+')
    const byte = Buffer.alloc(1)
    readSync(handle, byte, 0, 1, place)
    byte[0]! ^= 1 << random.nextBelow(8)
    writeSync(handle, byte, 0, 1, place)
    const tensor = file.endsWith('.safetensors')
      ? tensorRanges(join(`${checkpoint}-whole`, file)).find(({ begin, end }) => place >= begin && place < end)?.name
      : undefined
    try {
      await openCheckpoint(checkpoint)
      t.fail(`a flip of byte ${place} of ${file} is not found`)
    } catch (error) {
      const { code, message, details } = error as HRMError
      const named = tensor === undefined ? typeof details['field'] === 'string' : details['tensor'] === tensor
      if (code === 'ERR_HRM_CORRUPT' && details['file'] === file && message.includes(file) && named) found++
      else t.fail(`byte ${place} of ${file}, ${tensor ?? 'no tensor'}: ${code} ${message} ${JSON.stringify(details)}`)
      if (tensor !== undefined) tensors++
    }
    writeSync(handle, readFileSync(join(`${checkpoint}-whole`, file)), place, 1, place)
    closeSync(handle)
  }
  t.equal(found, flips)
  await openCheckpoint(checkpoint)
  figure(t, 'bit-flips', { flips, found, in_tensors: tensors })
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
