import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { type Test, test } from 'tap'
import { augmentGrid, parseAugmentedName, undoAugmentation } from '#dist/arc/augment.js'
import { buildArc } from '#dist/arc/build.js'
import { cropGrid, encodeGrid } from '#dist/arc/encode.js'
import { ArcEvaluation } from '#dist/arc/evaluate.js'
import { type ArcGrid, gridKey } from '#dist/arc/grid.js'
import { ArcBallot } from '#dist/arc/vote.js'
import { wilsonInterval } from '#dist/wilson.js'
import { Dataset } from '#dist/dataset.js'
import { hrm, lastJson } from '../cli/process.js'
import { hrmError, smallSplit, writeSplit } from '../data/fixtures.js'
import { augmentation, grid, gridOf, task } from './fixtures.js'

const [a, b, c] = [[[1]], [[2]], [[3]]].map(gridOf) as [ArcGrid, ArcGrid, ArcGrid]

function rankedOf(answers: [ArcGrid, number][]): [number, number][] {
  const ballot = new ArcBallot()
  for (const [answer, qHalt] of answers) ballot.add(answer, qHalt)
  return ballot.ranked().map(({ grid: { cells }, votes }) => [cells[0]!, votes])
}

test('votes decide, then mean q_halt, then who came first', async (t) => {
  t.same(
    rankedOf([
      [a, 9],
      [b, -9],
      [b, -9],
    ]),
    [
      [2, 2],
      [1, 1],
    ],
    'votes weigh more than q_halt',
  )
  t.same(
    rankedOf([
      [a, -1],
      [b, 1],
      [c, 0],
    ]),
    [
      [2, 1],
      [3, 1],
      [1, 1],
    ],
  )
  t.same(
    rankedOf([
      [a, 4],
      [b, 0.5],
      [a, -4],
      [b, 0.5],
    ]),
    [
      [2, 2],
      [1, 2],
    ],
    'the mean counts, 0.5 for a and 0.62 for b, not the best',
  )
  t.same(
    rankedOf([
      [c, 0],
      [a, 0],
      [b, 0],
    ]),
    [
      [3, 1],
      [1, 1],
      [2, 1],
    ],
  )
  t.same(rankedOf([]), [])
})

test('the mean of q_halt is that of its sigmoid, and grids of other shapes are other answers', async (t) => {
  const ballot = new ArcBallot()
  const wide = gridOf([[1, 1]])
  const high = gridOf([[1], [1]])
  ballot.add(wide, Math.log(3))
  ballot.add(wide, -Math.log(3))
  ballot.add(high, 0)
  const [first, second] = ballot.ranked()
  t.match(first, { grid: wide, votes: 2 })
  t.ok(Math.abs(first!.meanHalt - 0.5) < 1e-12)
  t.match(second, { grid: high, votes: 1, meanHalt: 0.5 })
})

const other = {
  train: [{ input: [[1, 2, 3]], output: [[1], [2], [3]] }],
  test: [
    { input: [[4, 5, 6, 7]], output: [[4], [5], [6], [7]] },
    { input: [[8, 9]], output: [[8], [9]] },
  ],
}
const open = { train: other.train, test: [{ input: [[1, 1, 2]] }] }

async function dataset(t: Test, numAug = 8): Promise<Dataset> {
  const dir = t.testdir({
    evaluation: { 'one.json': JSON.stringify(task), 'two.json': JSON.stringify(other) },
    more: { 'open.json': JSON.stringify(open) },
  })
  const sources = ['evaluation', 'more'].map((name) => join(dir, name))
  await buildArc({ sources, outDir: join(dir, 'data'), numAug, seed: 0 })
  return Dataset.open(join(dir, 'data'))
}

/** Gives `evaluation` an answer for each example: a grid of the task itself, which is augmented as the example is. */
function answer(
  data: Dataset,
  evaluation: ArcEvaluation,
  choose: (task: string, index: number, version: number) => [number[][], number] | undefined,
): void {
  const names = data.identifiers()
  const [set] = data.sets('test')
  const versions = new Map<string, number>()
  for (let puzzle = 0; puzzle < set!.numPuzzles; puzzle++) {
    const { task: id, augmentation: drawn } = parseAugmentedName(names[set!.identifierOf(puzzle)]!)
    const version = versions.get(id) ?? 0
    versions.set(id, version + 1)
    const start = set!.puzzleStart(puzzle)
    for (let example = start; example < set!.puzzleStart(puzzle + 1); example++) {
      const chosen = choose(id, example - start, version)
      if (chosen === undefined) continue
      const [rows, qHalt] = chosen
      const shown = drawn ? augmentGrid(gridOf(rows), drawn) : gridOf(rows)
      const tokens = new Uint8Array(900)
      encodeGrid(shown, 0, 0, tokens)
      const { inputs, labels, puzzleId } = data.example('test', 'all', example)
      const prediction = { set: 'all', example, inputs, labels, puzzleId, tokens: Int32Array.from(tokens) }
      evaluation.add({ ...prediction, qHalt, segments: 1 })
    }
  }
}

