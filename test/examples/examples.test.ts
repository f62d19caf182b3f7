// Every example does what it says, with a small model.
import { spawn } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { test } from 'tap'
import { hrm, type Ended } from '../cli/process.js'
import { small, sudokuFolder } from '../cli/fixtures.js'
import { HubServer } from '../hub/hub-server.js'

const root = fileURLToPath(new URL('../../..', import.meta.url))
const sources = readdirSync(join(root, 'examples')).filter((name) => name.endsWith('.ts'))

/** Runs a compiled example to its end; the test's own loop goes on. */
function run(name: string, cwd: string, ...args: string[]): Promise<Ended> {
  const script = fileURLToPath(new URL(`../../examples/${name}.js`, import.meta.url))
  const child = spawn(process.execPath, [script, ...args], { cwd, stdio: ['ignore', 'pipe', 'pipe'] })
  const output = { stdout: '', stderr: '' }
  for (const key of ['stdout', 'stderr'] as const)
    child[key].setEncoding('utf8').on('data', (text) => (output[key] += text))
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code) => resolve({ code, ...output }))
  })
}

test('every example is short, and on the page of examples', (t) => {
  const page = readFileSync(join(root, 'examples/README.md'), 'utf8')
  for (const name of sources) {
    t.ok(readFileSync(join(root, 'examples', name), 'utf8').split('\n').length <= 61, `${name} has 60 lines at most`)
    t.ok(page.includes(`](${name})`), `${name} is listed`)
  }
  t.end()
})

test('pairs of grids are learned, and answers are in their values', async (t) => {
  const folder = t.testdir()
  const letters = ['a', 'b', 'c']
  const pairs = letters.flatMap((x) =>
    letters.flatMap((y) => letters.map((z) => ({ input: [[x, y, z]], output: [[z, y, x]] }))),
  )
  const lines = (some: object[]) => some.map((pair) => `${JSON.stringify(pair)}\n`).join('')
  writeFileSync(join(folder, 'train.jsonl'), lines(pairs))
  writeFileSync(join(folder, 'test.jsonl'), lines(pairs.slice(0, 5)))
  t.equal((await hrm(['data', 'grid', 'train.jsonl', 'test.jsonl', '-o', 'data'], { cwd: folder })).code, 0)
  const { code, stdout, stderr } = await run('own-grids', folder, 'data', '250')
  t.equal(code, 0, stderr)
  t.match(stdout, /^step 250: exact 1$/m)
  t.match(stdout, /a a a\nbecomes\na a a\n/)
})

test('a training that is interrupted and resumed ends with the same bytes', async (t) => {
  const folder = sudokuFolder(t)
  const { code, stdout, stderr } = await run('resume', folder, 'data', 'runs', '8')
  t.equal(code, 0, stderr)
  t.match(stdout, /runs\/paused stopped at step 4\n/)
  t.match(stdout, /runs\/paused goes on at step 4\n/)
  t.match(stdout, /the same bytes: [0-9a-f]{64}\n$/)
})

test('workers solve the whole test split', async (t) => {
  const folder = sudokuFolder(t)
  const trained = await hrm(['train', ...small, '--out', 'runs/a', '--max-steps', '2'], { cwd: folder })
  t.equal(trained.code, 0, trained.stderr)
  const { code, stdout, stderr } = await run('worker-threads', folder, 'runs/a', 'data', '2')
  t.equal(code, 0, stderr)
  t.match(stdout, /^\d+ of 9 puzzles right, 2 workers/)
})

test('a logger gets every step and every evaluation', async (t) => {
  const folder = sudokuFolder(t)
  const { code, stdout, stderr } = await run('custom-logger', folder, 'data', '8')
  t.equal(code, 0, stderr)
  const lines = stdout.trimEnd().split('\n')
  t.equal(lines[0], 'step,kind,name,value')
  t.equal(lines.filter((line) => /^\d+,train,loss,[\d.]+$/.test(line)).length, 8)
  t.equal(lines.filter((line) => /^[2468],eval\/all,exact_accuracy,[\d.]+$/.test(line)).length, 4)
  t.match(stderr, /8 steps to go\ncompleted at step 8\n/)
})

test('a model comes from a hub, is converted and loaded', async (t) => {
  const folder = sudokuFolder(t)
  const trained = await hrm(['train', ...small, '--out', 'runs/a', '--max-steps', '2'], { cwd: folder })
  t.equal(trained.code, 0, trained.stderr)
  mkdirSync(join(folder, 'official'))
  const args = ['convert', 'runs/a', 'official/step_2.pt']
  t.equal((await hrm(args, { cwd: folder })).code, 0)
  const hub = await HubServer.start(['owner/name'])
  t.teardown(() => hub.stop())
  for (const name of readdirSync(join(folder, 'official')))
    hub.files.set(name, readFileSync(join(folder, 'official', name)))
  const first = await run('hub', folder, 'owner/name', 'models', hub.url)
  t.equal(first.code, 0, first.stderr)
  t.match(first.stdout, /models\/name-hrm: \d+ parameters, 2x2 cycles, 16 tokens\non cpu/)
  const asked = hub.seen.length
  t.equal((await run('hub', folder, 'owner/name', 'models', hub.url)).code, 0)
  t.equal(hub.seen.length, asked, 'the second time nothing is downloaded')
  t.equal((await run('hub', folder, 'owner/other', 'models', hub.url)).code, 1)
})

test('a model is trained, solves a puzzle and is judged by the rules', async (t) => {
  const { code, stdout, stderr } = await run('train-and-solve', sudokuFolder(t), 'data', '4')
  t.equal(code, 0, stderr)
  t.match(stdout, /^step 4: \{[^}]*count: 9/s)
  t.match(stdout, /verdict: \{ valid: (true|false)/)
})
