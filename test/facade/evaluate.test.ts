import { test } from 'tap'
import { HRM } from '#dist/index.js'
import { EvalSums, trainMetrics } from '#dist/metrics.js'
import { recipe, rejection, tiny, tinyDataset } from './fixtures.js'

test('evaluation does not depend on the batch but for the padding in q_halt_loss', async (t) => {
  const data = await tinyDataset(t)
  await using model = await HRM.create(tiny, { seed: 4 })
  const all = (await model.evaluate(data, { batchSize: 7 })).sets['all']!
  t.equal(all.count, 7)
  t.equal(all.steps, tiny.haltMaxSegments)
  const padded = (await model.evaluate(data, { batchSize: 10 })).sets['all']!
  // An untrained Q head says -5 for every row; a row of padding counts as right: BCE(-5, 1) = log(1 + e^5).
  const rows = (3 * Math.log1p(Math.exp(5))) / 7
  t.ok(Math.abs(padded.q_halt_loss! - all.q_halt_loss! - rows) < 1e-5, `${padded.q_halt_loss} - ${all.q_halt_loss}`)
  const { q_halt_loss: _, ...rest } = padded
  t.match(all, rest)
  t.equal((await model.evaluate(data, { batchSize: 2, maxExamples: 3 })).sets['all']!.count, 3)
  t.equal((await model.evaluate(data, { split: 'train' })).sets['all']!.count, 24)
})

test('with halting q examples are scored where solve() ends them', async (t) => {
  const data = await tinyDataset(t, { test: 40 })
  await using model = await HRM.create(tiny, { seed: 4, maxBatch: 3 })
  // The halting rule never fires in an untrained Q head, which gives both answers the same logit.
  const official = (await model.evaluate(data, { batchSize: 40 })).sets['all']!
  const { lm_loss, q_halt_loss, ...rest } = (await model.evaluate(data, { halting: 'q' })).sets['all']!
  t.match(official, rest)
  t.equal(lm_loss, null)
  t.ok(Math.abs(q_halt_loss! - official.q_halt_loss!) < 1e-5, `${q_halt_loss} and ${official.q_halt_loss}`)
  t.equal((await model.evaluate(data, { maxSegments: 7 })).sets['all']!.steps, 7)

  await model.train(data, { ...recipe, epochs: 60 }).done()
  const { sets } = await model.evaluate(data, { halting: 'q', maxSegments: 6 })
  const all = Array.from({ length: 40 }, (_, at) => data.example('test', 'all', at))
  const inputs = all.map((example) => example.inputs)
  const puzzleIds = all.map((example) => example.puzzleId)
  const answers = await model.solve(inputs, { halting: 'q', maxSegments: 6, puzzleIds })
  const mean = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / values.length
  const exact = answers.map(({ tokens }, at) => tokens.every((token, i) => token === all[at]!.labels[i]))
  t.match(sets['all'], {
    count: 40,
    exact_accuracy: mean(exact.map(Number)),
    steps: mean(answers.map(({ segments }) => segments)),
    q_halt_accuracy: mean(answers.map(({ qHalt }, at) => Number(qHalt >= 0 === exact[at]))),
  })
  t.ok(sets['all']!.steps! < 6 && sets['all']!.exact_accuracy! > 0, JSON.stringify(sets))
})

test('every answer is given out, as solve() would give it', async (t) => {
  const data = await tinyDataset(t)
  await using model = await HRM.create(tiny, { seed: 4 })
  const seen: number[] = []
  const answers: { inputs: number[]; tokens: number[]; qHalt: number }[] = []
  await model.evaluate(data, {
    batchSize: 3,
    onPrediction: ({ set, example, puzzleId, inputs, tokens, qHalt }) => {
      t.same([set, puzzleId], ['all', data.example('test', 'all', example).puzzleId])
      seen.push(example)
      answers.push({ inputs: [...inputs], tokens: [...tokens], qHalt })
    },
  })
  t.same(seen, [0, 1, 2, 3, 4, 5, 6])
  for (const [at, { inputs, tokens, qHalt }] of answers.entries()) {
    const { inputs: given, puzzleId } = data.example('test', 'all', at)
    t.same(inputs, [...given])
    const solved = await model.solve(inputs, { puzzleId })
    t.same([[...solved.tokens], solved.qHalt], [tokens, qHalt])
  }
  const halted: number[][] = []
  const onPrediction = ({ tokens }: { tokens: Int32Array }) => void halted.push([...tokens])
  await model.evaluate(data, { halting: 'q', onPrediction })
  t.same(
    halted,
    answers.map(({ tokens }) => tokens),
    'with halting q too; an untrained model does not halt early',
  )
  const stopped = model.evaluate(data, {
    onPrediction: () => {
      throw new Error('enough')
    },
  })
  await t.rejects(stopped, { message: 'enough' })
  t.match(await rejection(model.evaluate(data, { onPrediction: 1 as never })), { code: 'ERR_HRM_ARGUMENT' })
})

