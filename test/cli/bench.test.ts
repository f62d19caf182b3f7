import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { benchConfig } from '#dist/bench/cases.js'
import { flops } from '#dist/flops.js'
import type { Row } from '#dist/bench/measure.js'
import { suite } from '#dist/bench/suites.js'
import { native } from '#dist/native.js'
import { hrm } from './process.js'

interface Line {
  type: string
}
interface Result extends Line {
  suite: string
  machine: { threads: number; isa: string; precision: string }
  cases: Row[]
}

const quick = ['--seconds', '0.01', '--threads', '1', '--json']
const tiny = benchConfig('tiny')

async function bench(t: Test, ...args: string[]): Promise<{ stdout: string; lines: Line[]; result: Result }> {
  const { code, stdout, stderr } = await hrm(['bench', ...args, ...quick])
  t.equal(code, 0, stderr)
  const lines = stdout
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Line)
  const result = lines.at(-1) as Result
  t.equal(result.type, 'result')
  t.same(
    lines.slice(1, -1),
    result.cases.map((row) => ({ type: 'case', ...row })),
    'a line per case, in the order of the result',
  )
  for (const row of result.cases) {
    t.ok(row.ms > 0 && row.bestMs > 0 && row.bestMs <= row.ms, `${row.name} took time`)
    t.ok(row.runs >= 3 && row.spread >= 0 && row.peakGflops > 0 && row.lagP99Ms <= row.lagMaxMs, row.name)
  }
  return { stdout, lines, result }
}

/** Floating-point operations of one run that a row's figures imply. */
const operations = ({ gflops, ms }: Row) => gflops! * 1e6 * ms
const about = (t: Test, found: number, expected: number, name: string) =>
  t.ok(Math.abs(found / expected - 1) < 1e-9, `${name}: ${found} operations, ${expected} expected`)

t.test('bench kernels times every step at every batch size, against the peak', async (t) => {
  const out = join(t.testdir({}), 'kernels.jsonl')
  const { stdout, lines, result } = await bench(t, 'kernels', '--preset', 'tiny', '--batch', '1,3', '--out', out)
  t.equal(readFileSync(out, 'utf8'), stdout, '--out holds the lines')
  t.match(lines[0], { type: 'start', suite: 'kernels', cases: result.cases.length })
  t.match(result, { suite: 'kernels', machine: { threads: 1, precision: 'fp32' } })
  const steps = native.debug.timedSteps()
  t.ok(steps.length >= 12)
  t.same(
    result.cases.map(({ name, batch }) => [name, batch]),
    steps.flatMap(({ name, batched }) => (batched ? [1, 3] : [null]).map((batch) => [`tiny ${name}`, batch])),
  )
  const row = (name: string) => result.cases.find((row) => row.name === `tiny ${name}` && row.batch === 3)!
  const block = 3 * flops(tiny).block
  about(t, operations(row('block_forward')), block, 'forward')
  about(t, operations(row('block_backward')), 2 * block, 'backward')
  about(t, operations(row('block_new_weights')), 3 * block, 'both')
  const { gflops, peakGflops, percentOfPeak } = row('block_forward')
  t.equal(percentOfPeak, (100 * gflops!) / peakGflops)
  t.match(row('inject'), { gflops: null, percentOfPeak: null }, 'memory sets the pace')
})

t.test('bench solve times segments and whole solves, bench train training steps', async (t) => {
  const { result: solve } = await bench(t, 'solve', '--preset', 'tiny', '--batch', '2')
  t.same(
    solve.cases.map(({ name, batch }) => [name, batch]),
    [
      ['tiny segment', 2],
      ['tiny solve', 2],
    ],
  )
  about(t, operations(solve.cases[0]!), 2 * flops(tiny).segment, 'segment')
  about(t, operations(solve.cases[1]!), 2 * flops(tiny).segment * tiny.haltMaxSegments, 'solve')
  const { result: train } = await bench(t, 'train', '--preset', 'tiny', '--batch', '2', '--isa', 'portable')
  t.match(train, { suite: 'train', machine: { isa: 'portable' }, cases: [{ name: 'tiny training step', batch: 2 }] })
  about(t, operations(train.cases[0]!), 2 * flops(tiny).trainStep, 'step')
})

t.test('bench alone times the sizes of the documentation, as a table', async (t) => {
  const { code, stdout, stderr } = await hrm(['bench', '--filter', 'tiny', '--seconds', '0.01'])
  t.equal(code, 0, stderr)
  t.match(stdout, /, fp32, Node v\d+.*\n\ncase +batch +median ms .*% of peak/)
  t.match(stdout, /\ntiny segment +64 .*\ntiny training step +64 .*\n$/)
})

t.test('the arithmetic of the 27M model is that of the documentation', (t) => {
  const { segment, trainStep } = flops(benchConfig('paper'))
  t.equal((segment / 1e9).toFixed(1), '13.7')
  t.equal((trainStep / 1e9).toFixed(1), '36.7')
  t.end()
})

t.test('where nothing trains, the steps of training are left out', (t) => {
  const engine = { device: 'cpu', threads: 1, precision: 'fp32', isa: '' } as const
  const names = suite('kernels', { presets: ['tiny'], batches: [1], engine, inferenceOnly: true }).map((c) => c.name)
  t.ok(names.includes('tiny block_forward'))
  t.notOk(names.some((name) => /backward|adam|loss|taped/.test(name)))
  t.end()
})

t.test('the plain loops can be timed, in double too', async (t) => {
  const args = ['kernels', '--preset', 'tiny', '--batch', '1', '--filter', 'block_forward']
  const { result } = await bench(t, ...args, '--precision', 'fp64')
  t.match(result.machine, { precision: 'fp64' })
  t.equal(result.cases.length, 2)
})

t.test('wrong arguments exit 2, what this machine lacks exits 4', async (t) => {
  const usage: [string[], RegExp][] = [
    [['nothing'], /kernels, solve, train/],
    [['kernels', '--preset', 'huge'], /paper, small, tiny|tiny, small, paper/],
    [['kernels', '--batch', '1,0'], /integers of 1 to 65536/],
    [['kernels', '--seconds', '0'], /a number above 0/],
    [['train', '--filter', 'segment'], /tiny training step.*got "segment"/],
    [['--batch', '4'], /--preset and --batch after kernels, solve, train/],
  ]
  for (const [args, message] of usage) {
    const { code, stderr } = await hrm(['bench', ...args])
    t.equal(code, 2, args.join(' '))
    t.match(stderr, message)
  }
  const foreign = process.arch === 'arm64' ? 'avx2' : 'neon'
  t.match(await hrm(['bench', '--isa', foreign]), { code: 4, stderr: new RegExp(`got ${foreign}.*ERR_HRM_NO_DEVICE`) })
})

t.test('SIGINT ends a benchmark', async (t) => {
  let sent = false
  const { code } = await hrm(['bench', 'solve', '--preset', 'tiny', '--seconds', '60', '--json'], {
    watch: ({ stdout }, kill) => {
      if (sent || !stdout.includes('"start"')) return
      sent = true
      setTimeout(() => kill('SIGINT'), 300)
    },
  })
  t.equal(code, 130)
})

t.test('an unknown step is refused by name', async (t) => {
  const engine = new native.Engine(tiny, { device: 'cpu', threads: 1, precision: 'fp32', isa: '' })
  await t.rejects(native.debug.timeStep(engine, 'nothing', 1, 1), {
    code: 'ERR_HRM_ARGUMENT',
    message: /block_forward.*got 'nothing'/,
  })
  engine.dispose()
})
