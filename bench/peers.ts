// Times the engine beside onnxruntime-node on the same weights: npm run bench -- peers [--check] [--json] [--threads N]
import { execFileSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { cpus } from 'node:os'
import { fileURLToPath } from 'node:url'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { HRMError } from '#dist/errors.js'
import { native, type NativeEngine } from '#dist/native.js'
import { benchConfig } from '#dist/bench/cases.js'
import {
  type Contestant,
  disagreement,
  nativeContestant,
  onnxContestant,
  type OnnxContestant,
  randomExamples,
} from './contestants.js'
import { flops } from '#dist/flops.js'
import { installOnnxRuntime, openOnnxSession } from './onnxruntime.js'
import { exportError, makePeerModel, openPeerEngine } from './peer-model.js'
import { smallModels } from './small-models.js'
import { summarise } from '#dist/bench/statistics.js'

const { values: options } = parseArgs({
  options: {
    check: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
    threads: { type: 'string', default: '0' },
    isa: { type: 'string', default: '' },
    rounds: { type: 'string', default: '7' },
    help: { type: 'boolean', default: false },
  },
})

if (options.help) {
  console.log(`Times segments beside onnxruntime-node: the same weights, tokens and threads, in turns.

  --check       only compare the results
  --json        one JSON object a line, the last one {"type":"result", …}; also kept as bench/results/peers-<date>.json
  --threads N   compute threads of each (default: all cores)
  --isa NAME    instruction set of ours (default: the best)
  --rounds N    turns of each contestant (default: 7)`)
  process.exit(0)
}

const info = native.cpuInfo()
const threads = Number(options.threads) || info.threads
const isa = options.isa || info.isa
const rounds = Number(options.rounds)
const settings = { threads, isa }
const peakMs = 300
/** A turn lasts at least this long, so that short segments are timed many times with warm caches. */
const turnMs = 300
/** Lets the threads of the last contestant stop spinning before the next one starts. */
const settleMs = 30
/** Largest difference accepted, relative to the largest magnitude, of small models and of the paper's. */
const tolerances = { small: 1e-5, paper: 1e-4 }

const print = (type: string, values: Record<string, unknown>, line: string) =>
  console.log(options.json ? JSON.stringify({ type, ...values }) : line)

function assertAgreement(name: string, error: number, tolerance: number): void {
  print('check', { name, error, tolerance }, `${name}: largest difference ${error.toExponential(1)}`)
  if (error <= tolerance) return
  console.error(`peers: expected at most ${tolerance} between ours and onnxruntime, got ${error} for ${name}`)
  process.exit(1)
}

const runtime = installOnnxRuntime()
const onnxruntime = runtime.env.versions.node ?? 'unknown'

for (const { name, config } of smallModels) {
  assertAgreement(name, await exportError(runtime, config, 3, config.haltMaxSegments), tolerances.small)
}

const paper = benchConfig('paper')
const model = await makePeerModel(paper, settings)
process.on('exit', () => model.remove())
const session = await openOnnxSession(runtime, model.onnx, threads)

/** Our precisions that this build has, fp32 first. */
async function openEngines(): Promise<[string, NativeEngine][]> {
  const engines: [string, NativeEngine][] = []
  for (const precision of ['fp32', 'int8'] as const) {
    try {
      engines.push([`hrm-native ${precision}`, await openPeerEngine(model, settings, precision)])
    } catch (error) {
      if (!(error instanceof HRMError) || error.code !== 'ERR_HRM_NO_DEVICE') throw error
    }
  }
  return engines
}
const engines = await openEngines()

/** All on the same examples; `ours` in the order of the engines. */
async function contestants(batch: number): Promise<{ theirs: OnnxContestant; ours: Contestant[] }> {
  const examples = randomExamples(paper, batch)
  return {
    theirs: onnxContestant('onnxruntime fp32', runtime, session, paper, examples),
    ours: await Promise.all(engines.map(([name, engine]) => nativeContestant(name, engine, examples))),
  }
}

const segments = paper.haltMaxSegments
const segment = (contestant: Contestant) => contestant.segment()
async function solve(contestant: Contestant): Promise<void> {
  contestant.reset()
  for (let i = 0; i < segments; i++) await contestant.segment()
}

const cases = [
  ...[1, 8, 32].map((batch) => ({ name: 'segment', batch, segments: 1, run: segment })),
  { name: `solve, ${segments} segments`, batch: 1, segments, run: solve },
]

/** Milliseconds of each run of one turn. The first one warms the caches; where it alone fills the turn, that is no matter. */
async function turn(contestant: Contestant, run: (contestant: Contestant) => Promise<void>): Promise<number[]> {
  const timed = async () => {
    const start = performance.now()
    await run(contestant)
    return performance.now() - start
  }
  await sleep(settleMs)
  const first = await timed()
  if (first >= turnMs) return [first]
  const times: number[] = []
  const end = performance.now() + turnMs
  do times.push(await timed())
  while (performance.now() < end)
  return times
}

async function check(): Promise<void> {
  for (const batch of [1, 8, 32]) {
    const { theirs, ours } = await contestants(batch)
    const count = batch === 1 ? segments : 1
    const name = `paper, batch ${batch}, ${count} segment${count === 1 ? '' : 's'}`
    assertAgreement(name, await disagreement(ours[0]!, theirs, count), tolerances.paper)
    for (const contestant of ours) contestant.close()
  }
}

interface Row {
  case: string
  batch: number
  engine: string
  ms: number
  bestMs: number
  spread: number
  runs: number
  gflops: number
  peakGflops: number
  percentOfPeak: number
  /** Median over the rounds of its turn's median over that of onnxruntime's turn beside it. */
  timeOverOnnxruntime: number
}

async function time({ name, batch, segments, run }: (typeof cases)[number]): Promise<Row[]> {
  const { theirs, ours } = await contestants(batch)
  const all = [theirs, ...ours]
  for (const contestant of all) for (let i = 0; i < 3; i++) await contestant.segment()
  const times: number[][] = all.map(() => [])
  const ratios: number[][] = all.map(() => [])
  const peaks: number[] = []
  for (let round = 0; round < rounds; round++) {
    peaks.push(await native.debug.peakFlops(threads, isa, peakMs))
    let reference = 0
    for (const [i, contestant] of all.entries()) {
      const taken = await turn(contestant, run)
      times[i]!.push(...taken)
      const { median } = summarise(taken)
      if (i === 0) reference = median
      ratios[i]!.push(median / reference)
    }
  }
  const peakGflops = summarise(peaks).median
  for (const contestant of ours) contestant.close()
  return all.map((contestant, i) => {
    const { median, best, spread, runs } = summarise(times[i]!)
    const gflops = (flops(paper).segment * batch * segments) / 1e6 / median
    return {
      case: name,
      batch,
      engine: contestant.name,
      ms: median,
      bestMs: best,
      spread,
      runs,
      gflops,
      peakGflops,
      percentOfPeak: (100 * gflops) / peakGflops,
      timeOverOnnxruntime: summarise(ratios[i]!).median,
    }
  })
}

const columns: [string, (row: Row) => string][] = [
  ['case', (row) => row.case.padEnd(18)],
  ['batch', (row) => String(row.batch).padStart(5)],
  ['engine', (row) => row.engine.padEnd(17)],
  ['median ms', (row) => row.ms.toFixed(1)],
  ['best ms', (row) => row.bestMs.toFixed(1)],
  ['spread', (row) => `${(100 * row.spread).toFixed(0)} %`],
  ['GFLOP/s', (row) => row.gflops.toFixed(1)],
  ['peak', (row) => row.peakGflops.toFixed(0)],
  ['% of peak', (row) => row.percentOfPeak.toFixed(1)],
  ['time / onnxruntime', (row) => row.timeOverOnnxruntime.toFixed(2)],
]
const line = (cells: string[]) => cells.map((cell, i) => cell.padStart(columns[i]![0].length)).join('  ')

const git = (...args: string[]) => execFileSync('git', args, { encoding: 'utf8' }).trim()

await check()
if (!options.check) {
  const cpu = cpus()[0]?.model.trim() ?? 'unknown'
  const machine = { cpu, cores: cpus().length, isa, threads, node: process.version, onnxruntime }
  if (!options.json) {
    console.log(`\n${cpu}, ${isa}, ${threads} threads, Node ${process.version}, onnxruntime-node ${onnxruntime}\n`)
    console.log(line(columns.map(([title]) => title)))
  }
  const rows: Row[] = []
  for (const what of cases) {
    for (const row of await time(what)) {
      rows.push(row)
      print('case', { ...row }, line(columns.map(([, cell]) => cell(row))))
    }
  }
  if (options.json) {
    const date = new Date().toISOString().slice(0, 10)
    const commit = git('rev-parse', 'HEAD') + (git('status', '--porcelain') === '' ? '' : ' and changes')
    const command = `npm run bench -- peers ${process.argv.slice(2).join(' ')}`
    const result = { type: 'result', date, commit, command, machine, cases: rows }
    const folder = fileURLToPath(new URL('../../bench/results/', import.meta.url))
    mkdirSync(folder, { recursive: true })
    writeFileSync(`${folder}peers-${date}.json`, `${JSON.stringify(result)}\n`)
    console.log(JSON.stringify(result))
  }
}
for (const [, engine] of engines) engine.dispose()
await session.release()
