// Times ours, the official PyTorch code and a plain transformer of the same size, in turns: npm run bench -- claims CHECKOUT
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { cpus, loadavg } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { summarise } from '#dist/bench/statistics.js'
import { native } from '#dist/native.js'

const root = fileURLToPath(new URL('../..', import.meta.url))
const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    python: { type: 'string', default: 'python3' },
    device: { type: 'string', default: 'cpu' },
    modes: { type: 'string', default: 'eager' },
    batches: { type: 'string', default: '1,8,32' },
    'train-batches': { type: 'string', default: '8,32' },
    rounds: { type: 'string', default: '3' },
    seconds: { type: 'string', default: '6' },
    help: { type: 'boolean', default: false },
  },
})
const [checkout] = positionals
if (options.help || checkout === undefined) {
  console.log(`usage: npm run bench -- claims CHECKOUT [options]

Times a segment and a training step of the 27M model: ours, the official code in CHECKOUT (github.com/sapientinc/HRM), and in both
a plain transformer of the same size and trainer (H_cycles = L_cycles = 1). Each in a process of its own, in turns.

  --device NAME         cpu or cuda (default: cpu)
  --modes LIST          of eager, compile, graphs: how PyTorch runs (default: eager)
  --batches LIST        of segments (default: 1,8,32; none: '')
  --train-batches LIST  of training steps (default: 8,32)
  --rounds N            turns of each (default: 3)
  --seconds N           length of a turn, three runs at least (default: 6)
  --python FILE         with torch (default: python3)`)
  process.exit(options.help ? 0 : 2)
}

const { device, python, seconds } = options
const rounds = Number(options.rounds)
const { threads } = native.cpuInfo()
const list = (text: string) => text.split(',').filter((word) => word !== '')

interface Contestant {
  name: string
  /** Milliseconds of a segment or training step: the median of a turn. */
  turn: (training: boolean, batch: string) => number
}

/** Runs a program that prints one case as a line of JSON. */
function timeOf(command: string, words: readonly string[]): number {
  const { status, stdout, stderr } = spawnSync(command, words, { encoding: 'utf8', cwd: root })
  const line = stdout.split('\n').find((text) => text.includes('"type":"case"') || text.includes('"type": "case"'))
  if (status !== 0 || line === undefined)
    throw new Error(`${command} ${words.join(' ')} ended with ${status}: ${stderr.slice(-2000)}`)
  return (JSON.parse(line) as { ms: number }).ms
}

const ours = (name: string, preset: string): Contestant => ({
  name,
  turn: (training, batch) =>
    timeOf(process.execPath, [
      join(root, 'dist/cli/main.js'),
      'bench',
      training ? 'train' : 'solve',
      '--json',
      '--device',
      device,
      '--preset',
      preset,
      '--batch',
      batch,
      '--seconds',
      seconds,
      '--filter',
      training ? 'step' : 'segment',
    ]),
})

const official = (name: string, mode: string, stack: string): Contestant => ({
  name,
  turn: (training, batch) =>
    timeOf(python, [
      join(root, 'bench/pytorch-baseline/baseline.py'),
      checkout,
      '--device',
      device,
      '--mode',
      mode,
      '--stack',
      stack,
      '--threads',
      String(threads),
      '--seconds',
      seconds,
      '--batches',
      training ? '' : batch,
      '--train-batches',
      training ? batch : '',
    ]),
})

const contestants = [
  ours('ours', 'paper'),
  ...list(options.modes).map((mode) => official(`official, ${mode}`, mode, 'hrm')),
  ours('ours, one stack', 'one-stack'),
  ...list(options.modes).map((mode) => official(`official, ${mode}, one stack`, mode, 'one')),
]
const cases = [
  ...list(options.batches).map((batch) => ({ training: false, batch })),
  ...list(options['train-batches']).map((batch) => ({ training: true, batch })),
]

const rows: Record<string, unknown>[] = []
for (const { training, batch } of cases) {
  const times = contestants.map((): number[] => [])
  const ratios = contestants.map((): number[] => [])
  for (let round = 0; round < rounds; round++) {
    for (const [i, { turn }] of contestants.entries()) {
      times[i]!.push(turn(training, batch))
      ratios[i]!.push(times[i]!.at(-1)! / times[0]!.at(-1)!)
    }
  }
  for (const [i, { name }] of contestants.entries()) {
    const { median: ms, spread } = summarise(times[i]!)
    const timeOverOurs = summarise(ratios[i]!).median
    const row = { case: training ? 'training step' : 'segment', batch: Number(batch), name, ms, spread, timeOverOurs }
    rows.push(row)
    console.log(
      `${row.case.padEnd(14)}${batch.padStart(4)}  ${name.padEnd(30)}${ms.toFixed(1).padStart(9)} ms  ` +
        `spread ${(100 * spread).toFixed(0).padStart(3)} %  ${timeOverOurs.toFixed(2).padStart(6)} x ours`,
    )
  }
}

const date = new Date().toISOString().slice(0, 10)
const folder = join(root, 'bench/results')
const file = join(folder, `claims-${device}-${date}.json`)
mkdirSync(folder, { recursive: true })
writeFileSync(
  file,
  `${JSON.stringify(
    {
      date,
      commit: execFileSync('git', ['rev-parse', '--short', 'HEAD'], { encoding: 'utf8', cwd: root }).trim(),
      cpu: cpus()[0]?.model.trim(),
      device,
      threads,
      load: loadavg()[0],
      torch: spawnSync(python, ['-c', 'import torch; print(torch.__version__)'], { encoding: 'utf8' }).stdout.trim(),
      rounds,
      rows,
    },
    null,
    1,
  )}\n`,
)
console.log(`written: ${file}`)
