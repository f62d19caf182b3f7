import fc from 'fast-check'
import { test, type Test } from 'tap'
import { HRM, type SolveResult, verify, type ViewKind, type ViewTask, type VoteOptions } from '#dist/index.js'
import { resolveModelConfig } from '#dist/config.js'
import { native, type NativeEngine } from '#dist/native.js'
import { RandomStream } from '#dist/random.js'
import { digitsToTokens, generatePuzzle, sudokuVocabSize, type SudokuSize } from '#dist/sudoku/index.js'
import { applyView, invertView, Views } from '#dist/views.js'
import { pickAnswer } from '#dist/votes.js'
import { examples, rejection, tiny } from './fixtures.js'

const small = { vocabSize: 6, seqLen: 16, hiddenSize: 16, numHeads: 2, hLayers: 1, lLayers: 1, haltMaxSegments: 3 }

async function model(t: Test, options = {}, config: object = small): Promise<HRM> {
  const created = await HRM.create(config as never, { seed: 1, threads: 1, ...options })
  t.teardown(() => created.dispose())
  return created
}

const holes = { 4: 8, 6: 18, 9: 40 }

/** A Sudoku with its solution, as tokens. */
function sudoku(size: SudokuSize, seed: number): { puzzle: Uint8Array; solution: Uint8Array } {
  const { puzzle, solution } = generatePuzzle(size, holes[size], new RandomStream(seed, 'puzzle', 0))
  return { puzzle: digitsToTokens(puzzle), solution: digitsToTokens(solution) }
}

const puzzles = Array.from({ length: 6 }, (_, i) => [...sudoku(4, i).puzzle])

const kinds: ViewKind[][] = [['relabel'], ['dihedral'], ['relabel', 'dihedral']]

test('every view is undone by its inverse', (t) => {
  const sizes: [ViewTask, number, number][] = [
    ['sudoku', 16, 6],
    ['sudoku', 36, 8],
    ['sudoku', 81, 11],
    ['maze', 49, 6],
    ['arc', 900, 12],
    ['grid', 12, 5],
    ['grid', 9, 9],
  ]
  fc.assert(
    fc.property(
      fc.constantFrom(...sizes),
      fc.constantFrom(...kinds),
      fc.nat(),
      ([task, seqLen, vocabSize], of, seed) => {
        const views = Views.of(task, of, { seqLen, vocabSize })!
        const random = new RandomStream(seed, 'puzzle', 1)
        const example = Int32Array.from({ length: seqLen }, () => random.nextBelow(vocabSize))
        const drawn = views.draw(4, seed)
        t.same(applyView(drawn[0]!, example), example)
        for (const view of drawn) t.same(applyView(invertView(view), applyView(view, example)), example)
      },
    ),
    { numRuns: 60 },
  )
  t.end()
})

test('a Sudoku stays one in every view: its solution solves it there too', (t) => {
  for (const size of [4, 6, 9] as const) {
    const limits = { seqLen: size * size, vocabSize: sudokuVocabSize(size) }
    const { puzzle, solution } = sudoku(size, 3)
    const views = Views.of('sudoku', ['relabel', 'dihedral'], limits)!
    for (const view of views.draw(24, 5)) {
      const [shown, answer] = [applyView(view, puzzle), applyView(view, solution)]
      t.same(verify('sudoku', shown, answer), { valid: true })
      t.equal(shown.filter((token) => token === 1).length, puzzle.filter((token) => token === 1).length)
    }
  }
  t.equal(
    Views.of('sudoku', ['dihedral'], { seqLen: 36, vocabSize: 8 })!.count,
    4,
    'boxes of 2x3 cannot lie on their side',
  )
  t.equal(Views.of('sudoku', ['dihedral'], { seqLen: 81, vocabSize: 11 })!.count, 8)
  t.equal(Views.of('sudoku', ['relabel', 'dihedral'], { seqLen: 16, vocabSize: 6 })!.count, 24 * 8)
  t.end()
})

test('views are different ones while there are any, and more of them begin with fewer', (t) => {
  const views = Views.of('sudoku', ['relabel', 'dihedral'], { seqLen: 16, vocabSize: 6 })!
  const all = views.draw(views.count, 7)
  t.equal(new Set(all.map(({ tokens, source }) => `${tokens.join()};${source.join()}`)).size, views.count)
  t.same(views.draw(10, 7), all.slice(0, 10))
  t.notSame(views.draw(10, 8), all.slice(0, 10))
  const maze = Views.of('maze', ['relabel'], { seqLen: 25, vocabSize: 6 })!.draw(2, 0)
  t.same([...maze[1]!.tokens], [0, 1, 2, 4, 3, 5], 'start and goal change places')
  t.end()
})

