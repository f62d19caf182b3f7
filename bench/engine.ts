// Times the engine alone: npm run bench -- [--json] [--threads N] [--isa NAME] [--filter TEXT] [--seconds S]
import { cpus } from 'node:os'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { parseArgs } from 'node:util'
import { native } from '#dist/native.js'
import { cases, type Case } from './cases.js'
import { summarise } from './statistics.js'

const { values: options } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    threads: { type: 'string', default: '0' },
    isa: { type: 'string', default: '' },
    filter: { type: 'string', default: '' },
    seconds: { type: 'string', default: '6' },
    help: { type: 'boolean', default: false },
  },
})

if (options.help) {
  console.log(`Times inference segments and training steps on this CPU.

  --json          one JSON object a line, the last one {"type":"result", …}
  --threads N     compute threads (default: all cores)
  --isa NAME      instruction set (default: the best)
  --filter TEXT   only cases whose name contains TEXT
  --seconds S     time spent on each case (default: 6)`)
  process.exit(0)
}

const info = native.cpuInfo()
const threads = Number(options.threads) || info.threads
const isa = options.isa || info.isa
const budgetMs = Number(options.seconds) * 1000
const peakMs = 300

interface Row {
  name: string
  batch: number
  ms: number
  bestMs: number
  spread: number
  runs: number
  gflops: number
  peakGflops: number
  percentOfPeak: number
  /** How late a 1 ms timer of the main thread fired while the case ran, 99th percentile (median of ten windows) and worst. */
  lagP99Ms: number
  lagMaxMs: number
}

/** Runs one case for its time budget, measuring the FMA peak before each tenth of it, as the machine's speed drifts. */
async function time(what: Case): Promise<Row> {
  const { run, close } = await what.prepare()
  try {
    await run()
    const times: number[] = []
    const peaks: number[] = []
    const lags: { p99: number; max: number }[] = []
    const end = performance.now() + budgetMs
    do {
      peaks.push(await native.debug.peakFlops(threads, isa, peakMs))
      const slice = performance.now() + budgetMs / 10
      const lag = monitorEventLoopDelay({ resolution: 1 })
      lag.enable()
      do {
        const start = performance.now()
        await run()
        times.push(performance.now() - start)
      } while (performance.now() < slice)
      lag.disable()
      lags.push({ p99: lag.percentile(99) / 1e6 - 1, max: lag.max / 1e6 - 1 })
    } while (performance.now() < end || times.length < 5)
    const { median, best, spread, runs } = summarise(times)
    const peakGflops = summarise(peaks).median
    const gflops = what.gflop / (median / 1000)
    return {
      name: what.name,
      batch: what.batch,
      ms: median,
      bestMs: best,
      spread,
      runs,
      gflops,
      peakGflops,
      percentOfPeak: (100 * gflops) / peakGflops,
      lagP99Ms: Math.max(0, summarise(lags.map(({ p99 }) => p99)).median),
      lagMaxMs: Math.max(0, ...lags.map(({ max }) => max)),
    }
  } finally {
    close()
  }
}

const chosen = cases({ threads, isa }).filter((c) => c.name.includes(options.filter))
if (chosen.length === 0) {
  console.error(`bench: no case contains "${options.filter}"`)
  process.exit(2)
}
const machine = { cpu: cpus()[0]?.model ?? 'unknown', isa, threads, node: process.version }
if (!options.json) {
  console.log(`${machine.cpu}, ${isa}, ${threads} threads, Node ${process.version}\n`)
  console.log(
    'case                      batch   median ms   best ms  spread   GFLOP/s   peak   % of peak   loop lag p99 / max ms',
  )
}
const rows: Row[] = []
for (const what of chosen) {
  const row = await time(what)
  rows.push(row)
  if (options.json) console.log(JSON.stringify({ type: 'case', ...row }))
  else
    console.log(
      row.name.padEnd(25) +
        String(row.batch).padStart(6) +
        row.ms.toFixed(2).padStart(12) +
        row.bestMs.toFixed(2).padStart(10) +
        `${(100 * row.spread).toFixed(0)} %`.padStart(8) +
        row.gflops.toFixed(1).padStart(10) +
        row.peakGflops.toFixed(0).padStart(7) +
        row.percentOfPeak.toFixed(1).padStart(12) +
        `${row.lagP99Ms.toFixed(1)} / ${row.lagMaxMs.toFixed(1)}`.padStart(25),
    )
}
if (options.json) console.log(JSON.stringify({ type: 'result', machine, cases: rows }))
