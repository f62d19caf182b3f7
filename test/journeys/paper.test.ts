// From nothing to a page about a Sudoku run, with commands in the official spelling.
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'tap'
import { commands, lines, project, run } from './installed.js'

test('the official spelling takes a Sudoku run from nothing to its scores and a page about it', async (t) => {
  const installed = project(t)
  const { folder } = installed
  const [data, train, score, report] = commands('paper.sh')
  const file = (name: string) => join(folder, name)
  const made = await run(installed, data!)
  t.equal(made.code, 0, made.stderr)
  for (const split of ['train', 'test']) {
    t.strictSame(
      readdirSync(file(`data/sudoku-4x4/${split}`)).toSorted(),
      ['inputs', 'labels', 'puzzle_identifiers', 'puzzle_indices', 'group_indices']
        .map((name) => `all__${name}.npy`)
        .concat('dataset.json')
        .toSorted(),
      'the official files',
    )
  }

  const trained = await run(installed, train!)
  t.equal(trained.code, 0, trained.stderr)
  t.match(trained.stderr, /131,\d{3} parameters[\s\S]+300 steps to go, about \d/)
  const events = lines(file('train.jsonl'))
  t.match(events.at(-1), { type: 'result', step: 300, reason: 'completed' })
  const config = JSON.parse(readFileSync(file('runs/first/latest/config.json'), 'utf8'))
  t.match(config, { run_name: 'first', lr: 2e-3, arch: { L_cycles: 2, halt_max_steps: 2, hidden_size: 64 } })

  t.equal((await run(installed, score!)).code, 0)
  const scored = JSON.parse(readFileSync(file('eval.json'), 'utf8'))
  const evaluations = events.filter(({ type }) => type === 'eval')
  const best = Math.max(...evaluations.map(({ emaSets }) => emaSets.all.exact_accuracy))
  t.equal(scored.sets.all.exact_accuracy, best, 'what training called its best')
  t.ok(best >= 0.2, `${best} of the held-out puzzles are right in every cell`)

  const page = await run(installed, report!)
  t.equal(page.code, 0, page.stderr)
  t.match(page.stderr, `best exact ${(100 * best).toFixed(1)} %`)
  const html = readFileSync(file('runs/first/report.html'), 'utf8')
  t.match(html, /exact accuracy/)
  t.notMatch(html, /(src|href)="(https?:)?\/\//, 'nothing of it is elsewhere')
})
