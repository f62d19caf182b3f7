// Writes a table of docs/performance.md, between its markers, from the last line of what a benchmark printed:
//   npm run -s bench -- --json > docs/results/bench-cpu.jsonl && node scripts/write-benchmark-table.mjs
//   npm run -s bench:act -- CHECKPOINT DATASET | tail -n 1 > bench/results/act-DATE.json &&
//     node scripts/write-benchmark-table.mjs bench-act bench/results/act-DATE.json
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

const root = join(import.meta.dirname, '..')

function table(headers, rows) {
  return [headers, headers.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n')
}

function percent(share, digits) {
  return (100 * share).toFixed(digits)
}

/** What is written between the markers of each name. */
const blocks = {
  'bench-cpu': ({ machine, cases }) => {
    const headers = [
      'case',
      'batch',
      'median ms',
      'best ms',
      'spread',
      'GFLOP/s',
      'peak',
      '% of peak',
      'loop lag p99 ms',
    ]
    const rows = cases.map((row) => [
      row.name,
      row.batch,
      row.ms.toFixed(2),
      row.bestMs.toFixed(2),
      `${percent(row.spread, 0)} %`,
      row.gflops.toFixed(1),
      row.peakGflops.toFixed(0),
      row.percentOfPeak.toFixed(1),
      row.lagP99Ms.toFixed(1),
    ])
    return `${machine.cpu}, ${machine.isa}, ${machine.threads} threads, Node ${machine.node}.\n\n${table(headers, rows)}`
  },
  'bench-act': ({ cpu, device, node, maxBatch, settings }) => {
    const headers = [
      'weights',
      'precision',
      'halting',
      'n',
      'exact % (95 % interval)',
      'cells %',
      'mean segments',
      'puzzles/s',
      'JavaScript between segments %',
      'loop over bare segments %',
      'tokens / grids as fp32 %',
      'same bits alone',
    ]
    const rows = settings.map((row) => [
      row.weights,
      row.precision,
      row.halting === 'q' ? 'q' : `${row.maxSegments} segments`,
      row.count,
      `${percent(row.exactAccuracy, 2)} (${row.interval.map((bound) => percent(bound, 1)).join(' to ')})`,
      percent(row.cellAccuracy, 2),
      row.meanSegments.toFixed(2),
      row.puzzlesPerSecond.toFixed(1),
      percent(row.refillOverhead, 2),
      row.loopOverhead === null ? '-' : percent(row.loopOverhead, 1),
      `${percent(row.equalTokens, 2)} / ${percent(row.equalGrids, 2)}`,
      row.sameAlone,
    ])
    return `${cpu}, ${device}, ${maxBatch} slots, Node ${node}.\n\n${table(headers, rows)}`
  },
}

const [name = 'bench-cpu', file = join(root, 'docs/results/bench-cpu.jsonl')] = process.argv.slice(2)
if (!Object.hasOwn(blocks, name)) throw new Error(`expected one of ${Object.keys(blocks).join(', ')}, got ${name}`)
const block = blocks[name](JSON.parse(readFileSync(file, 'utf8').trim().split('\n').at(-1)))

const path = join(root, 'docs/performance.md')
const text = readFileSync(path, 'utf8')
const marked = new RegExp(`(<!-- ${name} -->\n)[\\s\\S]*?(\n<!-- /${name} -->)`)
if (!marked.test(text)) throw new Error(`${path} has no <!-- ${name} --> … <!-- /${name} --> markers`)
writeFileSync(
  path,
  text.replace(marked, (_, open, close) => `${open}\n${block}\n${close}`),
)
