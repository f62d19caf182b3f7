import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { Dataset, HRM } from '#dist/index.js'
import { segmentsOf } from '#dist/report/data.js'
import { solvePuzzles } from '#dist/report/puzzles.js'
import { wilsonInterval } from '#dist/wilson.js'
import { sudokuFolder } from '../cli/fixtures.js'
import { npy } from '../data/fixtures.js'

const TESTS = 9

/** An untrained model, and a dataset by whose labels its answers to every third example are right. */
async function judged(t: Test): Promise<{ checkpoint: string; dataset: Dataset }> {
  const folder = sudokuFolder(t)
  const data = join(folder, 'data')
  const checkpoint = join(folder, 'model')
  const sizes = { preset: 'tiny', hiddenSize: 16, numHeads: 2, vocabSize: 6, seqLen: 16, haltMaxSegments: 3 } as const
  await using model = await HRM.create(sizes, { threads: 1 })
  await model.save(checkpoint)
  const before = await Dataset.open(data)
  const labels: number[] = []
  for (let example = 0; example < TESTS; example++) {
    const { inputs, labels: right } = before.example('test', 'all', example)
    const { tokens } = await model.solve(inputs)
    labels.push(...(example % 3 === 1 ? tokens : right))
  }
  before.close()
  writeFileSync(join(data, 'test', 'all__labels.npy'), npy('|u1', [TESTS, 16], labels))
  const dataset = await Dataset.open(data)
  t.teardown(() => dataset.close())
  return { checkpoint, dataset }
}

t.test('failures come first, each group in the order of the split', async (t) => {
  const { checkpoint, dataset } = await judged(t)
  const solved = await solvePuzzles(checkpoint, dataset, { puzzles: TESTS, threads: 1 })
  t.match(solved, { checkpoint: 'model', step: null, total: TESTS, tried: TESTS, exact: 3 })
  t.same(solved.interval, wilsonInterval(1 / 3, TESTS))
  t.same(
    solved.shown.map(({ example }) => example),
    [0, 2, 3, 5, 6, 8, 1, 4, 7],
  )
  for (const [at, { wrong, input, labels, changes }] of solved.shown.entries()) {
    t.equal(wrong === 0, at >= 6)
    const last = segmentsOf({ input, changes }).at(-1)!
    t.equal(labels.filter((label, cell) => label >= 0 && label !== last[cell]).length, wrong)
  }
})

t.test('examples are spread evenly over the split', async (t) => {
  const { checkpoint, dataset } = await judged(t)
  const { shown, tried, exact } = await solvePuzzles(checkpoint, dataset, { puzzles: 1, threads: 1 })
  t.equal(tried, 8, 'eight for each one shown')
  t.equal(exact, 2, 'the one in the middle, which is right, is left out')
  t.equal(shown.length, 1)
})

t.test('a dataset of other sizes is refused', async (t) => {
  const { dataset } = await judged(t)
  await using model = await HRM.create({ preset: 'tiny', vocabSize: 6, seqLen: 36 }, { threads: 1 })
  const other = join(t.testdirName, 'other')
  await model.save(other)
  await t.rejects(solvePuzzles(other, dataset, { puzzles: 1 }), { code: 'ERR_HRM_DATASET', message: /seqLen 36/ })
})
