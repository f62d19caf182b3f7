// npm run bench -- reliability [--seconds 15] [--rounds 5] [--threads N] [--json FILE]
// What training and solving leave of the event loop: lag of a 1 ms timer and the time that reading a file takes, beside an
// idle process and a control, in which as many threads as the engine has only spin.
import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { availableParallelism, cpus, loadavg } from 'node:os'
import { parseArgs } from 'node:util'
import { measureEventLoop } from './event-loop.js'

/** The goals, for a machine that has nothing else to do. */
const MAX_P99_MS = 5
const MAX_READ_RATIO = 2

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '15' },
    rounds: { type: 'string', default: '5' },
    threads: { type: 'string', default: String(availableParallelism()) },
    json: { type: 'string' },
  },
})
const [seconds, rounds, threads] = [Number(values.seconds), Number(values.rounds), Number(values.threads)]
if (!(seconds > 0) || !(rounds >= 1) || !(threads >= 1)) {
  console.error('bench: expected --seconds above 0, --rounds and --threads of at least 1')
  process.exit(2)
}

const [loadBefore = 0] = loadavg()
const lags = await measureEventLoop(threads, seconds, rounds)
const control = lags.find(({ phase }) => phase === 'control')!
const rows = lags.map((lag) => ({ ...lag, readOverControl: lag.readFileMs / control.readFileMs }))
const columns = ['p99 lag ms', 'max lag ms', 'ticks %', 'readFile ms', 'x control']
console.log(
  `${cpus()[0]?.model.trim()}, ${threads} threads, load ${loadBefore.toFixed(1)} before, Node ${process.version}`,
)
console.log(`${'while'.padEnd(10)}${columns.map((name) => name.padStart(13)).join('')}`)
for (const { phase, p99Ms, maxMs, tickShare, readFileMs, readOverControl } of rows) {
  const cells = [p99Ms.toFixed(2), maxMs.toFixed(1), (100 * tickShare).toFixed(0), readFileMs.toFixed(3)]
  console.log(`${phase.padEnd(10)}${[...cells, readOverControl.toFixed(2)].map((cell) => cell.padStart(13)).join('')}`)
}
const working = rows.filter(({ phase }) => phase === 'training' || phase === 'solving')
const met = working.every(({ p99Ms, readOverControl }) => p99Ms < MAX_P99_MS && readOverControl <= MAX_READ_RATIO)
console.log(
  `goal, p99 below ${MAX_P99_MS} ms and readFile within ${MAX_READ_RATIO}x of the control: ${met ? 'met' : 'missed'}`,
)
if (values.json !== undefined) {
  const result = {
    date: new Date().toISOString().slice(0, 10),
    commit: execFileSync('git', ['rev-parse', '--short', 'HEAD'], { encoding: 'utf8' }).trim(),
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    node: process.version,
    threads,
    seconds,
    rounds,
    loadBefore,
    met,
    phases: rows,
  }
  writeFileSync(values.json, `${JSON.stringify(result, null, 1)}\n`)
}
