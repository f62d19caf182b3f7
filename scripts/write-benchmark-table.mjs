// Writes the table of docs/performance.md, between its markers, from what the benchmark printed:
//   npm run -s bench -- --json > docs/results/bench-cpu.jsonl && node scripts/write-benchmark-table.mjs
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

const root = join(import.meta.dirname, '..')
const lines = readFileSync(join(root, 'docs/results/bench-cpu.jsonl'), 'utf8').trim().split('\n')
const { machine, cases } = JSON.parse(lines.at(-1))

const headers = ['case', 'batch', 'median ms', 'best ms', 'spread', 'GFLOP/s', 'peak', '% of peak', 'loop lag p99 ms']
const rows = cases.map((row) => [
  row.name,
  row.batch,
  row.ms.toFixed(2),
  row.bestMs.toFixed(2),
  `${(100 * row.spread).toFixed(0)} %`,
  row.gflops.toFixed(1),
  row.peakGflops.toFixed(0),
  row.percentOfPeak.toFixed(1),
  row.lagP99Ms.toFixed(1),
])
const table = [headers, headers.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n')
const block = `${machine.cpu}, ${machine.isa}, ${machine.threads} threads, Node ${machine.node}.\n\n${table}`

const path = join(root, 'docs/performance.md')
const text = readFileSync(path, 'utf8')
const marked = /(<!-- bench-cpu -->\n)[\s\S]*?(\n<!-- \/bench-cpu -->)/
if (!marked.test(text)) throw new Error(`${path} has no <!-- bench-cpu --> … <!-- /bench-cpu --> markers`)
writeFileSync(
  path,
  text.replace(marked, (_, open, close) => `${open}\n${block}\n${close}`),
)
