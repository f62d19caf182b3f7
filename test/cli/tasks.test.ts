import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { wilsonInterval } from '#dist/wilson.js'
import { small } from './fixtures.js'
import { hrm, lastJson } from './process.js'

const lines = (stdout: string) => stdout.replace(/\n$/, '').split('\n')

t.test('mazes are built, trained on, scored by their rules, solved and drawn', async (t) => {
  const cwd = t.testdir()
  const data = ['data', 'maze', '--generate', '24', '--test', '6', '--size', '6', '--min-path', '8', '-o', 'data']
  t.equal((await hrm(data, { cwd })).code, 0)
  const trained = await hrm(['train', ...small, '--preset', 'tiny', '--max-steps', '3', '--out', 'run'], { cwd })
  t.equal(trained.code, 0, trained.stderr)

  const scored = lastJson((await hrm(['eval', 'run', 'data', '--json'], { cwd })).stdout)
  t.match(scored, { rules: { task: 'maze', sets: { all: { count: 6, valid: Number } } }, sets: { all: { count: 6 } } })
  const { all } = (scored as { rules: { sets: { all: { valid: number; share: number; interval: number[] } } } }).rules
    .sets
  t.same([all.share, all.interval], [all.valid / 6, wilsonInterval(all.valid / 6, 6)])
  const scores = await hrm(['eval', 'run', 'data', '--task', 'maze', '--split', 'train'], { cwd })
  t.match(scores.stdout, /\nset +n +obey the rules +95 % interval\nall +24 +[\d.]+ % /)
  const wrong = await hrm(['eval', 'run', 'data', '--task', 'sudoku'], { cwd })
  t.match(wrong, { code: 3, stderr: /task sudoku, got 36 tokens and the vocabulary 6/ })

  const inspected = await hrm(['inspect', 'data', '--examples', '1'], { cwd })
  t.match(inspected.stdout, /maze: grids of at most 6 x 6, answers as large as their inputs\n/)
  t.match(inspected.stdout, /values from token 1: "#" " " "S" "G" "o"\n/)
  t.match(inspected.stdout, /0 of 6 test inputs also occur in train\n/)
  t.match(inspected.stdout, /test all example 0, puzzle identifier 0\n[# SG]{6} {3}[# SGo]{1,6}\n/)

  const solution = inspected.stdout.split('test all example 0, puzzle identifier 0\n')[1]!.split('\n').slice(0, 6)
  const question = solution.map((line) => line.slice(0, 6)).join('')
  const answer = solution.map((line) => line.slice(9).padEnd(6)).join('')
  t.equal(answer.replaceAll('o', ' '), question)
  writeFileSync(join(cwd, 'mazes.txt'), `\ufeff${question}\r\n\n${question}`)
  const solved = await hrm(['solve', 'run', 'mazes.txt'], { cwd })
  t.equal(solved.code, 0, solved.stderr)
  t.equal(lines(solved.stdout).length, 2)
  t.ok(lines(solved.stdout).every((line) => /^[# SGo?]{36}$/.test(line)))
  t.match(solved.stderr, /[0-2] of 2 solutions obey the rules/)
  const watched = await hrm(['solve', 'run', '--puzzle', question, '--watch'], { cwd, env: { NO_COLOR: '1' } })
  t.match(watched.stdout, /^puzzle +segment 1 +segment 2 +segment 3\n/)
  const short = await hrm(['solve', 'run'], { cwd, input: question.slice(1) })
  t.match(short, { code: 3, stderr: /36 characters of "# SG".*stdin line 1, got 35/ })
  t.match(await hrm(['solve', 'run', '--puzzle', question.replace('S', 'x')], { cwd }), { code: 3 })
})

t.test('answers to own grids come back in the values they were written in', async (t) => {
  const pairs = Array.from({ length: 16 }, (_, at) => ({
    input: at % 2 === 0 ? [['red', at]] : [[at], ['red']],
    output: at % 2 === 0 ? [[at, 'red']] : [['red'], [at]],
    split: at < 12 ? 'train' : 'test',
  }))
  const text = pairs.map((pair) => `${JSON.stringify(pair)}\n`).join('')
  const cwd = t.testdir({ 'pairs.jsonl': text })
  t.equal((await hrm(['data', 'grid', 'pairs.jsonl', '-o', 'data'], { cwd })).code, 0)
  const trained = await hrm(['train', ...small, '--preset', 'tiny', '--max-steps', '3', '--out', 'run'], { cwd })
  t.equal(trained.code, 0, trained.stderr)
  const solved = await hrm(['solve', 'run', 'pairs.jsonl', '--json'], { cwd })
  t.equal(solved.code, 0, solved.stderr)
  const answers = lines(solved.stdout).map((line) => JSON.parse(line) as { solution: unknown[][]; valid: boolean })
  const values = new Set<unknown>(['red', null, ...pairs.keys()])
  for (const [at, { input }] of pairs.entries()) {
    const { solution, valid } = answers[at]!
    t.equal(solution.length, input.length, 'as many rows as the input')
    t.ok(solution.every((row, y) => row.length === input[y]!.length && row.every((value) => values.has(value))))
    t.equal(valid, !solution.flat().includes(null))
  }
  const scores = await hrm(['eval', 'run', 'data'], { cwd })
  t.match(scores.stdout, /\nset +n +whole answers +95 % interval\nall +4 +[\d.]+ % /)
  const plain = await hrm(['solve', 'run'], { cwd, input: '[["red", 3]]\n' })
  t.match(plain.stdout, /^\[\[.*\]\]\n$/)
  const unknown = await hrm(['solve', 'run'], { cwd, input: '[["blue"]]' })
  t.match(unknown, { code: 3, stderr: /values of the 17 .* got the value "blue"/ })
  for (const bad of ['[["red"', '{"output":[]}', '[["red"],["red"],["red"]]', '[1,2,3]'])
    t.match(await hrm(['solve', 'run'], { cwd, input: bad }), { code: 3, stderr: /stdin line 1/ }, bad)
  const named = await hrm(['solve', 'run', '--vocab', 'data', '--puzzle', '[["red",3]]'], { cwd })
  t.equal(named.stdout, plain.stdout)
  t.match(await hrm(['solve', 'run', '--vocab', 'absent'], { cwd }), { code: 3, stderr: /absent/ })
  const inspected = await hrm(['inspect', 'data', '--examples', '2'], { cwd })
  t.match(inspected.stdout, /grid: grids of at most 2 x 2, answers as large as their inputs\n/)
  t.match(inspected.stdout, /train all example 0, puzzle identifier 0\nred {3}0 {5}0 red\n/)
  const shared = { testExamples: 4, leaked: 0 }
  t.match(lastJson((await hrm(['inspect', 'data', '--json'], { cwd })).stdout), { vocabulary: { rows: 2 }, shared })
  t.ok(readFileSync(join(cwd, 'run/latest/vocabulary.json'), 'utf8').includes('"red"'))
})
