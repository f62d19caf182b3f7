// npm run soak -- [--minutes 30] [--every SECONDS] [--threads N] [--max-growth MB] [--json FILE]
// A service in small, for a long time: one model trains, saves checkpoints, is scored and solves at once; others are made,
// saved, loaded, disposed and dropped. After every interval (a minute) garbage is collected and a line printed. Exits with 1
// after an error, and where resident memory grew by more than --max-growth (4 MB) after the first sixth of the time. The
// script bounds the young generation of the heap (--max-semi-space-size), whose pages come and go by tens of MB otherwise.
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { availableParallelism, cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { Dataset, HRM, type ModelOptions } from '#dist/index.js'
import { buildGeneratedSudoku } from '#dist/sudoku/build.js'

const { values: given } = parseArgs({
  options: {
    minutes: { type: 'string', default: '30' },
    every: { type: 'string', default: '60' },
    threads: { type: 'string', default: String(availableParallelism()) },
    'max-growth': { type: 'string', default: '4' },
    json: { type: 'string' },
  },
})

function fail(message: string): never {
  console.error(`soak: ${message}`)
  process.exit(2)
}

function numberOf(name: 'minutes' | 'every' | 'threads' | 'max-growth', least: number): number {
  const value = Number(given[name])
  if (given[name].trim() !== '' && value >= least) return value
  return fail(`expected --${name} to be a number >= ${least}, got ${given[name]}`)
}

const minutes = numberOf('minutes', 0.01)
const everySeconds = numberOf('every', 1)
const threads = numberOf('threads', 1)
const maxGrowthMb = numberOf('max-growth', -Infinity)
const gc = globalThis.gc ?? fail('expected node --expose-gc; do npm run soak')

/** The heap, the code caches and the allocator's pools fill in this time; growth is counted from its end. */
const warmSeconds = minutes * 10
const stepsPerRound = 20
/** A run folder is left for a new one after so many, so that its metrics.jsonl does not grow without end. */
const roundsPerRun = 10
const puzzleCount = 256
const recipe = {
  globalBatchSize: 32,
  epochs: 1_000_000,
  lr: 1e-3,
  lrWarmupSteps: 50,
  ema: 0.99,
  evalEverySteps: 25,
  evalMaxExamples: 32,
} as const

type Work = Record<'steps' | 'checkpoints' | 'solves' | 'models', number>
const none: Work = { steps: 0, checkpoints: 0, solves: 0, models: 0 }
/** Since the last sample. */
let done = { ...none }

interface Sample extends Work {
  /** Since the start. */
  second: number
  rssMb: number
  externalMb: number
  heapMb: number
  stepsPerSecond: number
  solvesPerSecond: number
}

/** A loaded model must answer as the one that was saved. */
async function saveAndLoad(model: HRM, dir: string, puzzle: Int32Array): Promise<void> {
  await model.save(dir)
  using loaded = await HRM.load(dir, { threads, weights: 'raw' })
  const [before, after] = await Promise.all([model.solve(puzzle), loaded.solve(puzzle)])
  if (before.qHalt !== after.qHalt || before.tokens.join() !== after.tokens.join()) {
    throw new Error('a loaded model answers differently from the one that was saved')
  }
  done.models++
}

/** One model is disposed, the other left to the garbage collector. */
async function makeModels(config: ModelOptions, puzzle: Int32Array): Promise<void> {
  using disposed = await HRM.create(config, { threads })
  const dropped = await HRM.create(config, { threads })
  await Promise.all([disposed.solve(puzzle), dropped.solve(puzzle)])
  done.models += 2
}

/** Solves alone, in batches, by vote and with an abort until the training has ended. */
async function solveMeanwhile(model: HRM, puzzles: readonly Int32Array[], training: AbortSignal): Promise<void> {
  for (let at = 0; !training.aborted; at++) {
    const puzzle = puzzles[at % puzzles.length]!
    const batch = Array.from({ length: 12 }, (_, i) => puzzles[(at + i) % puzzles.length]!)
    const abort = new AbortController()
    const aborted = model.solve(batch, { signal: abort.signal }).catch((error: unknown) => {
      if (error !== abort.signal.reason) throw error
    })
    await Promise.all([model.solve(puzzle, { halting: 'q' }), model.solve(batch), model.solve(puzzle, { votes: 4 })])
    abort.abort()
    await aborted
    done.solves += batch.length + 2
    // The pause of a service between requests, in which training has the engine for itself.
    await sleep(5)
  }
}

/** Resumes the run of the last rounds or begins a new one, solves meanwhile, then uses what was trained. */
async function doRound(model: HRM, folder: string, puzzles: readonly Int32Array[], round: number): Promise<void> {
  using data = await Dataset.open(join(folder, 'data'))
  const checkpoint = { dir: join(folder, 'run'), everySteps: 10, keep: 2 }
  if (round % roundsPerRun === 0) rmSync(checkpoint.dir, { recursive: true, force: true })
  const maxSteps = ((round % roundsPerRun) + 1) * stepsPerRound
  const run = model.train(data, { ...recipe, maxSteps, checkpoint, resume: 'auto' })
  const ended = new AbortController()
  const solving = solveMeanwhile(model, puzzles, ended.signal)
  try {
    for await (const { type } of run) {
      if (type === 'step') done.steps++
      if (type === 'checkpoint') done.checkpoints++
    }
  } finally {
    ended.abort()
    await solving
  }
  await model.evaluate(data, { maxExamples: 64, batchSize: 32 })
  await saveAndLoad(model, join(folder, 'saved'), puzzles[0]!)
  await makeModels(model.config, puzzles[0]!)
}

async function sample(second: number, seconds: number): Promise<Sample> {
  // What one collection frees may free more in the next; finalizers run in later turns of the loop.
  for (let time = 0; time < 4; time++) {
    gc()
    await sleep(20)
  }
  const { rss, external, heapUsed } = process.memoryUsage()
  const taken = {
    second: Math.round(second),
    rssMb: rss / 2 ** 20,
    externalMb: external / 2 ** 20,
    heapMb: heapUsed / 2 ** 20,
    stepsPerSecond: done.steps / seconds,
    solvesPerSecond: done.solves / seconds,
    ...done,
  }
  done = { ...none }
  const { rssMb, externalMb, heapMb, stepsPerSecond, solvesPerSecond } = taken
  console.log(
    `minute ${(second / 60).toFixed(1)}: RSS ${rssMb.toFixed(1)} MB, external ${externalMb.toFixed(1)} MB, ` +
      `heap ${heapMb.toFixed(1)} MB, ${stepsPerSecond.toFixed(1)} steps/s, ${solvesPerSecond.toFixed(0)} solves/s`,
  )
  return taken
}

/** Runs until the time is over and three samples are taken; what was sampled before an error stays in `samples`. */
async function soak(folder: string, samples: Sample[]): Promise<void> {
  await buildGeneratedSudoku({
    outDir: join(folder, 'data'),
    size: 4,
    holes: 8,
    grids: 240,
    trainPuzzles: 2000,
    testPuzzles: puzzleCount,
    numAug: 0,
    seed: 0,
  })
  using data = await Dataset.open(join(folder, 'data'))
  const puzzles = Array.from({ length: puzzleCount }, (_, at) => data.example('test', 'all', at).inputs)
  const { vocabSize, seqLen } = data
  await using model = await HRM.create({ preset: 'tiny', vocabSize, seqLen }, { threads })
  console.log(`${model.device}, ${minutes} minutes, a line after every ${everySeconds} s`)
  const begin = performance.now()
  const secondsNow = () => (performance.now() - begin) / 1000
  const fewestSamples = 3
  for (let round = 0, last = 0; last < minutes * 60 || samples.length < fewestSamples; round++) {
    await doRound(model, folder, puzzles, round)
    const second = secondsNow()
    if (second - last < everySeconds && second < minutes * 60) continue
    samples.push(await sample(second, second - last))
    last = secondsNow()
  }
}

const folder = mkdtempSync(join(tmpdir(), 'hrm-soak-'))
const samples: Sample[] = []
const date = new Date().toISOString().slice(0, 10)
const commit = execFileSync('git', ['rev-parse', '--short', 'HEAD'], { encoding: 'utf8' }).trim()
let failure: unknown
try {
  await soak(folder, samples)
} catch (error) {
  failure = error ?? new Error('unknown')
} finally {
  rmSync(folder, { recursive: true, force: true })
}

const warm = samples.filter(({ second }) => second >= warmSeconds)
const [first, last] = [warm[0], warm.at(-1)]
const growthMb = first && last ? last.rssMb - first.rssMb : null
const mean = (list: Sample[], key: 'stepsPerSecond' | 'solvesPerSecond') =>
  list.reduce((sum, line) => sum + line[key], 0) / list.length
/** Means of the two halves of the time after the warm-up. */
const halves = (key: 'stepsPerSecond' | 'solvesPerSecond') => [
  mean(warm.slice(0, Math.ceil(warm.length / 2)), key),
  mean(warm.slice(Math.floor(warm.length / 2)), key),
]
const passed = failure === undefined && growthMb !== null && growthMb <= maxGrowthMb
const total = (key: keyof Work) => samples.reduce((sum, line) => sum + line[key], 0)
const result = {
  date,
  commit,
  cpu: cpus()[0]?.model.trim() ?? 'unknown',
  node: process.version,
  minutes,
  passed,
  error: failure === undefined ? null : failure instanceof Error ? failure.message : JSON.stringify(failure),
  growthMb,
  maxGrowthMb,
  highestRssMb: Math.max(...warm.map(({ rssMb }) => rssMb)),
  fromSecond: first?.second ?? null,
  steps: total('steps'),
  checkpoints: total('checkpoints'),
  solves: total('solves'),
  models: total('models'),
  stepsPerSecond: halves('stepsPerSecond'),
  solvesPerSecond: halves('solvesPerSecond'),
  samples,
}
if (given.json !== undefined) writeFileSync(given.json, `${JSON.stringify(result, null, 1)}\n`)
if (failure !== undefined) console.error(failure)
console.log(
  `${passed ? 'passed' : 'failed'}: after minute ${((first?.second ?? 0) / 60).toFixed(1)} RSS grew by ` +
    `${growthMb?.toFixed(2) ?? '?'} MB, at most ${maxGrowthMb} allowed; ${total('steps')} steps, ` +
    `${total('checkpoints')} checkpoints, ${total('solves')} solves, ${total('models')} models`,
)
process.exitCode = passed ? 0 : 1
