// Draws exact accuracy against arithmetic per puzzle for ways of spending more of it on one trained checkpoint:
//   node scripts/plot-test-time-scaling.mjs CKPT DATASET OUT.svg [--puzzles 500] [--weights raw|ema] [--task sudoku]
// It writes OUT.svg and, beside it, OUT.json. Labels are read only to score what was picked without them.
import { writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { wilsonInterval } from '../dist/wilson.js'
import { flops } from '../dist/flops.js'
import { Dataset, HRM, verify } from '../dist/index.js'
import { pickAnswer } from '../dist/votes.js'

const segmentSteps = [1, 2, 4, 8, 16, 32, 64]
const runSteps = [1, 2, 4, 8, 16]
/** Runs that are made once; every pick over the first few of them is what a vote of so many runs picks. */
const ladders = [
  { name: 'relabelled', votes: { views: ['relabel'] } },
  { name: 'relabelled and turned', votes: { views: ['relabel', 'dihedral'] } },
  { name: 'noise 1', votes: { noise: 1 } },
]
const picks = { majority: 'majority', q: 'highest q_halt', residual: 'smallest residual', verifier: 'rule checker' }

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    puzzles: { type: 'string', default: '500' },
    weights: { type: 'string' },
    task: { type: 'string', default: 'sudoku' },
    threads: { type: 'string' },
  },
})
const [checkpoint, folder, out] = positionals
if (positionals.length !== 3 || !out.endsWith('.svg')) {
  console.error('usage: node scripts/plot-test-time-scaling.mjs CKPT DATASET OUT.svg [--puzzles N] [--weights raw|ema]')
  process.exit(2)
}

const { task, weights, threads } = values
const model = await HRM.load(checkpoint, { weights, threads: threads && Number(threads) })
const dataset = await Dataset.open(folder)
const set = dataset.sets('test')[0]
const count = Math.min(Number(values.puzzles), set.numExamples)
const examples = Array.from({ length: count }, (_, index) => dataset.example('test', set.name, index))
const inputs = examples.map(({ inputs }) => inputs)
const puzzleIds = examples.map(({ puzzleId }) => puzzleId)
const gflop = flops(model.config).segment / 1e9

function isRight(tokens, { labels }) {
  return labels.every((label, at) => label < 0 || label === tokens[at])
}

/** @param answers - [count] the tokens picked and the segments that they cost */
function point(setting, answers) {
  const right = answers.filter(({ tokens }, i) => isRight(tokens, examples[i])).length
  const segments = answers.reduce((sum, answer) => sum + answer.segments, 0) / count
  const exact = right / count
  return { setting, segments, gflop: segments * gflop, exact, interval: wilsonInterval(exact, count) }
}

/** What a vote over the first `runs` runs picks; the rule checker ends them at the first valid answer. */
function picked(answers, pick, runs, input) {
  const accepts = (tokens) => verify(task, input, tokens).valid
  const all = answers.slice(0, runs)
  const valid = pick === 'verifier' ? all.findIndex(({ tokens }) => accepts(tokens)) : -1
  const made = valid < 0 ? all : all.slice(0, valid + 1)
  const { tokens } = made[pickAnswer(made, pick, accepts)]
  return { tokens, segments: made.reduce((sum, { segments }) => sum + segments, 0) }
}

const methods = []
const progress = (text) => console.error(`${new Date().toISOString().slice(11, 19)} ${text}`)
const deeper = { name: 'more segments', group: 'segments', pick: '', points: [] }
methods.push(deeper)
for (const maxSegments of segmentSteps) {
  progress(`${maxSegments} segments`)
  deeper.points.push(point(maxSegments, await model.solve(inputs, { puzzleIds, maxSegments })))
}
for (const { name, votes } of ladders) {
  progress(name)
  const results = await model.solve(inputs, {
    puzzleIds,
    votes: { ...votes, task, count: Math.max(...runSteps), pick: 'residual' },
  })
  for (const [pick, words] of Object.entries(picks)) {
    const points = runSteps.map((runs) =>
      point(
        runs,
        results.map((result, i) => picked(result.votes.answers, pick, runs, inputs[i])),
      ),
    )
    methods.push({ name: `${name}, ${words}`, group: name, pick, points })
  }
}

const { numParameters, config } = model
writeFileSync(
  out.replace(/\.svg$/, '.json'),
  `${JSON.stringify({ dataset: await dataset.hash(), task, count, weights, numParameters, config, segmentGflop: gflop, methods }, null, 2)}\n`,
)
writeFileSync(out, draw(methods))
for (const { name, points } of methods) {
  console.log(`${name}: ${points.map(({ setting, exact }) => `${setting}: ${(100 * exact).toFixed(1)}`).join(', ')}`)
}
model.dispose()
dataset.close()