test('an evaluation with votes scores what solve() picks', async (t) => {
  const data = await tinyDataset(t)
  await using model = await HRM.create(tiny, { seed: 4 })
  const votes = { count: 3, noise: 2, pick: 'q' } as const
  const { all } = (await model.evaluate(data, { votes, maxSegments: 2 })).sets
  const examples = Array.from({ length: 7 }, (_, i) => data.example('test', 'all', i))
  let right = 0
  for (const { inputs, labels, puzzleId } of examples) {
    const { tokens } = await model.solve(inputs, { puzzleId, votes, maxSegments: 2 })
    right += tokens.filter((token, i) => token === labels[i]).length / tiny.seqLen
  }
  t.match(all, { count: 7, steps: 6, lm_loss: null })
  t.ok(Math.abs(all!.accuracy! - right / 7) < 1e-12)
  const single = (await model.evaluate(data, { votes: 1 })).sets['all']!
  const plain = (await model.evaluate(data)).sets['all']!
  t.equal(single.accuracy, plain.accuracy)
  t.equal(single.steps, plain.steps)
  t.match(await rejection(model.evaluate(data, { votes: { pick: 'label' } } as never)), { code: 'ERR_HRM_ARGUMENT' })
})

test('an abort ends the evaluation with its reason', async (t) => {
  const data = await tinyDataset(t, { train: 8, test: 200 })
  await using model = await HRM.create(tiny)
  const reason = new Error('enough')
  await t.rejects(model.evaluate(data, { signal: AbortSignal.abort(reason) }), reason)
  const abort = new AbortController()
  const evaluation = model.evaluate(data, { batchSize: 1, signal: abort.signal })
  const halting = model.evaluate(data, { halting: 'q', signal: abort.signal })
  setTimeout(() => abort.abort(reason), 3)
  await Promise.all([t.rejects(evaluation, reason), t.rejects(halting, reason)])
})

test('an evaluation of a split that is absent is refused', async (t) => {
  const data = await tinyDataset(t, { test: 0 })
  await using model = await HRM.create(tiny)
  t.match(await rejection(model.evaluate(data)), { code: 'ERR_HRM_DATASET', message: /test/ })
  t.match(await rejection(model.evaluate(data, { batch: 3 } as never)), {
    code: 'ERR_HRM_ARGUMENT',
    message: /"batch"/,
  })
  t.match(await model.train(data, { ...recipe, maxSteps: 2 }).done(), { step: 2 })
})

test('training losses are divided by the batch, the rest by the rows that count', (t) => {
  const sums = {
    count: 4,
    accuracy: 3,
    exact_accuracy: 1,
    q_halt_accuracy: 2,
    steps: 10,
    lm_loss: 16,
    q_halt_loss: 8,
    q_continue_loss: 4,
  }
  t.same(trainMetrics(sums, 8), {
    count: 4,
    accuracy: 0.75,
    exact_accuracy: 0.25,
    q_halt_accuracy: 0.5,
    steps: 2.5,
    lm_loss: 2,
    q_halt_loss: 1,
    q_continue_loss: 0.5,
  })
  const none = trainMetrics({ ...sums, count: 0 }, 8)
  t.match(none, { count: 0, accuracy: null, exact_accuracy: null, q_halt_accuracy: null, steps: null, lm_loss: 2 })
  t.end()
})

test('rows without labels enter the losses only, and a set without labels has no metrics', (t) => {
  const sums = new EvalSums()
  const result = {
    tokens: new Int32Array(2),
    qHalt: Float32Array.of(1, -1),
    qContinue: new Float32Array(2),
    steps: Int32Array.of(4, 4),
    rowStats: Float64Array.of(0, 0.5, 0, 0, 0, 1, 2, 0.25, 0, 4, 3, 0),
  }
  sums.add(result, 0, 2)
  t.match(sums.metrics(), { count: 0, accuracy: null, lm_loss: null, q_halt_loss: null })
  sums.add(result, 1, 1)
  t.same(sums.metrics(), {
    count: 1,
    accuracy: 0.75,
    exact_accuracy: 0,
    q_halt_accuracy: 1,
    steps: 4,
    lm_loss: 2,
    q_halt_loss: 1.25,
  })
  t.end()
})
