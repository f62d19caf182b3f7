// From a file of pairs of grids to a model of one's own, and its predictions in the values of the file.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'tap'
import { RandomStream } from '#dist/random.js'
import { commands, lines, project, run } from './installed.js'

/** What is to be learnt: rows are mirrored, and r, g and b take turns. */
const turns: Readonly<Record<string, string>> = { '.': '.', r: 'g', g: 'b', b: 'r' }
const answer = (grid: string[][]) => grid.map((row) => row.toReversed().map((value) => turns[value]!))

/** Different grids of 3 x 3 values, the same ones every time. */
function grids(count: number): string[][][] {
  const random = new RandomStream(0, 'puzzle', 0)
  const values = Object.keys(turns)
  const seen = new Set<string>()
  while (seen.size < count) {
    const row = () => Array.from({ length: 3 }, () => values[random.nextBelow(values.length)])
    seen.add(JSON.stringify([row(), row(), row()]))
  }
  return [...seen].map((grid) => JSON.parse(grid) as string[][])
}

test('pairs of grids become a model that predicts new ones in their own values', async (t) => {
  const installed = project(t)
  const file = (name: string) => join(installed.folder, name)
  const all = grids(300)
  const [known, fresh] = [all.slice(0, 280), all.slice(280)]
  const write = (name: string, list: object[]) =>
    writeFileSync(file(name), list.map((value) => `${JSON.stringify(value)}\n`).join(''))
  write(
    'pairs.jsonl',
    known.map((input) => ({ input, output: answer(input) })),
  )
  write(
    'new.jsonl',
    fresh.map((input) => ({ input })),
  )
  const [data, inspect, train, solve] = commands('own-grids.sh')
  const made = await run(installed, data!)
  t.equal(made.code, 0, made.stderr)
  t.match(made.stdout, /grids of 3 x 3 cells at most, 4 different values/)
  const shown = await run(installed, inspect!)
  t.equal(shown.code, 0, shown.stderr)
  t.match(shown.stdout, /0 of 28 test inputs also occur in train/)
  t.match(shown.stdout, /values from token 1: "\." "b" "g" "r"/)

  const trained = await run(installed, train!)
  t.equal(trained.code, 0, trained.stderr)
  t.match(lines(file('train.jsonl')).at(-1), { type: 'result', step: 500 })
  const solved = await run(installed, solve!)
  t.equal(solved.code, 0, solved.stderr)
  const answers = lines(file('answers.jsonl'))
  t.match(answers.at(-1), { type: 'result', count: 20 })
  const right = fresh.filter((input, at) => {
    return JSON.stringify(answers[at]!['solution']) === JSON.stringify(answer(input))
  })
  // Values that are mixed up somewhere would leave none.
  t.ok(right.length >= 16, `${right.length} of 20 new grids are right in every cell`)
})
