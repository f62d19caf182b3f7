import { test } from 'tap'
import { HRM, type SolveResult } from '#dist/index.js'
import { examples, recipe, tiny, tinyDataset } from '../facade/fixtures.js'
import { figure, long } from './figures.js'

const parallel = 16

/** What an answer is, byte for byte. */
function fingerprint(results: readonly SolveResult[]): string {
  const answer = ({ tokens, qHalt, qContinue, segments }: SolveResult) =>
    Buffer.concat([
      Buffer.from(tokens.buffer, tokens.byteOffset, tokens.byteLength),
      Buffer.from(new Float64Array([qHalt, qContinue, segments]).buffer),
    ])
  return Buffer.concat(results.map(answer)).toString('base64')
}

test('sixteen calls of solve() at once, beside the training of another model, answer as one by one', async (t) => {
  const data = await tinyDataset(t)
  await using model = await HRM.create(tiny, { maxBatch: 5 })
  await using other = await HRM.create(tiny, { seed: 1 })
  const calls = Array.from({ length: parallel }, (_, i) => ({
    puzzles: examples(1 + (i % 7), 10 * i),
    options: { maxSegments: 1 + (i % 4), halting: i % 2 ? 'q' : 'max', puzzleId: i % 3 } as const,
  }))
  const expected: string[] = []
  for (const { puzzles, options } of calls) expected.push(fingerprint(await model.solve(puzzles, options)))

  const training = other.train(data, { ...recipe, epochs: 1_000_000 })
  let steps = 0
  const trained = (async () => {
    for await (const event of training) if (event.type === 'step') steps++
  })()
  const least = long ? 500 : 10
  let rounds = 0
  let different = 0
  const enough = () => rounds >= least && steps >= least
  for (; !enough(); rounds++) {
    const results = await Promise.all(calls.map(({ puzzles, options }) => model.solve(puzzles, options)))
    different += results.filter((result, i) => fingerprint(result) !== expected[i]).length
  }
  training.stop()
  await trained
  t.equal(different, 0)
  figure(t, 'concurrent-solve', {
    'calls at once': parallel,
    calls: rounds * parallel,
    'training steps meanwhile': steps,
    'results that differ': different,
  })
})

test('solve() during the training of its own model answers each sequence with the weights of one step', async (t) => {
  const data = await tinyDataset(t)
  const puzzles = examples(6)
  const lastStep = long ? 24 : 8
  // What each step's weights answer, each from a training that ends there.
  const answers: string[][] = []
  for (let maxSteps = 0; maxSteps <= lastStep; maxSteps++) {
    await using model = await HRM.create(tiny, { maxBatch: 4 })
    if (maxSteps > 0) await model.train(data, { ...recipe, maxSteps }).done()
    answers.push((await model.solve(puzzles)).map((result) => fingerprint([result])))
  }
  for (const puzzle of puzzles.keys()) {
    t.equal(new Set(answers.map((known) => known[puzzle])).size, lastStep + 1, 'the answers of all steps differ')
  }

  const rounds = long ? 40 : 4
  let sequences = 0
  let strange = 0
  let midway = 0
  for (let round = 0; round < rounds; round++) {
    await using model = await HRM.create(tiny, { maxBatch: 4 })
    const asked: Promise<SolveResult[]>[] = []
    for await (const { type } of model.train(data, { ...recipe, maxSteps: lastStep })) {
      if (type === 'step') asked.push(model.solve(puzzles))
    }
    for (const results of await Promise.all(asked)) {
      results.forEach((result, puzzle) => {
        const step = answers.findIndex((known) => known[puzzle] === fingerprint([result]))
        sequences++
        if (step < 0) strange++
        else if (step < lastStep) midway++
      })
    }
  }
  t.equal(strange, 0, 'no answer mixes the weights of two steps')
  t.ok(midway > sequences / 4, `${midway} of ${sequences} sequences were answered between two steps`)
  figure(t, 'solve-while-training', {
    sequences,
    'answered between two steps': midway,
    'answers of no single step': strange,
  })
})

test('a caller whose memory is gone, or that throws, fails alone', async (t) => {
  await using model = await HRM.create(tiny, { maxBatch: 4 })
  const expected = fingerprint(await model.solve(examples(3)))
  const out = new Int32Array(tiny.seqLen)
  class Hostile extends Int32Array {
    override set(): never {
      throw new Error('the caller’s own')
    }
  }
  const gone = model.solve(examples(1), { out })
  const hostile = model.solve(examples(1), { out: new Hostile(tiny.seqLen) })
  const others = Promise.all([model.solve(examples(3)), model.solve(examples(3))])
  structuredClone(out.buffer, { transfer: [out.buffer] })
  await t.rejects(gone, TypeError)
  await t.rejects(hostile, { message: 'the caller’s own' })
  t.same((await others).map(fingerprint), [expected, expected])
  t.equal(fingerprint(await model.solve(examples(3))), expected)
})
