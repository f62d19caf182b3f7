import { join } from 'node:path'
import t, { type Test } from 'tap'
import { Dataset } from '#dist/index.js'
import { tryMaze } from '#dist/maze/generator.js'
import { RandomStream } from '#dist/random.js'
import { paperTask } from '#dist/report/paper.js'
import { npy, writeSplit } from '../data/fixtures.js'

interface Made {
  seqLen: number
  vocabSize: number
  inputs: ArrayLike<number>[]
  labels: ArrayLike<number>[]
  groups?: number
}

/** A dataset with a test split alone; examples repeat to `count`. */
async function made(t: Test, count: number, { seqLen, vocabSize, inputs, labels, groups = count }: Made) {
  const dir = t.testdir()
  const indices = (length: number) => Array.from({ length: length + 1 }, (_, at) => Math.floor((at * count) / length))
  const tokens = (rows: ArrayLike<number>[]) => {
    const values = new Uint8Array(count * seqLen)
    for (let row = 0; row < count; row++) values.set(Uint8Array.from(rows[row % rows.length]!), row * seqLen)
    return npy('|u1', [count, seqLen], values as unknown as number[])
  }
  writeSplit(dir, 'test', {
    'dataset.json': JSON.stringify({
      pad_id: 0,
      ignore_label_id: 0,
      blank_identifier_id: 0,
      vocab_size: vocabSize,
      seq_len: seqLen,
      num_puzzle_identifiers: 1,
      total_groups: groups,
      mean_puzzle_examples: 1,
      sets: ['all'],
    }),
    'all__inputs.npy': tokens(inputs),
    'all__labels.npy': tokens(labels),
    'all__puzzle_identifiers.npy': npy('<i4', [count], Array(count).fill(0)),
    'all__puzzle_indices.npy': npy('<i4', [count + 1], indices(count)),
    'all__group_indices.npy': npy('<i4', [groups + 1], indices(groups)),
  })
  const dataset = await Dataset.open(join(dir))
  t.teardown(() => dataset.close())
  return dataset
}

const sudoku: Made = { seqLen: 81, vocabSize: 11, inputs: [Array(81).fill(1)], labels: [Array(81).fill(2)] }

t.test('Sudoku-Extreme is known by the number of its test puzzles', async (t) => {
  t.equal(paperTask(await made(t, 422_786, sudoku)), 'sudoku-extreme')
  t.equal(paperTask(await made(t, 1000, sudoku)), undefined)
})

t.test('Maze-Hard has a thousand long paths, some of them with rivals', async (t) => {
  const mazes = []
  for (let draw = 0; mazes.length < 4; draw++) {
    const maze = tryMaze(30, 110, new RandomStream(0, 'puzzle', draw))
    if (maze) mazes.push(maze)
  }
  const inputs = mazes.map(({ question }) => question)
  const labels = mazes.map(({ answer }) => answer)
  const sizes = { seqLen: 900, vocabSize: 6 }
  t.equal(paperTask(await made(t, 1000, { ...sizes, inputs, labels })), undefined, 'one shortest path each: generated')

  // A 2 x 2 yard beside S or G, opened, gives the first or last corner of the path a rival.
  const yard = inputs.map((question) => question.map((token) => (token === 1 ? 2 : token)))
  t.equal(paperTask(await made(t, 1000, { ...sizes, inputs: yard, labels })), 'maze-hard')
  t.equal(paperTask(await made(t, 999, { ...sizes, inputs: yard, labels })), undefined)
  const short = [...labels.slice(1), inputs[0]!]
  t.equal(paperTask(await made(t, 1000, { ...sizes, inputs: yard, labels: short })), undefined, 'a short path')
})

t.test('the ARC sets are known by the number of their evaluation tasks', async (t) => {
  const arc: Made = { seqLen: 900, vocabSize: 12, inputs: [Array(900).fill(2)], labels: [Array(900).fill(3)] }
  t.equal(paperTask(await made(t, 419, { ...arc, groups: 400 })), 'arc-1')
  t.equal(paperTask(await made(t, 172, { ...arc, groups: 120 })), 'arc-2')
  t.equal(paperTask(await made(t, 172, { ...arc, groups: 60 })), undefined)
})

t.test('other data has no figure', async (t) => {
  t.equal(
    paperTask(
      await made(t, 1000, {
        ...sudoku,
        seqLen: 16,
        vocabSize: 6,
        inputs: [Array(16).fill(1)],
        labels: [Array(16).fill(1)],
      }),
    ),
    undefined,
  )
})