const outputs: Record<string, number[][][]> = {
  one: task.test.map(({ output }) => output),
  two: other.test.map(({ output }) => output),
  open: [[[1], [1], [2]]],
}

test('right answers in every augmentation solve every task with known outputs', async (t) => {
  const data = await dataset(t)
  const evaluation = new ArcEvaluation(data)
  answer(data, evaluation, (id, index) => [outputs[id]![index]!, 0])
  t.same(evaluation.scores([1, 2]), {
    tasks: 2,
    uncounted: 1,
    pass: [
      { k: 1, solved: 2 },
      { k: 2, solved: 2 },
    ],
  })
  t.same(
    evaluation.submission(),
    Object.fromEntries(
      Object.entries(outputs).map(([id, grids]) => [id, grids.map((g) => ({ attempt_1: g, attempt_2: g }))]),
    ),
    'one answer is given twice, also for a test without output',
  )
  data.close()
})

test('a task is solved within k only if all its inputs are', async (t) => {
  const data = await dataset(t)
  const evaluation = new ArcEvaluation(data)
  const wrong = [[5, 5]]
  // Of nine versions each: the first input of `two` is right in first place, the second in second place by fewer votes;
  // `one` is right in third place by q_halt.
  answer(data, evaluation, (id, index, version) => {
    if (id === 'two') return [index === 0 || version < 4 ? outputs[id]![index]! : wrong, 0]
    if (id === 'one') return [version < 3 ? wrong : version < 6 ? [[0]] : outputs[id]![0]!, version < 6 ? 1 : -1]
    return undefined
  })
  t.same(evaluation.scores().pass, [
    { k: 1, solved: 0 },
    { k: 2, solved: 1 },
    { k: 10, solved: 2 },
    { k: 100, solved: 2 },
    { k: 1000, solved: 2 },
  ])
  const submission = evaluation.submission()
  t.same(submission['two']![1], { attempt_1: wrong, attempt_2: outputs['two']![1] })
  t.same(submission['open'], [{ attempt_1: [[0]], attempt_2: [[0]] }], 'nothing was predicted')
  data.close()
})

test('a task without predictions for one of its inputs is not counted', async (t) => {
  const data = await dataset(t)
  const evaluation = new ArcEvaluation(data)
  answer(data, evaluation, (id, index) => (id === 'two' && index === 0 ? [outputs[id]![0]!, 0] : undefined))
  t.same(evaluation.scores([1]), { tasks: 0, uncounted: 3, pass: [{ k: 1, solved: 0 }] })
  data.close()
})

test('an empty prediction is a vote, but never a submitted grid', async (t) => {
  const data = await dataset(t)
  const evaluation = new ArcEvaluation(data)
  answer(data, evaluation, (id, index, version) => [version < 6 ? [] : outputs[id]![index]!, 0])
  t.equal(evaluation.scores([1]).pass[0]!.solved, 0)
  t.equal(evaluation.scores([2]).pass[0]!.solved, 2)
  t.same(evaluation.submission()['one'], [{ attempt_1: [[7]], attempt_2: [[7]] }])
  data.close()
})

test('an augmented grid, written on the canvas, read from it and undone, is the grid', async () => {
  fc.assert(
    fc.property(grid, augmentation, (image, drawn) => {
      const tokens = new Uint8Array(900)
      encodeGrid(augmentGrid(image, drawn), 0, 0, tokens)
      return gridKey(undoAugmentation(cropGrid(tokens), drawn)) === gridKey(image)
    }),
    { numRuns: 300 },
  )
})

test('a dataset that is not ARC, or whose inputs are not as named, is refused', async (t) => {
  const data = await dataset(t)
  const evaluation = new ArcEvaluation(data)
  const { inputs, labels } = data.example('test', 'all', 1)
  const puzzleId = data.sets('test')[0]!.identifierOf(2)
  const prediction = { set: 'all', example: 2, inputs, labels, puzzleId, tokens: inputs, qHalt: 0, segments: 1 }
  t.match(await hrmError(() => evaluation.add(prediction)), {
    code: 'ERR_HRM_DATASET',
    message: /in the augmentation its name says, got another input in example 2/,
  })
  data.close()
  const small = await Dataset.open(writeSplit(t.testdir({}), 'test', smallSplit()))
  t.match(await hrmError(() => new ArcEvaluation(small)), {
    code: 'ERR_HRM_DATASET',
    message: /900 tokens and the vocabulary 12 of ARC, got 4 and 6/,
  })
  small.close()
})

