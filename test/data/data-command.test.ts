import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { test } from 'tap'
import { Dataset } from '#dist/dataset.js'
import { hrm, lastJson } from '../cli/process.js'
import { golden, unlessGolden } from './fixtures.js'

const generate = ['data', 'sudoku', '--generate', '30', '--test', '10', '--size', '4', '--holes', '8']

test('hrm data sudoku makes random puzzles and says what it wrote', async (t) => {
  const out = join(t.testdir(), 'out')
  const ended = await hrm([...generate, '--grids', '240', '--seed', '3', '-o', out, '--json'])
  t.equal(ended.code, 0, ended.stderr)
  const dataset = await Dataset.open(out)
  const { sha256 } = JSON.parse(readFileSync(join(out, 'hash.json'), 'utf8')) as { sha256: object }
  t.same(lastJson(ended.stdout), {
    type: 'result',
    dir: out,
    size: 4,
    seed: 3,
    splits: { test: { groups: 10, puzzles: 10, examples: 10 }, train: { groups: 30, puzzles: 30, examples: 30 } },
    leaks: { compared: 'puzzles', testExamples: 10, leaked: 0, firstLeaked: [] },
    hash: await dataset.hash(),
    sha256,
  })
  t.equal(ended.stdout.trim().split('\n').length, 1, 'only the result goes to stdout')
  t.match(ended.stderr, /generate train 30\/30/)
  dataset.close()
})

test('without --json the result is for people', async (t) => {
  const out = join(t.testdir(), 'out')
  const { code, stdout } = await hrm([...generate, '-o', out])
  t.equal(code, 0)
  t.match(stdout, /train: 30 puzzles, 30 examples\n.*sha256 [0-9a-f]{64}\n/s)
})

test('hrm data sudoku reads a CSV and warns of leaks', { skip: unlessGolden('ckpt/_csv') }, async (t) => {
  const out = join(t.testdir(), 'out')
  const train = await hrm([
    'data',
    'sudoku',
    join(golden, 'ckpt/_csv/train.csv'),
    '-o',
    out,
    '--num-aug',
    '3',
    '--json',
  ])
  t.equal(train.code, 0, train.stderr)
  t.match(lastJson(train.stdout), { splits: { train: { groups: 6, puzzles: 24 } }, leaks: null })
  const test = await hrm(['data', 'sudoku', join(golden, 'ckpt/_csv/test.csv'), '-o', out, '--json'])
  t.equal(test.code, 0, test.stderr)
  const official = await Dataset.open(join(golden, 'ckpt/sudoku-tiny'))
  const built = await Dataset.open(out)
  for (let index = 0; index < 10; index++) {
    t.same(built.example('test', 'all', index), official.example('test', 'all', index), 'as the official builder')
  }
  for (let group = 0; group < 6; group++) {
    t.same(
      built.example('train', 'all', group * 4),
      official.example('train', 'all', group * 4),
      'the first of a group',
    )
  }
  t.same(built.metadata('train'), official.metadata('train'))
  official.close()
  built.close()
})

test('a leak is a warning on stderr and part of the result', async (t) => {
  const out = join(t.testdir(), 'out')
  const ended = await hrm([
    'data',
    'sudoku',
    '--generate',
    '300',
    '--test',
    '50',
    '--size',
    '4',
    '--holes',
    '2',
    '--num-aug',
    '30',
    '-o',
    out,
    '--json',
  ])
  t.equal(ended.code, 0)
  const { leaks } = lastJson(ended.stdout) as { leaks: { leaked: number } }
  t.ok(leaks.leaked > 0)
  t.match(ended.stderr, new RegExp(`warning: ${leaks.leaked} of 50 test puzzles also occur in train`))
})

test('wrong usage exits 2, bad data 3, and nothing is written', async (t) => {
  const dir = t.testdir({ 'train.csv': 'question,answer\n12,34\n' })
  const out = join(dir, 'out')
  const csv = join(dir, 'train.csv')
  const usage = [
    ['data', 'sudoku', '-o', out],
    ['data', 'sudoku', csv],
    ['data', 'sudoku', csv, '--generate', '3', '-o', out],
    ['data', 'sudoku', csv, '--holes', '3', '-o', out],
    ['data', 'sudoku', '--generate', '3', '--subsample-size', '3', '-o', out],
    ['data', 'sudoku', '--generate', '3', '--size', '5', '-o', out],
    ['data', 'sudoku', '--generate', '3', '--size', '4', '--holes', '14', '-o', out],
    ['data', 'sudoku', '--generate', 'x', '-o', out],
    ['data', 'sudoku', '--generate', '3', '--seed', '-1', '-o', out],
    ['data', 'chess', '-o', out],
  ]
  for (const args of usage) {
    const { code, stderr } = await hrm(args)
    t.equal(code, 2, `${args.join(' ')}: ${stderr}`)
    t.not(stderr, '')
  }
  const bad = await hrm(['data', 'sudoku', csv, '-o', out])
  t.equal(bad.code, 3)
  t.match(bad.stderr, /line 2.*train\.csv.*ERR_HRM_DATASET/s)
  t.notOk(existsSync(out))
})

test('SIGINT ends a build with 130 and leaves nothing', async (t) => {
  const out = join(t.testdir(), 'out')
  const main = join(import.meta.dirname, '../../../dist/cli/main.js')
  const args = ['data', 'sudoku', '--generate', '1000000', '--size', '9', '--holes', '40', '-o', out]
  const child = spawn(process.execPath, [main, ...args], { stdio: 'ignore' })
  const closed = once(child, 'close')
  while (!existsSync(out)) await setTimeout(20)
  child.kill('SIGINT')
  t.same(await closed, [130, null])
  t.notOk(existsSync(out))
})
