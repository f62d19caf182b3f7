// Writes the tables of docs/performance.md, each between its markers, from what the benchmarks left:
//   npm run -s bench -- --json > docs/results/bench-cpu.jsonl
//   npm run -s bench -- peers --json    (writes bench/results/peers-<date>.json; the newest is taken)
//   node scripts/write-benchmark-table.mjs
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

const root = join(import.meta.dirname, '..')
const path = join(root, 'docs/performance.md')
let text = readFileSync(path, 'utf8')

const percent = (share) => `${(100 * share).toFixed(0)} %`

/** Columns are [title, cell of a row]. */
function write(mark, caption, columns, rows) {
  const cells = rows.map((row) => columns.map(([, cell]) => cell(row)))
  const lines = [columns.map(([title]) => title), columns.map(() => '---'), ...cells]
  const block = `${caption}\n\n${lines.map((line) => `| ${line.join(' | ')} |`).join('\n')}`
  const marked = new RegExp(`(<!-- ${mark} -->\\n)[\\s\\S]*?(\\n<!-- /${mark} -->)`)
  if (!marked.test(text)) throw new Error(`${path} has no <!-- ${mark} --> … <!-- /${mark} --> markers`)
  text = text.replace(marked, (_, open, close) => `${open}\n${block}\n${close}`)
}

const engine = JSON.parse(readFileSync(join(root, 'docs/results/bench-cpu.jsonl'), 'utf8').trim().split('\n').at(-1))
write(
  'bench-cpu',
  `${engine.machine.cpu}, ${engine.machine.isa}, ${engine.machine.threads} threads, Node ${engine.machine.node}.`,
  [
    ['case', (row) => row.name],
    ['batch', (row) => row.batch],
    ['median ms', (row) => row.ms.toFixed(2)],
    ['best ms', (row) => row.bestMs.toFixed(2)],
    ['spread', (row) => percent(row.spread)],
    ['GFLOP/s', (row) => row.gflops.toFixed(1)],
    ['peak', (row) => row.peakGflops.toFixed(0)],
    ['% of peak', (row) => row.percentOfPeak.toFixed(1)],
    ['loop lag p99 ms', (row) => row.lagP99Ms.toFixed(1)],
  ],
  engine.cases,
)

const results = join(root, 'bench/results')
const newest = existsSync(results)
  ? readdirSync(results)
      .filter((name) => /^peers-.*\.json$/.test(name))
      .sort()
      .at(-1)
  : undefined
if (newest !== undefined) {
  const { date, commit, command, machine, cases } = JSON.parse(readFileSync(join(results, newest), 'utf8'))
  write(
    'peers',
    `${machine.cpu}, ${machine.isa}, ${machine.threads} threads, Node ${machine.node}, onnxruntime-node ` +
      `${machine.onnxruntime}; ${date}, commit ${commit.slice(0, 7)}, \`${command}\`.`,
    [
      ['case', (row) => row.case],
      ['batch', (row) => row.batch],
      ['engine', (row) => row.engine],
      ['median ms', (row) => row.ms.toFixed(1)],
      ['best ms', (row) => row.bestMs.toFixed(1)],
      ['spread', (row) => percent(row.spread)],
      ['GFLOP/s', (row) => row.gflops.toFixed(1)],
      ['% of peak', (row) => row.percentOfPeak.toFixed(1)],
      ['time / onnxruntime', (row) => row.timeOverOnnxruntime.toFixed(2)],
    ],
    cases,
  )
}

writeFileSync(path, text)
