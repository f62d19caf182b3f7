import { existsSync, readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { sudokuFolder, small } from './fixtures.js'
import { type Ended, hrm, lastJson } from './process.js'

const args = ['train', ...small, '--preset', 'tiny', '--json']

function events(stdout: string): ({ type: string; step: number } & Record<string, unknown>)[] {
  return stdout
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line))
}

/** SHA-256 of all that resuming needs, of the latest checkpoint. */
function state(run: string): unknown {
  const hashes = JSON.parse(readFileSync(join(run, 'latest/hash.json'), 'utf8')) as { sha256: Record<string, string> }
  const { sha256 } = hashes
  return ['model.safetensors', 'trainer.safetensors', 'trainer.json'].map(
    (name) => sha256[name] ?? t.fail(`${name} has no hash`),
  )
}

/** Runs hrm until its output matches, then sends a signal. */
function interrupted(args: string[], cwd: string, when: RegExp, signal: NodeJS.Signals, times = 1): Promise<Ended> {
  let sent = false
  return hrm(args, {
    cwd,
    watch: ({ stdout, stderr }, kill) => {
      if (sent || !when.test(stdout + stderr)) return
      sent = true
      for (let time = 0; time < times; time++) kill(signal)
    },
  })
}

t.test('a run prints its events, the result last, and leaves a run folder', async (t) => {
  const cwd = sudokuFolder(t)
  const { code, stdout, stderr } = await hrm([...args, '--max-steps', '12', '--eval-every', '6', '+run_name=first'], {
    cwd,
  })
  t.equal(code, 0, stderr)
  const list = events(stdout)
  t.same(
    list.filter(({ type }) => type === 'step').map(({ step }) => step),
    Array.from({ length: 12 }, (_, at) => at + 1),
  )
  t.same(
    list.filter(({ type }) => type !== 'step').map(({ type, step }) => `${type} ${step}`),
    ['start 0', 'eval 6', 'checkpoint 6', 'eval 12', 'checkpoint 12', 'end 12', 'result 12'],
  )
  const result = list.at(-1)!
  t.match(result, {
    reason: 'completed',
    run: join('runs', 'first'),
    sets: { all: { count: 9, accuracy: Number, exact_accuracy: Number } },
  })
  t.same(result['sets'], list.findLast(({ type }) => type === 'eval')!['sets'], 'the same object as in events')
  t.ok(existsSync(join(cwd, 'runs/first/latest/model.safetensors')))
  t.match(stderr, /checkpoints go to runs.first/)
  t.match(stderr, /12 steps to go, about \d/, 'an estimate comes before the first step')
  const config = JSON.parse(readFileSync(join(cwd, 'runs/first/latest/config.json'), 'utf8'))
  t.match(config, {
    run_name: 'first',
    project_name: 'Data HRM',
    max_steps: 12,
    arch: { hidden_size: 16, loss: { name: 'losses@ACTLossHead' } },
  })
})

t.test('a killed run resumes to the same bytes as one that was never stopped', async (t) => {
  const cwd = sudokuFolder(t)
  const recipe = [...args, '--max-steps', '40', '--checkpoint-every', '5']
  t.equal((await hrm([...recipe, '--out', 'whole'], { cwd })).code, 0)
  const expected = state(join(cwd, 'whole'))

  const killed = await interrupted([...recipe, '--out', 'killed'], cwd, /"type":"step","step":1[3-9]/, 'SIGKILL')
  t.equal(killed.code, null)
  const resumed = await hrm(['train', '--resume', 'killed', '--json'], { cwd })
  t.equal(resumed.code, 0, resumed.stderr)
  const start = events(resumed.stdout)[0]!
  t.match(start, { type: 'start', resumed: /step_\d+$/ })
  t.ok(start.step >= 5 && start.step < 40 && start.step % 5 === 0, `from step ${start.step}`)
  t.match(resumed.stderr, /resumed from .* at step \d+/)
  t.same(state(join(cwd, 'killed')), expected)

  const steps = events(readFileSync(join(cwd, 'killed/metrics.jsonl'), 'utf8')).filter(({ type }) => type === 'step')
  t.same(
    steps.map(({ step }) => step),
    Array.from({ length: 40 }, (_, at) => at + 1),
    'every step is logged once',
  )

  const again = await hrm(['train', '--resume', 'killed', '--json'], { cwd })
  t.match(lastJson(again.stdout), { step: 40, reason: 'completed' }, 'a finished run has nothing left to do')
})

t.test('a run killed before its first checkpoint starts anew', async (t) => {
  const cwd = sudokuFolder(t)
  const recipe = [...args, '--max-steps', '20', '--seed', '3']
  t.equal((await hrm([...recipe, '--out', 'whole'], { cwd })).code, 0)
  await interrupted([...recipe, '--out', 'killed'], cwd, /"type":"step","step":[2-9],/, 'SIGKILL')
  t.notOk(readdirSync(join(cwd, 'killed')).includes('latest'))
  const { code, stdout, stderr } = await hrm(['train', '--resume', 'killed', '--json'], { cwd })
  t.equal(code, 0, stderr)
  t.match(events(stdout)[0], { type: 'start', step: 0, resumed: null })
  t.same(state(join(cwd, 'killed')), state(join(cwd, 'whole')))
})