/** An answer made by hand. */
function answer(tokens: number[], qHalt: number, residual = 0): SolveResult {
  return { tokens: Int32Array.from(tokens), qHalt, qContinue: 0, segments: 1, residual }
}

test('the majority is that of whole answers; ties go to the higher mean q_halt, then to the first', (t) => {
  const [a, b, c] = [
    [1, 2],
    [1, 3],
    [2, 3],
  ] as [number[], number[], number[]]
  const pick = (answers: SolveResult[]) => pickAnswer(answers, 'majority')
  t.equal(pick([answer(a, 9), answer(b, -5), answer(b, -5)]), 1, 'two against one, however sure that one is')
  // Cell by cell the majority would be [1, 3] here; as whole answers all three are as frequent.
  t.equal(pick([answer(a, 0), answer(b, 1), answer(c, 2)]), 2)
  t.equal(pick([answer(a, 1), answer(b, 4), answer(b, 0), answer(a, 2)]), 1, 'means 1.5 and 2')
  t.equal(pick([answer(b, 1), answer(a, 1), answer(a, 1), answer(b, 1)]), 0, 'equal means')
  t.equal(pick([answer(c, -3)]), 0)
  t.end()
})

test('q takes the highest q_halt, residual the smallest residual, the verifier the first accepted answer', (t) => {
  const answers = [answer([1], 0, 0.3), answer([2], 5, 0.2), answer([3], 5, 0.1), answer([1], -1, 0.1)]
  t.equal(pickAnswer(answers, 'q'), 1)
  t.equal(pickAnswer(answers, 'residual'), 2)
  t.equal(
    pickAnswer(answers, 'verifier', ([token]) => token! >= 2),
    1,
  )
  t.equal(
    pickAnswer(answers, 'verifier', () => false),
    0,
    'none accepted: by majority',
  )
  t.end()
})

test('one vote is the plain answer, bit for bit', async (t) => {
  const hrm = await model(t)
  const plain = await hrm.solve(puzzles)
  t.same(await hrm.solve(puzzles, { votes: 1 }), plain)
  const voted = await hrm.solve(puzzles, { votes: { count: 1 } })
  voted.forEach((result, i) => {
    const { votes, ...rest } = result
    t.same(rest, plain[i])
    t.match(votes, { pick: 'majority', chosen: 0, agreement: 1, segments: 3 })
  })
  const many = await hrm.solve(puzzles, { votes: { count: 3, noise: 1 } })
  many.forEach(({ votes }, i) => t.same(votes!.answers[0], plain[i], 'the first run is the plain one'))
})

test('results do not depend on batch or threads, and one example is answered as in a list', async (t) => {
  const votes = {
    count: 5,
    noise: 2,
    views: ['relabel', 'dihedral'],
    task: 'sudoku',
    seed: 3,
    pick: 'residual',
  } as const
  const expected = await (await model(t, { maxBatch: 1 })).solve(puzzles, { votes })
  t.ok(
    expected.some(({ votes }) => votes!.agreement < 1),
    'runs differ',
  )
  for (const options of [{ maxBatch: 3 }, { maxBatch: 64, threads: 2 }]) {
    const hrm = await model(t, options)
    t.same(await hrm.solve(puzzles, { votes }), expected)
    t.same(await hrm.solve(puzzles[2]!, { votes }), expected[2])
  }
})

test('noise is drawn from seed and run alone; none of it changes nothing', async (t) => {
  const hrm = await model(t)
  const runs = async (votes: VoteOptions) => (await hrm.solve(puzzles[0]!, { votes })).votes!.answers
  const logits = (answers: SolveResult[]) => answers.map(({ qHalt, residual }) => [qHalt, residual])
  const drawn = await runs({ count: 4, noise: 1, seed: 5, pick: 'residual' })
  t.equal(new Set(logits(drawn).map(String)).size, 4, 'every run has other noise')
  t.same(await runs({ count: 4, noise: 1, seed: 5, pick: 'residual' }), drawn)
  t.same((await runs({ count: 6, noise: 1, seed: 5, pick: 'residual' })).slice(0, 4), drawn)
  t.notSame(logits(await runs({ count: 4, noise: 1, seed: 6, pick: 'residual' })), logits(drawn))
  t.notSame(logits(await runs({ count: 4, noise: 1, seed: 5 + 2 ** 32, pick: 'residual' })), logits(drawn))
  const views = { count: 4, views: ['relabel'], task: 'sudoku' } as const
  t.same(await runs({ ...views, noise: 0 }), await runs(views))
})

/** Sets all weights but the start states to 0. */
async function clearWeights(engine: NativeEngine): Promise<void> {
  for (const { name, dtype, shape } of engine.modelTensors()) {
    if (/H_init|L_init/.test(name)) continue
    const Floats = dtype === 'F64' ? Float64Array : Float32Array
    await engine.write(name, new Floats(shape.reduce((product, side) => product * side, 1)))
  }
}

