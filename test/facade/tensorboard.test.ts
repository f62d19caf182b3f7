// Files of events as TensorBoard reads them: decoded by a schema of its own and a checksum of another package.
import { mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import castagnoli from 'crc-32/crc32c.js'
import protobuf from 'protobufjs'
import { test } from 'tap'
import { HRM, type TrainOptions } from '#dist/index.js'
import { mountSmallDisk } from '../checkpoint/full-disk.js'
import { recipe, rejection, tiny, tinyDataset } from './fixtures.js'

const field = (type: string, id: number, rule?: string) => ({ type, id, ...(rule ? { rule } : {}) })
const Event = protobuf.Root.fromJSON({
  nested: {
    // In a oneof, as in summary.proto: there a zero counts as written, elsewhere as absent.
    Value: {
      oneofs: { content: { oneof: ['simpleValue'] } },
      fields: { tag: field('string', 1), simpleValue: field('float', 2) },
    },
    Summary: { fields: { value: field('Value', 1, 'repeated') } },
    SessionLog: { fields: { status: field('int32', 1) } },
    Event: {
      fields: {
        wallTime: field('double', 1),
        step: field('int64', 2),
        fileVersion: field('string', 3),
        summary: field('Summary', 5),
        sessionLog: field('SessionLog', 7),
      },
    },
  },
}).lookupType('Event')

interface Decoded {
  wallTime: number
  step: number
  fileVersion?: string
  summary?: { value: { tag: string; simpleValue: number }[] }
  sessionLog?: { status: number }
}

/** The masked checksum by the words of the format: rotated right by 15 bits, plus a constant. */
function masked(bytes: Uint8Array): bigint {
  const crc = BigInt(castagnoli.buf(bytes) >>> 0)
  return (((crc >> 15n) | (crc << 17n)) + 0xa282ead8n) & 0xffffffffn
}

/** The events of one file; throws where a checksum or the end of the file is wrong. */
function readEvents(path: string): Decoded[] {
  const bytes = readFileSync(path)
  const events: Decoded[] = []
  for (let at = 0; at < bytes.length;) {
    const length = Number(bytes.readBigUInt64LE(at))
    const data = bytes.subarray(at + 12, at + 12 + length)
    const sums = [bytes.readUInt32LE(at + 8), bytes.readUInt32LE(at + 12 + length)]
    const expected = [masked(bytes.subarray(at, at + 8)), masked(data)]
    if (expected.some((sum, i) => sum !== BigInt(sums[i]!))) throw new Error(`${path}: wrong checksum at byte ${at}`)
    events.push(Event.toObject(Event.decode(data), { longs: Number }) as Decoded)
    at += 12 + length + 4
  }
  return events
}

/** Values by step and tag as TensorBoard shows them: file by file, a start of a session removing what is not before it. */
function readBoard(dir: string): Map<number, Record<string, number>> {
  const shown = new Map<number, Record<string, number>>()
  for (const name of readdirSync(dir).toSorted()) {
    for (const { step, summary, sessionLog } of readEvents(join(dir, name))) {
      if (sessionLog?.status === 1) for (const seen of shown.keys()) if (seen >= step) shown.delete(seen)
      if (!summary) continue
      const values = Object.fromEntries(summary.value.map(({ tag, simpleValue }) => [tag, simpleValue]))
      shown.set(step, { ...shown.get(step), ...values })
    }
  }
  return shown
}

/** The same from metrics.jsonl. */
function readMetrics(run: string): Map<number, Record<string, number>> {
  const expected = new Map<number, Record<string, number>>()
  const add = (step: number, prefix: string, values: Record<string, unknown>) => {
    for (const [name, value] of Object.entries(values)) {
      if (typeof value !== 'number') continue
      expected.set(step, { ...expected.get(step), [`${prefix}/${name}`]: Math.fround(value) })
    }
  }
  for (const line of readFileSync(join(run, 'metrics.jsonl'), 'utf8').trimEnd().split('\n')) {
    const { type, step, ...event } = JSON.parse(line)
    if (type === 'step') {
      const { loss, lr, gradNorm: grad_norm, itPerSecond: it_per_second, metrics } = event
      add(step, 'train', { loss, lr, grad_norm, it_per_second, ...metrics })
    }
    for (const [set, scores] of Object.entries(event.sets ?? {})) add(step, `eval/${set}`, scores as object as never)
    for (const [set, scores] of Object.entries(event.emaSets ?? {})) {
      add(step, `eval_ema/${set}`, scores as object as never)
    }
  }
  return expected
}

const options = (dir: string, more: TrainOptions = {}): TrainOptions => ({
  ...recipe,
  ema: 0.9,
  evalEverySteps: 4,
  logEvery: 2,
  checkpoint: { dir: join(dir, 'run'), everySteps: 4 },
  tensorboard: join(dir, 'board'),
  ...more,
})

test('TensorBoard shows what metrics.jsonl holds, also after a resume from before the cut', async (t) => {
  const data = await tinyDataset(t)
  const dir = t.testdirName
  const [run, board] = [join(dir, 'run'), join(dir, 'board')]
  using model = await HRM.create(tiny)
  await model.train(data, options(dir, { maxSteps: 9 })).done()
  const first = readdirSync(board)
  t.equal(first.length, 1)
  t.match(first[0], /^events\.out\.tfevents\.\d{10}\./)
  const [version, start] = readEvents(join(board, first[0]!))
  t.match(version, { fileVersion: 'brain.Event:2' })
  t.match(start, { step: 1, sessionLog: { status: 1 } })
  t.ok(Math.abs(version!.wallTime - Date.now() / 1000) < 600, 'seconds since 1970')
  const shown = readBoard(board)
  t.strictSame(shown, readMetrics(run))
  t.strictSame([...shown.keys()], [2, 4, 6, 8, 9])
  const tags = Object.keys(shown.get(4)!)
  for (const tag of ['train/lm_loss', 'train/lr', 'train/grad_norm', 'eval/all/exact_accuracy', 'eval_ema/all/steps'])
    t.ok(tags.includes(tag), tag)

  // As if the clock had been set back since.
  const early = 'events.out.tfevents.4000000000.hrm-native'
  renameSync(join(board, first[0]!), join(board, early))
  // From step 4 on again, to another end: steps 6, 8 and 9 of the first run must go.
  await model.train(data, options(dir, { maxSteps: 7, logEvery: 1, resume: join(run, 'step_4') })).done()
  const files = readdirSync(board).toSorted()
  t.equal(files.length, 2)
  t.equal(files[0], early, 'the new file comes last')
  t.match(readEvents(join(board, files[1]!))[1], { step: 5, sessionLog: { status: 1 } })
  t.strictSame(readBoard(board), readMetrics(run))
  t.strictSame([...readBoard(board).keys()], [2, 4, 5, 6, 7])
})

test('events are in the file when the event of their evaluation or checkpoint comes', async (t) => {
  const data = await tinyDataset(t)
  const dir = t.testdirName
  using model = await HRM.create(tiny)
  const board = join(dir, 'board')
  let seen = 0
  for await (const event of model.train(data, options(dir, { maxSteps: 8 }))) {
    if (event.type !== 'checkpoint') continue
    seen++
    t.ok(readBoard(board).has(event.step), `step ${event.step}`)
  }
  t.equal(seen, 2)
})

test('a folder that cannot be made is refused before the first step', async (t) => {
  const data = await tinyDataset(t)
  const dir = t.testdirName
  using model = await HRM.create(tiny)
  writeFileSync(join(dir, 'board'), 'a file')
  const error = await rejection(model.train(data, options(dir)).done())
  t.match(error, { code: 'ERR_HRM_IO', details: { path: join(dir, 'board') } })
  t.notOk(readdirSync(join(dir, 'run')).includes('metrics.jsonl'))
  mkdirSync(join(dir, 'other'))
  const none = await rejection(model.train(data, options(join(dir, 'other'), { tensorboard: '' })).done())
  t.match(none, { code: 'ERR_HRM_ARGUMENT', message: /expected tensorboard to be a path/ })
})

const disk = mountSmallDisk(1)

test(
  'a full disk costs TensorBoard no event once it is free again, and never ends a run',
  { skip: disk.absent },
  async (t) => {
    const data = await tinyDataset(t)
    const dir = t.testdirName
    const board = join(disk.folder, 'board')
    using model = await HRM.create(tiny)
    const failed: number[] = []
    for await (const event of model.train(data, options(dir, { tensorboard: board, maxSteps: 20 }))) {
      if (event.type === 'checkpoint' && event.step === 4) disk.fill(0)
      if (event.type === 'checkpoint' && event.step === 16) disk.free()
      if (event.type !== 'log_error') continue
      failed.push(event.step)
      t.match(event.details, { errno: 'ENOSPC', path: join(board, readdirSync(board)[0]!) })
    }
    t.ok(failed.length > 0)
    t.notOk(failed.includes(20))
    t.strictSame(readBoard(board), readMetrics(join(dir, 'run')))
  },
)
