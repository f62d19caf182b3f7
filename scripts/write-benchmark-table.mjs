// Writes the tables of docs/performance.md, each between its markers, from what the benchmarks left; of each kind in
// bench/results the newest is taken:
//   npm run -s bench -- --json > docs/results/bench-cpu.jsonl
//   npm run -s bench -- peers --json    (writes bench/results/peers-<date>.json)
//   npm run -s bench -- act CHECKPOINT DATASET | tail -n 1 > bench/results/act-<date>.json    (and prettier --write)
//   node scripts/write-benchmark-table.mjs
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

const root = join(import.meta.dirname, '..')
const path = join(root, 'docs/performance.md')
let text = readFileSync(path, 'utf8')

const percent = (share, digits = 0) => (100 * share).toFixed(digits)

/** Columns are [title, cell of a row]. */
function write(mark, caption, columns, rows) {
  const cells = rows.map((row) => columns.map(([, cell]) => cell(row)))
  const lines = [columns.map(([title]) => title), columns.map(() => '---'), ...cells]
  const block = `${caption}\n\n${lines.map((line) => `| ${line.join(' | ')} |`).join('\n')}`
  const marked = new RegExp(`(<!-- ${mark} -->\\n)[\\s\\S]*?(\\n<!-- /${mark} -->)`)
  if (!marked.test(text)) throw new Error(`${path} has no <!-- ${mark} --> … <!-- /${mark} --> markers`)
  text = text.replace(marked, (_, open, close) => `${open}\n${block}\n${close}`)
}

/** The last line of a file of JSON lines. */
const readLast = (file) => JSON.parse(readFileSync(file, 'utf8').trim().split('\n').at(-1))

/** The newest result of a kind in bench/results. */
function readNewest(kind) {
  const results = join(root, 'bench/results')
  const names = readdirSync(results).filter((name) => name.startsWith(`${kind}-`) && name.endsWith('.json'))
  return JSON.parse(readFileSync(join(results, names.sort().at(-1)), 'utf8'))
}

const timed = [
  ['median ms', (row) => row.ms.toFixed(2)],
  ['best ms', (row) => row.bestMs.toFixed(2)],
  ['spread', (row) => `${percent(row.spread)} %`],
  ['GFLOP/s', (row) => row.gflops.toFixed(1)],
  ['peak', (row) => row.peakGflops.toFixed(0)],
  ['% of peak', (row) => row.percentOfPeak.toFixed(1)],
]

const engine = readLast(join(root, 'docs/results/bench-cpu.jsonl'))
write(
  'bench-cpu',
  `${engine.machine.cpu}, ${engine.machine.isa}, ${engine.machine.threads} threads, Node ${engine.machine.node}.`,
  [
    ['case', (row) => row.name],
    ['batch', (row) => row.batch],
    ...timed,
    ['loop lag p99 ms', (row) => row.lagP99Ms.toFixed(1)],
  ],
  engine.cases,
)

const peers = readNewest('peers')
write(
  'peers',
  `${peers.machine.cpu}, ${peers.machine.isa}, ${peers.machine.threads} threads, Node ${peers.machine.node}, ` +
    `onnxruntime-node ${peers.machine.onnxruntime}; ${peers.date}, commit ${peers.commit.slice(0, 7)}, \`${peers.command}\`.`,
  [
    ['case', (row) => row.case],
    ['batch', (row) => row.batch],
    ['engine', (row) => row.engine],
    ...timed,
    ['time / onnxruntime', (row) => row.timeOverOnnxruntime.toFixed(2)],
  ],
  peers.cases,
)

const act = readNewest('act')
write(
  'bench-act',
  `${act.cpu}, ${act.device}, ${act.maxBatch} slots, Node ${act.node}.`,
  [
    ['weights', (row) => row.weights],
    ['precision', (row) => row.precision],
    ['halting', (row) => (row.halting === 'q' ? 'q' : `${row.maxSegments} segments`)],
    ['n', (row) => row.count],
    [
      'exact % (95 % interval)',
      (row) => `${percent(row.exactAccuracy, 2)} (${row.interval.map((bound) => percent(bound, 1)).join(' to ')})`,
    ],
    ['cells %', (row) => percent(row.cellAccuracy, 2)],
    ['mean segments', (row) => row.meanSegments.toFixed(2)],
    ['puzzles/s', (row) => row.puzzlesPerSecond.toFixed(1)],
    ['JavaScript between segments %', (row) => percent(row.refillOverhead, 2)],
    ['loop over bare segments %', (row) => (row.loopOverhead === null ? '-' : percent(row.loopOverhead, 1))],
    ['tokens / grids as fp32 %', (row) => `${percent(row.equalTokens, 2)} / ${percent(row.equalGrids, 2)}`],
    ['same bits alone', (row) => row.sameAlone],
  ],
  act.settings,
)

writeFileSync(path, text)