test('noise is normal, with the asked deviation around the start states', async (t) => {
  const sigma = 0.5
  const start = 3
  const config = resolveModelConfig({ ...tiny, hiddenSize: 256, hCycles: 1, lCycles: 1 })
  for (const precision of ['fp32', 'fp64'] as const) {
    const engine = new native.Engine(config, { device: 'cpu', threads: 1, precision, isa: '' })
    t.teardown(() => engine.dispose())
    await engine.init(2)
    await clearWeights(engine)
    const Floats = precision === 'fp64' ? Float64Array : Float32Array
    await engine.write('inner.H_init', new Floats(256))
    await engine.write('inner.L_init', new Floats(256).fill(start))
    const session = await engine.openSession(2)
    await session.segment({
      rows: 2,
      reset: Uint8Array.of(1, 1),
      inputs: new Int32Array(2 * tiny.seqLen),
      puzzleIds: new Int32Array(2),
      noise: { sigmas: Float64Array.of(0, sigma), keys: Int32Array.of(0, 0, 1, 9, 0, 1) },
    })
    // Without weights z_l is (start + both noises) / its root mean square, position by position.
    const states = [...((await session.read('carry.z_L')) as Float32Array)]
    const half = states.length / 2
    t.ok(
      states.slice(0, half).every((value) => Math.abs(value - 1) < 1e-5),
      'a row without noise keeps its start states',
    )
    const standardised: number[] = []
    const ratios: number[] = []
    for (let from = half; from < states.length; from += 256) {
      const position = states.slice(from, from + 256)
      const mean = position.reduce((sum, value) => sum + value / 256, 0)
      const deviation = Math.sqrt(position.reduce((sum, value) => sum + (value - mean) ** 2 / 256, 0))
      ratios.push(deviation / mean)
      standardised.push(...position.map((value) => (value - mean) / deviation))
    }
    const ratio = ratios.reduce((sum, value) => sum + value, 0) / ratios.length
    const expected = (sigma * Math.SQRT2) / start
    t.ok(Math.abs(ratio / expected - 1) < 4 / Math.sqrt(2 * half), `${ratio}, expected ${expected}`)
    const kurtosis = standardised.reduce((sum, value) => sum + value ** 4, 0) / half
    t.ok(Math.abs(kurtosis - 3) < 4 * Math.sqrt(24 / half), `${kurtosis}`)
    session.close()
  }
})

test('the residual is a number above 0 that vanishes at a fixed point', async (t) => {
  const config = resolveModelConfig(tiny)
  const engine = new native.Engine(config, { device: 'cpu', threads: 1, precision: 'fp64', isa: '' })
  t.teardown(() => engine.dispose())
  await engine.init(2)
  const segment = async (session: Awaited<ReturnType<typeof engine.openSession>>, first: boolean) => {
    const before = (await session.read('carry.z_H')) as Float64Array
    const { residual } = await session.segment({
      rows: 1,
      reset: Uint8Array.of(first ? 1 : 0),
      inputs: Int32Array.from({ length: tiny.seqLen }, (_, i) => i),
      puzzleIds: new Int32Array(1),
      residual: true,
    })
    return { before, after: (await session.read('carry.z_H')) as Float64Array, residual: residual![0]! }
  }
  const session = await engine.openSession(1)
  await segment(session, true)
  const { before, after, residual } = await segment(session, false)
  const norm = (values: Float64Array) => Math.sqrt(values.reduce((sum, value) => sum + value * value, 0))
  t.ok(Math.abs(residual - norm(after.map((value, i) => value - before[i]!)) / norm(after)) < 1e-12, `${residual}`)
  t.ok(residual > 1e-6)
  // Without weights both states only turn towards each other.
  await clearWeights(engine)
  const still = await engine.openSession(1)
  const residuals = []
  for (let i = 0; i < 20; i++) residuals.push((await segment(still, i === 0)).residual)
  t.ok(residuals[0]! > 0.01, `${residuals[0]}`)
  t.ok(residuals[19]! < 1e-9, `${residuals[19]}`)
})

test('the verifier ends the runs of an example at the first valid answer', async (t) => {
  const { solution } = sudoku(4, 1)
  const hrm = await model(t)
  const votes = { count: 4, noise: 1, pick: 'verifier', task: 'sudoku' } as const
  const [result] = await hrm.solve([solution], { votes })
  t.equal(result!.votes!.answers.length, 4, 'an untrained model solves nothing')
  t.equal(result!.votes!.valid, false)
  t.equal(result!.votes!.segments, 12)
})