/** An SVG of exact accuracy against GFLOP per puzzle: a panel for each group, with the line of `segments` in all. */
function draw(all) {
  const panels = [...new Set(all.map(({ group }) => group))].filter((group) => group !== 'segments')
  const [width, height, left, top, gap] = [290, 260, 52, 58, 14]
  const lows = all.flatMap(({ group, points }) =>
    group === 'segments' ? [] : points.map(({ interval }) => interval[0]),
  )
  const floor = Math.floor(10 * Math.min(...lows)) / 10
  // Few segments leave nearly everything unsolved; what lies below the votes would only press them together.
  const lines = all.map((method) => ({ ...method, points: method.points.filter(({ exact }) => exact >= floor) }))
  const costs = lines.flatMap(({ points }) => points.map((p) => p.gflop))
  const [low, high] = [Math.min(...costs), Math.max(...costs)]
  const x = (value) => (width * Math.log(value / low)) / Math.log(high / low)
  const y = (share) => height * (1 - (Math.max(share, floor) - floor) / (1 - floor))
  const colours = { '': '#6b7280', majority: '#2563eb', q: '#d97706', residual: '#7c3aed', verifier: '#059669' }
  const text = (at, up, words, more = '') => `<text x="${at.toFixed(1)}" y="${up.toFixed(1)}" ${more}>${words}</text>`
  const line = ({ points: shown, pick }) => {
    const bars = shown.map(({ gflop: each, interval: [from, to] }) => {
      const at = x(each).toFixed(1)
      return `<line x1="${at}" x2="${at}" y1="${y(from).toFixed(1)}" y2="${y(to).toFixed(1)}" stroke-opacity="0.35"/>`
    })
    const dots = shown.map(({ gflop: each, exact, setting }) => {
      const title = `<title>${setting}: ${(100 * exact).toFixed(1)} % at ${each.toPrecision(3)} GFLOP</title>`
      return `<circle cx="${x(each).toFixed(1)}" cy="${y(exact).toFixed(1)}" r="3">${title}</circle>`
    })
    const path = shown.map(({ gflop: each, exact }) => `${x(each).toFixed(1)},${y(exact).toFixed(1)}`).join(' ')
    const colour = colours[pick]
    return `<g stroke="${colour}" fill="${colour}"><polyline points="${path}" fill="none" stroke-width="2"/>${bars.join('')}${dots.join('')}</g>`
  }
  const powers = Array.from({ length: 41 }, (_, i) => i - 20).flatMap((power) => [1, 2, 5].map((m) => m * 10 ** power))
  const ticksX = powers.filter((value) => value >= low && value <= high)
  const steps = Array.from({ length: 11 }, (_, i) => i / 10).filter((share) => share >= floor)
  const body = panels.map((group, panel) => {
    const grid = [
      ...steps.map(
        (share) =>
          `<line x1="0" x2="${width}" y1="${y(share)}" y2="${y(share)}" stroke="#e5e7eb"/>` +
          (panel === 0 ? text(-8, y(share) + 4, `${Math.round(100 * share)} %`, 'text-anchor="end"') : ''),
      ),
      ...ticksX.map((value) => text(x(value), height + 18, `${Number(value.toPrecision(3))}`, 'text-anchor="middle"')),
    ]
    const shown = lines.filter((method) => method.group === 'segments' || method.group === group)
    const heading = text(width / 2, -10, group, 'text-anchor="middle" font-weight="600"')
    return `<g transform="translate(${left + panel * (width + gap)},${top})">${grid.join('')}${shown.map(line).join('\n')}${heading}</g>`
  })
  const names = { '': 'one run, more segments', ...picks }
  const legend = Object.entries(names).map(
    ([pick, words], i) =>
      `<circle cx="${left + 8 + i * 172}" cy="20" r="5" fill="${colours[pick]}"/>` +
      text(left + 18 + i * 172, 24, words),
  )
  const total = left + panels.length * (width + gap)
  const caption = text(
    total / 2,
    top + height + 42,
    `GFLOP per puzzle (logarithmic); exact accuracy of ${count} puzzles with 95 % intervals; dots: 1 to 16 runs, or 1 to 64 segments`,
    'text-anchor="middle"',
  )
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${total} ${top + height + 56}" font-family="system-ui, sans-serif" font-size="12" fill="#111827">
<rect width="100%" height="100%" fill="#ffffff"/>
${[...legend, ...body, caption].join('\n')}
</svg>
`
}