test('hrm eval --task arc prints pass@k with intervals and writes a submission', async (t) => {
  const data = await dataset(t)
  data.close()
  const cwd = join(data.dir, '..')
  const overrides = ['arch.hidden_size=16', 'arch.num_heads=2', 'arch.halt_max_steps=2', 'global_batch_size=4']
  const train = ['train', 'data_path=data', ...overrides, '--preset', 'tiny', '--max-steps', '2', '--out', 'run']
  const trained = await hrm(train, { cwd })
  t.equal(trained.code, 0, trained.stderr)

  const json = await hrm(['eval', 'run', 'data', '--json', '--submission', 'submission.json'], { cwd })
  t.equal(json.code, 0, json.stderr)
  const { arc, sets } = lastJson(json.stdout) as {
    arc: { tasks: number; uncounted: number; pass: { k: number; solved: number; share: number; interval: number[] }[] }
    sets: Record<string, { count: number }>
  }
  t.match(arc, { tasks: 2, uncounted: 1 })
  t.same(
    arc.pass.map(({ k }) => k),
    [1, 2, 10, 100, 1000],
  )
  for (const { solved, share, interval } of arc.pass) {
    t.equal(share, solved / 2)
    t.same(interval, wilsonInterval(share, 2))
  }
  t.equal(sets['all']!.count, 9 + 18, 'the official metrics leave out what has no labels')

  const submission = JSON.parse(readFileSync(join(cwd, 'submission.json'), 'utf8')) as Record<string, object[]>
  t.same(
    Object.fromEntries(Object.entries(submission).map(([id, tests]) => [id, tests.length])),
    { one: 1, open: 1, two: 2 },
    'as many attempts as the task has tests',
  )
  for (const attempts of Object.values(submission).flat()) {
    t.same(Object.keys(attempts), ['attempt_1', 'attempt_2'])
    for (const rows of Object.values(attempts) as number[][][]) {
      t.ok(rows.length >= 1 && rows.length <= 30)
      for (const row of rows) {
        t.equal(row.length, rows[0]!.length)
        t.ok(row.length >= 1 && row.length <= 30 && row.every((colour) => colour >= 0 && colour <= 9))
      }
    }
  }

  const text = await hrm(['eval', 'run', 'data', '--task', 'arc', '--max-examples', '9'], { cwd })
  t.match(text.stdout, /\npass@2 +[01] +1 +\d+\.0 % +\d.* … .*\n/)
  t.match(text.stdout, /2 tasks without all outputs or predictions are not counted\n$/)
  t.equal((await hrm(['eval', 'run', 'data', '--split', 'train', '--max-examples', '4'], { cwd })).code, 0)
  for (const wrong of [
    ['--task', 'arc'],
    ['--submission', 'x.json'],
  ]) {
    t.match(await hrm(['eval', 'run', 'data', '--split', 'train', ...wrong], { cwd }), {
      code: 2,
      stderr: /--split|test split/,
    })
  }

  const drawn = await hrm(['inspect', 'data', '--examples', '1'], { cwd, env: { NO_COLOR: '1' } })
  t.match(drawn.stdout, /test all example 0, puzzle identifier \d+\n7 \. 7 7 {4}7\n/)
  t.notMatch(drawn.stdout, '\u001b')

  const input = '[[1, 2], [3, 0]]\n[[7]]\r\n'
  const solved = await hrm(['solve', 'run', '--json', '--puzzle-id', '1'], { cwd, input })
  t.equal(solved.code, 0, solved.stderr)
  const [first, second, result] = solved.stdout
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line))
  t.match(first, { type: 'solution', solution: Array, tokens: Array })
  t.match(second, { type: 'solution', solution: Array, valid: Boolean })
  t.match(result, { type: 'result', count: 2 })
  const watched = await hrm(['solve', 'run', '--puzzle', '[[1, 2], [3, 0]]', '--watch'], {
    cwd,
    env: { NO_COLOR: '1' },
  })
  t.match(watched.stdout, /^puzzle.*segment 1.*\n1 2 .*\n3 \. /s)
  for (const bad of ['[[1, 2], [3]]', '[[10]]', '[[1]', '[1, 2]']) {
    const { code, stderr } = await hrm(['solve', 'run', '--puzzle', bad], { cwd })
    t.equal(code, 3, bad)
    t.match(stderr, /^hrm: \[solve\] expected .* in --puzzle, got .*\[ERR_HRM_DATASET\]\n$/)
  }
})
