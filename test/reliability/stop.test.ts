// SIGINT and SIGTERM at any moment: nothing that was done is lost, and nobody waits for more than a step.
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { stateHash } from '#dist/checkpoint.js'
import { small, sudokuFolder } from '../cli/fixtures.js'
import { hrm } from '../cli/process.js'
import { figure, long } from './figures.js'
import { exitCodes, interrupt, type Interrupted, type Signal } from './interrupt.js'

/** What an end may take besides the step in progress. */
const GRACE_MS = 2000

/** The start of hrm train takes half of it on an idle machine; where it takes longer, so may the end. */
const START_MS = 500
const graceMs = ({ startMs }: Interrupted) => GRACE_MS * Math.max(1, startMs / START_MS)

const below = (bound: number) => Math.floor(Math.random() * bound)
const median = (values: number[]) => values.toSorted((a, b) => a - b)[values.length >> 1]!

type Event = { type: string; step: number; itPerSecond?: number; reason?: string }
function eventsOf(stdout: string): Event[] {
  const lines = stdout.split('\n').slice(0, -1)
  return lines.map((line) => JSON.parse(line) as Event)
}

const steps = 240
const evalEvery = 4
const saveEvery = 3

/** What a training was at when it had printed these events. */
function momentAfter(events: readonly Event[]): 'start' | 'step' | 'evaluation' | 'save' {
  const last = events.at(-1)
  if (last === undefined) return 'start'
  if (last.type === 'eval') return 'save'
  if (last.type !== 'step') return 'step'
  if (last.step % evalEvery === 0) return 'evaluation'
  return last.step % saveEvery === 0 ? 'save' : 'step'
}

/** The code of the signal; before Node has begun the program the signal itself ends it, which a shell gives the same code. */
function endedBy({ code, signal, stdout, stderr }: Interrupted, sent: Signal): boolean {
  return code === exitCodes[sent] || (code === null && signal === sent && stdout + stderr === '')
}

