import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { test } from 'tap'
import { estimateMemory } from '#dist/index.js'
import { batchOf, segmentOf, trainOptions } from '../binding/small-engine.js'
import { figure, long } from './figures.js'
import { largeConfig, makeEngine, rows } from './memory-model.js'

async function measure<T>(env: NodeJS.ProcessEnv, script: string, ...argv: unknown[]): Promise<T> {
  const path = fileURLToPath(new URL(script, import.meta.url))
  const { stdout } = await promisify(execFile)(process.execPath, ['--expose-gc', path, ...argv.map(String)], {
    env: { ...process.env, ...env },
  })
  return JSON.parse(stdout) as T
}

interface Growth {
  resident: number
  external?: number
}

const mebibytes = (bytes: number) => Number((bytes / 2 ** 20).toFixed(1))
/** By how much a value is off, in percent. */
const off = (value: number, truth: number) => Number(((Math.abs(value - truth) / truth) * 100).toFixed(2))

for (const [work, threads] of [
  ['train', 1],
  ['train', 2],
  ['solve', 1],
  ['solve', 2],
] as const) {
  test(`what a model says that it holds is what it takes: ${work} with ${threads} threads`, async (t) => {
    // So glibc gives back at once what was freed: here memory is measured, not its allocator.
    const env = { MALLOC_MMAP_THRESHOLD_: '65536' }
    const { said, external, resident } = await measure<Growth & { said: number }>(env, 'memory-truth.js', work, threads)
    t.ok(off(said, resident) < 5, `says ${mebibytes(said)} MiB, its end freed ${mebibytes(resident)} MiB`)
    if (external !== undefined)
      t.ok(off(external, said) < 5, `says ${mebibytes(said)} MiB, V8 was told ${mebibytes(external)} MiB`)
    figure(t, `memory-truth-${work}-${threads}-threads`, {
      'engine.bytes MiB': mebibytes(said),
      'RSS freed MiB': mebibytes(resident),
      'off by %': off(said, resident),
      ...(external === undefined ? {} : { 'external off by %': off(external, said) }),
    })
  })
}

const droppedModels = long ? 1000 : 50

test(`${droppedModels} models that are dropped without dispose() leave nothing behind`, async (t) => {
  type Result = Record<'bytes' | 'peak' | 'kept', number> & Record<'grown' | 'grownByKept', Growth>
  const { bytes, peak, grown, kept, grownByKept } = await measure<Result>({}, 'memory-dropped.js', droppedModels)
  t.ok(bytes >= 16e6, `${mebibytes(bytes)} MiB each`)
  t.ok(grown.resident < 3 * bytes, `${mebibytes(grown.resident)} MiB more than before`)
  const told = grownByKept.external
  if (told !== undefined) {
    t.ok(Math.abs(grown.external!) < 0.05 * bytes, `V8 thinks that ${grown.external} bytes are left`)
    t.ok(off(told, kept) < 5, `V8 was told ${told} of ${kept} bytes`)
  }
  figure(t, 'dropped-models', {
    models: droppedModels,
    'MiB each': mebibytes(bytes),
    'RSS grew MiB': mebibytes(grown.resident),
    'RSS at most MiB': mebibytes(peak),
    ...(told === undefined ? {} : { 'external off by %': off(told, kept) }),
  })
})

test('the memory estimate is what a model takes', async (t) => {
  const worst = { train: 0, solve: 0 }
  const paperLike = { ...largeConfig, puzzleEmbNdim: 512, hiddenSize: 512, numHeads: 8, seqLen: 81, vocabSize: 11 }
  const sizes = [
    largeConfig,
    { ...largeConfig, haltOnly: true, posEncodings: 'learned' as const },
    paperLike,
    { ...paperLike, hiddenSize: 128, hLayers: 2, numHeads: 4, puzzleEmbNdim: 0, numPuzzleIdentifiers: 1 },
  ]
  for (const config of sizes) {
    for (const threads of [1, 2, 5]) {
      for (const batch of [1, rows]) {
        const solving = makeEngine(threads, config)
        const session = await solving.openSession(batch)
        await session.segment(segmentOf(batch, config))
        const solved = solving.bytes
        session.close()
        solving.dispose()
        const { bytes } = estimateMemory(config, { batch, threads })
        worst.solve = Math.max(worst.solve, off(bytes, solved))
        t.ok(off(bytes, solved) < 5, `solve: estimated ${mebibytes(bytes)} MiB of ${mebibytes(solved)} MiB`)
      }
    }
    for (const [microBatch, ema] of [
      [rows, 0],
      [rows / 2, 0.9],
    ] as const) {
      const training = makeEngine(2, config)
      await training.startTraining({ ...trainOptions(rows), microBatchSize: microBatch, ema }, 0)
      await training.trainStep(batchOf(rows, config))
      const trained = training.bytes
      training.dispose()
      const { bytes } = estimateMemory(config, { batch: rows, microBatch, train: true, ema: ema > 0, threads: 2 })
      worst.train = Math.max(worst.train, off(bytes, trained))
      t.ok(off(bytes, trained) < 5, `train: estimated ${mebibytes(bytes)} MiB of ${mebibytes(trained)} MiB`)
    }
  }
  figure(t, 'memory-estimate', { 'solving off by at most %': worst.solve, 'training off by at most %': worst.train })
})
