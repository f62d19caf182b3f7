import { join } from 'node:path'
import { test } from 'tap'
import { ruleTask } from '#dist/cli/rule-task.js'
import { Dataset, type DatasetExample } from '#dist/index.js'
import { buildGrids } from '#dist/grid/index.js'
import { buildGeneratedMazes } from '#dist/maze/index.js'
import { sudokuFolder } from './fixtures.js'

/** What a rule task says of these answers to the first test examples. */
async function judge(
  task: 'sudoku' | 'maze' | 'grid',
  data: Dataset,
  answer: (example: DatasetExample, at: number) => Int32Array,
) {
  const { add, finish } = ruleTask(task).begin(data, { split: 'test' })
  for (let example = 0; example < 6; example++) {
    const { inputs, labels, puzzleId } = data.example('test', 'all', example)
    const tokens = answer({ inputs, labels, puzzleId }, example)
    // Labels are hidden: a checker must not need them.
    add({ set: 'all', example, inputs, labels: new Int32Array(0), puzzleId, tokens, qHalt: 0, segments: 1 })
  }
  return ((await finish()).json['rules'] as { sets: { all: object } }).sets.all
}

const solved = ({ labels }: DatasetExample) => labels.map((label) => Math.max(0, label))

test('right answers obey the rules and wrong ones do not, without labels', async (t) => {
  const dir = t.testdir()
  await buildGeneratedMazes({ outDir: join(dir, 'm'), size: 6, trainMazes: 1, testMazes: 6, minPath: 6, seed: 0 })
  using mazes = await Dataset.open(join(dir, 'm'))
  using sudokus = await Dataset.open(join(sudokuFolder(t), 'data'))
  for (const [task, data] of [
    ['maze', mazes],
    ['sudoku', sudokus],
  ] as const) {
    t.match(await judge(task, data, solved), { count: 6, valid: 6, share: 1 }, task)
    t.match(await judge(task, data, ({ inputs }) => inputs), { count: 6, valid: 0, share: 0 }, task)
    const damaged = (example: DatasetExample, at: number) => {
      const tokens = solved(example)
      if (at % 3 === 0) tokens[at] = 0
      return tokens
    }
    t.match(await judge(task, data, damaged), { count: 6, valid: 4 }, task)
  }
})

test('an answer to a grid is whole where it has a value in every cell', async (t) => {
  const dir = t.testdir({
    'test.jsonl': Array.from({ length: 6 }, (_, at) => `{"input":[[${at},1]],"output":[[1,${at}]]}\n`).join(''),
  })
  await buildGrids({ sources: [join(dir, 'test.jsonl')], outDir: join(dir, 'data'), seed: 0 })
  using data = await Dataset.open(join(dir, 'data'))
  t.match(await judge('grid', data, solved), { count: 6, valid: 6 })
  t.match(await judge('grid', data, (_, at) => Int32Array.of(at, 1)), { count: 6, valid: 5 }, 'token 0 is padding')
  t.notOk(ruleTask('maze').fits(data))
  t.ok(ruleTask('grid').fits(data))
  t.throws(() => ruleTask('sudoku').begin(data, { split: 'test' }), { code: 'ERR_HRM_DATASET', message: /sudoku/ })
})