test('runs are spread over several models, and every answer names its cost', async (t) => {
  const [hrm, other, third] = [await model(t), await model(t, { seed: 2 }), await model(t, { seed: 3 })]
  const result = await hrm.solve(puzzles[0]!, { votes: { models: [other, third] } })
  t.same(
    result.votes!.answers,
    await Promise.all([hrm, other, third].map((voter) => voter.solve(puzzles[0]!))),
    'one run each by default',
  )
  t.equal(result.votes!.segments, 9)
  const views = { views: ['relabel'], task: 'sudoku', count: 4 } as const
  const [both, alone] = [
    await hrm.solve(puzzles[0]!, { votes: { ...views, models: [other] } }),
    await other.solve(puzzles[0]!, { votes: { ...views, count: 2 } }),
  ]
  t.same([both.votes!.answers[1], both.votes!.answers[3]], alone.votes!.answers)
})

test('out receives the picked answers, and an abort ends all runs', async (t) => {
  const hrm = await model(t)
  const out = new Int32Array(puzzles.length * 16)
  const results = await hrm.solve(puzzles, { out, votes: { count: 3, noise: 1 } })
  t.same(
    [...out],
    results.flatMap(({ tokens }) => [...tokens]),
  )
  for (const { tokens, votes } of results) {
    t.equal(tokens.buffer, out.buffer)
    t.same(tokens, votes!.answers[votes!.chosen]!.tokens)
  }
  const reason = new Error('enough')
  const abort = new AbortController()
  const solving = hrm.solve(puzzles, { signal: abort.signal, maxSegments: 5000, votes: 8 })
  setTimeout(() => abort.abort(reason), 5)
  await t.rejects(solving, reason)
})

test('votes that cannot be held are refused, saying what to do', async (t) => {
  const hrm = await model(t)
  const foreign = await model(t, {}, tiny)
  const disposed = await HRM.create(small as never)
  disposed.dispose()
  const cases: [unknown, string, RegExp][] = [
    [0, 'RangeError', /votes\.count.*1…4096, got 0/],
    [1.5, 'RangeError', /votes\.count/],
    ['8', 'TypeError', /votes.*got "8"/],
    [{ runs: 8 }, 'TypeError', /count, views.*got "runs"/],
    [{ count: 4, noise: 0 }, 'RangeError', /at most 1.*got 4; add noise or other views/],
    [{ count: 9, views: ['dihedral'], task: 'sudoku' }, 'RangeError', /at most 8/],
    [{ views: ['relabel'] }, 'TypeError', /votes\.task with votes\.views.*sudoku, maze/],
    [{ views: ['relabel'], task: 'arc' }, 'RangeError', /sizes of votes\.task arc/],
    [{ views: ['dihedral'], task: 'chess' }, 'RangeError', /votes\.task/],
    [{ views: 'relabel', task: 'sudoku' }, 'TypeError', /votes\.views to be a list/],
    [{ views: ['mirror'], task: 'sudoku' }, 'RangeError', /relabel, dihedral, got "mirror"/],
    [{ views: [undefined], task: 'sudoku' }, 'TypeError', /votes\.views\[0\]/],
    [{ noise: -1 }, 'RangeError', /votes\.noise/],
    [{ noise: NaN }, 'RangeError', /votes\.noise/],
    [{ seed: -1 }, 'RangeError', /votes\.seed/],
    [{ pick: 'label' }, 'RangeError', /majority, q, residual, verifier/],
    [{ pick: 'verifier' }, 'TypeError', /known rules.*sudoku.*got none/],
    [{ pick: 'verifier', task: 'grid' }, 'TypeError', /known rules.*got grid/],
    [{ models: hrm }, 'TypeError', /votes\.models to be a list/],
    [{ models: ['run'] }, 'TypeError', /votes\.models\[0\] to be a model, got "run"/],
    [{ models: [hrm] }, 'RangeError', /each once/],
    [{ models: [foreign] }, 'RangeError', /16 tokens of 6 values.*got 5 of 7/],
    [{ count: 1, models: [await model(t, { seed: 2 })] }, 'RangeError', /at least 2, one for each model/],
  ]
  for (const [votes, name, message] of cases) {
    const error = await rejection(hrm.solve(puzzles[0]!, { votes } as never))
    t.match(error, { name, code: 'ERR_HRM_ARGUMENT', message }, String(message))
  }
  const gone = hrm.solve(puzzles[0]!, { votes: { models: [disposed] } })
  t.match(await rejection(gone), { code: 'ERR_HRM_DISPOSED' })
  const upright = foreign.solve(examples(1)[0]!, { votes: { views: ['dihedral'], task: 'grid' } })
  t.match(await rejection(upright), { code: 'ERR_HRM_ARGUMENT', message: /got dihedral, which does not/ })
})