t.test('a training interrupted at any moment saves, ends soon and resumes exactly', async (t) => {
  const cwd = sudokuFolder(t)
  const recipe = ['train', ...small, '--preset', 'tiny', '--json', '--ema', '0.9', '--max-steps', `${steps}`]
  recipe.push('--eval-every', `${evalEvery}`, '--checkpoint-every', `${saveEvery}`)
  const whole = await hrm([...recipe, '--out', 'whole'], { cwd })
  t.equal(whole.code, 0, whole.stderr)
  const expected = await stateHash(join(cwd, 'whole'))

  const signals = long ? 200 : 10
  const perRun = 10
  const moments = { start: 0, step: 0, evaluation: 0, save: 0 }
  const endsMs: number[] = []
  let longestStepMs = 0
  let inTime = 0
  let lost = 0
  let inexact = 0
  let run = 0
  for (let sent = 0; sent < signals; run++) {
    const out = `run${run}`
    const begun = () => ['latest', 'run.json'].some((name) => existsSync(join(cwd, out, name)))
    const command = () => (begun() ? ['train', '--resume', out, '--json'] : [...recipe, '--out', out])
    for (let time = 0; time < perRun && sent < signals; time++) {
      const signal = sent % 2 === 0 ? 'SIGINT' : 'SIGTERM'
      // One in five at some moment of starting, the others after some events and between two of them.
      const events = sent % 5 === 4 ? 0 : 1 + below(12)
      const ended = await interrupt(command(), cwd, async ({ send, printed }) => {
        if (events > 0) await printed(/^\{"type"/, events)
        await sleep(below(events > 0 ? 12 : 600))
        send(signal)
      })
      if (ended.code === 0) break
      sent++
      const before = eventsOf(ended.stdoutBefore)
      const all = eventsOf(ended.stdout)
      const what = `${signal} after ${before.length} events of ${out}`
      const stepMs = Math.max(0, ...all.map(({ itPerSecond = Infinity }) => 1000 / itPerSecond))
      longestStepMs = Math.max(longestStepMs, stepMs)
      endsMs.push(ended.endMs)
      moments[momentAfter(before)]++
      const limitMs = stepMs + graceMs(ended)
      t.ok(
        ended.endMs < limitMs,
        `${what}: ended after ${ended.endMs} ms, a step takes ${stepMs}, start ${ended.startMs}`,
      )
      inTime += ended.endMs < stepMs + GRACE_MS ? 1 : 0
      t.ok(endedBy(ended, signal), `${what}: code ${ended.code}, ${ended.signal}, ${ended.stderr}`)
      if (all.length === 0) continue
      const result = all.at(-1)!
      t.match(result, { type: 'result', reason: signal }, what)
      const { step } = JSON.parse(readFileSync(join(cwd, out, 'latest/trainer.json'), 'utf8')) as Event
      t.equal(step, result.step, 'the checkpoint is of the last step')
      lost += result.step - step
      t.notOk(
        readdirSync(join(cwd, out)).some((name) => name.startsWith('.tmp')),
        'nothing is left half done',
      )
    }
    const last = await hrm(command(), { cwd })
    t.equal(last.code, 0, last.stderr)
    const state = await stateHash(join(cwd, out))
    t.equal(state, expected, `${out} ends as the run that nobody interrupted`)
    inexact += state === expected ? 0 : 1
  }
  if (long) for (const [name, count] of Object.entries(moments)) t.ok(count > 0, `${count} signals during: ${name}`)
  figure(t, 'stop', {
    signals: endsMs.length,
    'ended within a step and 2 s': inTime,
    'before the first event': moments.start,
    'in a step': moments.step,
    'in an evaluation': moments.evaluation,
    'in a save': moments.save,
    'steps lost': lost,
    'runs compared': run,
    'runs not equal to the bit': inexact,
    'median ms to the end': median(endsMs).toFixed(0),
    'slowest ms': Math.max(...endsMs).toFixed(0),
    'longest step ms': longestStepMs.toFixed(1),
  })
})

t.test('a second signal ends a training at once, in the middle of a step', async (t) => {
  const cwd = sudokuFolder(t)
  // Steps of seconds that need little memory: many cycles.
  const slow = ['arch.hidden_size=128', 'arch.H_cycles=32', 'arch.L_cycles=32', 'global_batch_size=32']
  const endsMs: number[] = []
  for (let time = 0; time < (long ? 20 : 2); time++) {
    const signal = time % 2 === 0 ? 'SIGINT' : 'SIGTERM'
    const args = ['train', ...small, ...slow, '--preset', 'tiny', '--json', '--no-save']
    const ended = await interrupt(args, cwd, async ({ send, printed }) => {
      await printed(/^\{"type":"start"/)
      await sleep(500) // into the step
      send(signal)
      await printed(/once more ends at once/)
      send(signal)
    })
    t.equal(ended.code, exitCodes[signal], ended.stderr)
    t.same(
      eventsOf(ended.stdout).map(({ type }) => type),
      ['start'],
      'the step was not waited for',
    )
    t.ok(ended.endMs < graceMs(ended), `${ended.endMs} ms`)
    endsMs.push(ended.endMs)
  }
  figure(t, 'second-sigint', {
    signals: endsMs.length,
    'median ms to the end': median(endsMs).toFixed(0),
    'slowest ms': Math.max(...endsMs).toFixed(0),
  })
})

t.test('eval, solve, data and bench end soon as well', async (t) => {
  const cwd = sudokuFolder(t)
  const trained = await hrm(['train', ...small, '--preset', 'tiny', '--max-steps', '2', '--out', 'run'], { cwd })
  t.equal(trained.code, 0, trained.stderr)
  const puzzle = '1.3..4...2....4.'
  const endless = ['--max-segments', '65536']
  const commands: [string, string[]][] = [
    ['eval', ['eval', 'run', 'data', ...endless]],
    ['eval with votes', ['eval', 'run', 'data', '--votes', '2', ...endless]],
    ['solve', ['solve', 'run', '--puzzle', puzzle, ...endless]],
    ['solve, watched', ['solve', 'run', '--puzzle', puzzle, '--watch', ...endless]],
    ['solve, waiting for stdin', ['solve', 'run']],
    ['data sudoku', ['data', 'sudoku', '--generate', '100000', '--test', '10', '-o', 'made']],
    ['data maze', ['data', 'maze', '--generate', '100000', '--test', '10', '-o', 'made']],
    ['bench', ['bench', 'solve', '--preset', 'tiny', '--batch', '1', '--seconds', '600', '--json']],
  ]
  let slowest = 0
  for (const [name, args] of commands) {
    for (const signal of long ? (['SIGINT', 'SIGTERM'] as const) : (['SIGINT'] as const)) {
      // Later and later, until it is the program that ends and not Node that was still starting.
      for (let wait = 400, code: number | null = null; code === null && wait < 120_000; wait *= 2) {
        const ended = await interrupt(args, cwd, async ({ send }) => {
          await sleep(wait)
          send(signal)
        })
        t.ok(endedBy(ended, signal), `${name}: code ${ended.code}, ${ended.signal}, ${ended.stderr}`)
        t.ok(ended.endMs < graceMs(ended), `${name} ended ${ended.endMs} ms after ${signal}`)
        slowest = Math.max(slowest, ended.endMs)
        code = ended.code
      }
    }
  }
  t.same(readdirSync(cwd).sort(), ['data', 'run'], 'no dataset is left half built')
  t.comment(`slowest end ${slowest.toFixed(0)} ms`)
})