t.test('SIGINT and SIGTERM save a checkpoint and exit 130 and 143', async (t) => {
  const cwd = sudokuFolder(t)
  const long = [...args, '--max-steps', '100000', 'epochs=100000']
  for (const [signal, code] of [
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const) {
    const ended = await interrupted([...long, '--out', signal], cwd, /"type":"step","step":\d\d/, signal)
    t.equal(ended.code, code, signal)
    const result = lastJson(ended.stdout)
    t.match(result, { type: 'result', reason: signal, checkpoint: new RegExp(`step_${result['step']}$`) })
    t.ok(existsSync(join(cwd, signal, 'latest/trainer.safetensors')))
    t.match(ended.stderr, new RegExp(`hrm: ended by ${signal}\n$`))
  }
  const unsaved = await interrupted([...long, '--no-save'], cwd, /"type":"step","step":\d\d/, 'SIGINT')
  t.equal(unsaved.code, 130)
  t.match(unsaved.stderr, /nothing was saved/)
  t.match(lastJson(unsaved.stdout), { checkpoint: null, run: null })
  t.equal((await interrupted([...long, '--no-save'], cwd, /"type":"step","step":\d\d/, 'SIGINT', 2)).code, 130)
})

t.test('the exit code tells usage, bad data, a missing device and divergence apart', async (t) => {
  const cwd = sudokuFolder(t)
  const cases: [string[], number, RegExp][] = [
    [['train', 'arch.L_cycle=8'], 2, /arch\.L_cycle; did you mean arch\.L_cycles\? \[ERR_HRM_CONFIG\]/],
    [['train', 'batch_size=8'], 2, /global_batch_size/],
    [['train', 'lr=fast'], 2, /expected lr to be number >= 0, got "fast"/],
    [['train', 'lr'], 2, /expected key=value/],
    [['train', '--preset', 'huge'], 2, /tiny, small, paper/],
    [['train', '--max-steps', '0'], 2, /at least 1/],
    [['train', '--resume', 'runs/a', 'lr=1'], 2, /expected no lr=1 with --resume/],
    [['train', '--resume', 'runs/a', '--preset', 'tiny'], 2, /expected no --preset with --resume/],
    [[...args, 'eval_save_outputs=[logits]'], 2, /outputs are not saved/],
    [[...args, 'arch.num_heads=3'], 2, /multiple of 2 \* numHeads/],
    [['train', '--resume', 'runs/none'], 3, /ERR_HRM_CHECKPOINT/],
    [['train', 'data_path=nowhere'], 3, /nowhere.*ERR_HRM_DATASET/],
    [[...args, 'arch.vocab_size=9'], 3, /vocabSize.*ERR_HRM_DATASET/],
    [[...args, '--device', 'cuda'], 4, /ERR_HRM_NO_DEVICE/],
    [[...args, '--no-save', 'lr=1e38', 'lr_warmup_steps=0', '--max-steps', '20'], 5, /ERR_HRM_NON_FINITE/],
  ]
  for (const [given, code, text] of cases) {
    const ended = await hrm(given, { cwd })
    t.equal(ended.code, code, given.join(' '))
    const last = ended.stderr.trimEnd().split('\n').at(-1)!
    t.match(last, /^hrm: .+ \[ERR_HRM_\w+\]$/)
    t.match(last, text)
  }
  const debug = await hrm(['train', 'lr=fast'], { cwd, env: { HRM_DEBUG: '1' } })
  t.match(debug.stderr, /\n {4}at /, 'HRM_DEBUG=1 shows the stack')
})

t.test('a run folder with checkpoints is not overwritten', async (t) => {
  const cwd = sudokuFolder(t)
  const recipe = [...args, '--max-steps', '2', '--out', 'run']
  t.equal((await hrm(recipe, { cwd })).code, 0)
  const before = state(join(cwd, 'run'))
  t.match(await hrm(recipe, { cwd }), { code: 3, stderr: /ERR_HRM_CHECKPOINT/ })
  t.same(state(join(cwd, 'run')), before)
  const named = await hrm([...args, '--max-steps', '2'], { cwd })
  const twice = await hrm([...args, '--max-steps', '2'], { cwd })
  t.equal(lastJson(named.stdout)['run'], join('runs', 'data-tiny'))
  t.equal(lastJson(twice.stdout)['run'], join('runs', 'data-tiny-2'), 'a name of its own')
})

t.test('--tensorboard writes a file for each start of a run', async (t) => {
  const cwd = sudokuFolder(t)
  const board = ['--tensorboard', 'board']
  const first = await hrm([...args, '--max-steps', '4', '--out', 'run', ...board], { cwd })
  t.equal(first.code, 0, first.stderr)
  const [file, ...others] = readdirSync(join(cwd, 'board'))
  t.same(others, [])
  const text = readFileSync(join(cwd, 'board', file!), 'latin1')
  for (const tag of ['brain.Event:2', 'train/lm_loss', 'eval/all/exact_accuracy', 'eval_ema/all/accuracy'])
    t.ok(text.includes(tag), tag)
  t.equal((await hrm(['train', '--resume', 'run', '--max-steps', '6', ...board], { cwd })).code, 0)
  t.equal(readdirSync(join(cwd, 'board')).length, 2)
  t.match(await hrm([...args, '--no-save', '--tensorboard', 'data/train/dataset.json'], { cwd }), {
    code: 1,
    stderr: /ERR_HRM_IO/,
  })
})
