import { test, type Test } from 'tap'
import { Engine } from '#dist/engine.js'
import { HRM, type SolveResult } from '#dist/index.js'
import { native, type NativeSegmentOptions, type NativeSegmentResult } from '#dist/native.js'
import { resolveModelConfig } from '#dist/config.js'
import { Solver } from '#dist/solver.js'
import { examples, rejection, tiny } from './fixtures.js'

async function model(t: Test, options = {}): Promise<HRM> {
  const created = await HRM.create(tiny, { seed: 1, ...options })
  t.teardown(() => created.dispose())
  return created
}

/** A solver whose Q head is wide awake, so that sequences halt after different segments. */
async function haltingSolver(t: Test, maxBatch: number, maxWaitMs = 0): Promise<Solver> {
  const config = resolveModelConfig({ ...tiny, haltMaxSegments: 12 })
  const engine = new native.Engine(config, { device: 'cpu', threads: 1, precision: 'fp32', isa: '' })
  t.teardown(() => engine.dispose())
  await engine.init(3)
  const weight = Float32Array.from({ length: 2 * config.hiddenSize }, (_, i) => -3 * Math.sin(1 + i * i))
  await engine.write('inner.q_head.weight', weight)
  return new Solver(new Engine(engine), config, { maxBatch, maxWaitMs })
}

test('one example gives one result, a batch gives a list with the same results', async (t) => {
  const hrm = await model(t)
  const puzzles = examples(5)
  const list = await hrm.solve(puzzles)
  t.equal(list.length, 5)
  for (const [i, puzzle] of puzzles.entries()) {
    const alone = await hrm.solve(puzzle)
    t.same(alone, list[i])
    t.equal(alone.segments, tiny.haltMaxSegments)
    t.equal(alone.tokens.length, tiny.seqLen)
  }
  const typed = await hrm.solve<SolveResult[]>(Uint8Array.from(puzzles.flat()))
  t.same(typed, list)
  t.equal(typed[4]!.tokens.buffer, typed[0]!.tokens.buffer, 'tokens are views on one buffer')
  t.same(await hrm.solve([Int8Array.from(puzzles[0]!)]), [list[0]])
})

test('out receives the tokens', async (t) => {
  const hrm = await model(t)
  const puzzles = examples(3)
  const out = new Int32Array(3 * tiny.seqLen)
  const results = await hrm.solve(puzzles, { out })
  t.same(
    [...out],
    results.flatMap(({ tokens }) => [...tokens]),
  )
  t.equal(results[1]!.tokens.buffer, out.buffer)
})

test('solve ends as the last of its segments', async (t) => {
  const hrm = await model(t)
  const puzzle = examples(1, 7)[0]!
  const states = []
  for await (const state of hrm.segments(puzzle, { puzzleId: 2, maxSegments: 6 })) states.push(state)
  t.same(
    states.map(({ segment }) => segment),
    [1, 2, 3, 4, 5, 6],
  )
  const { tokens, qHalt, qContinue } = states[5]!
  t.same(await hrm.solve(puzzle, { puzzleId: 2, maxSegments: 6 }), { tokens, qHalt, qContinue, segments: 6 })
  let before: ArrayLike<number> = puzzle
  for (const state of states) {
    t.equal(state.changed, [...state.tokens].filter((token, i) => token !== before[i]).length)
    before = state.tokens
  }
})

test('with halting q each sequence ends with the same bits as alone, whatever the size of the batch', async (t) => {
  const puzzles = examples(40)
  const puzzleIds = puzzles.map((_, i) => i % 3)
  const alone: SolveResult[] = []
  const single = await haltingSolver(t, 1)
  for (const [i, puzzle] of puzzles.entries()) {
    alone.push((await single.solve(puzzle, { halting: 'q', puzzleId: puzzleIds[i]! })) as SolveResult)
  }
  const lengths = new Set(alone.map(({ segments }) => segments))
  t.ok(lengths.size >= 3, `sequences halt after different segments: ${[...lengths].join()}`)
  t.ok(alone.every(({ segments, qHalt, qContinue }) => segments === 12 || qHalt > qContinue))
  for (const maxBatch of [2, 7, 64]) {
    const solver = await haltingSolver(t, maxBatch)
    t.same(await solver.solve(puzzles, { halting: 'q', puzzleIds }), alone, `maxBatch ${maxBatch}`)
  }
  const last = []
  for await (const state of single.segments(puzzles[0]!, { halting: 'q' })) last.push(state)
  t.equal(last.length, alone[0]!.segments)
})

/** A solver over a device that only counts: sequence `token` halts after `lengths[token]` segments. */
function countingSolver(lengths: readonly number[], maxBatch: number) {
  const segments: { rows: number; started: number }[] = []
  let running: { length: number; done: number }[] = []
  const segment = async ({ rows, reset, inputs, keep }: NativeSegmentOptions): Promise<NativeSegmentResult> => {
    const kept = keep ? [...keep].map((slot) => running[slot]!) : running
    running = Array.from({ length: rows }, (_, slot) =>
      reset[slot] ? { length: lengths[inputs[slot * tiny.seqLen]!]!, done: 0 } : kept[slot]!,
    )
    for (const sequence of running) sequence.done++
    segments.push({ rows, started: [...reset].filter(Boolean).length })
    return {
      tokens: new Int32Array(rows * tiny.seqLen),
      qHalt: Float32Array.from(running, ({ length, done }) => (done >= length ? 1 : -1)),
      qContinue: new Float32Array(rows),
      steps: Int32Array.from(running, ({ done }) => done),
    }
  }
  const engine = new Engine({ openSession: async () => ({ segment, close: () => {} }) } as never)
  return { segments, solver: new Solver(engine, resolveModelConfig(tiny), { maxBatch, maxWaitMs: 0 }) }
}

test('a sequence that halts leaves its slot to the next one waiting, so that no slot is idle while one waits', async (t) => {
  const lengths = [1, 5, 2, 9, 3, 1, 4]
  const work = Array.from({ length: 50 }, (_, at) => (at * 5) % lengths.length)
  const { segments, solver } = countingSolver(lengths, 4)
  const results = (await solver.solve(
    work.map((token) => new Int32Array(tiny.seqLen).fill(token)),
    { halting: 'q', maxSegments: 100 },
  )) as SolveResult[]
  t.same(
    results.map(({ segments: count }) => count),
    work.map((token) => lengths[token]),
  )
  const total = work.reduce((sum, token) => sum + lengths[token]!, 0)
  t.equal(
    segments.reduce((sum, { rows }) => sum + rows, 0),
    total,
    'halted sequences are not computed any more',
  )
  const lastStart = segments.findLastIndex(({ started }) => started > 0)
  t.ok(segments.slice(0, lastStart + 1).every(({ rows }) => rows === 4))
  t.ok(segments.length - lastStart <= Math.max(...lengths), 'after the last start only what runs is left')
})

test('calls at the same time run in the same segments', async (t) => {
  const { segments, solver } = countingSolver([3], 4)
  await Promise.all(Array.from({ length: 8 }, () => solver.solve(new Int32Array(tiny.seqLen), { halting: 'q' })))
  t.same(
    segments.map(({ rows }) => rows),
    [4, 4, 4, 4, 4, 4],
    'eight calls of three segments in two batches of four',
  )
})

test('calls at the same time share batches and do not change each other', async (t) => {
  const solver = await haltingSolver(t, 4, 5)
  const puzzles = examples(12)
  const alone = []
  for (const puzzle of puzzles) alone.push(await solver.solve(puzzle, { halting: 'q' }))
  const together = await Promise.all(puzzles.map((puzzle) => solver.solve(puzzle, { halting: 'q' })))
  t.same(together, alone)
  const [short, long] = await Promise.all([
    solver.solve(puzzles[0]!, { maxSegments: 1 }),
    solver.solve(puzzles.slice(0, 9), { maxSegments: 9 }),
  ])
  t.equal((short as SolveResult).segments, 1)
  t.ok((long as SolveResult[]).every(({ segments }) => segments === 9))
})

test('an idle solver waits for more calls until the batch is full', async (t) => {
  const solver = await haltingSolver(t, 2, 60_000)
  const puzzles = examples(3)
  const begin = performance.now()
  await Promise.all([solver.solve(puzzles[0]!), solver.solve(puzzles[1]!)])
  t.ok(performance.now() - begin < 30_000, 'a full batch starts at once')
  const waiting = await haltingSolver(t, 2, 40)
  const start = performance.now()
  await waiting.solve(puzzles[2]!)
  t.ok(performance.now() - start >= 35, 'a part of a batch starts after maxWaitMs')
})

test('a small call does not wait for a large one to end', async (t) => {
  const solver = await haltingSolver(t, 2)
  const order: string[] = []
  await Promise.all([
    solver.solve(examples(60)).then(() => order.push('large')),
    solver.solve(examples(1, 99)).then(() => order.push('small')),
  ])
  t.same(order, ['small', 'large'])
})

test('a change of the weights falls between sequences, never inside one', async (t) => {
  const log: string[] = []
  let session = 0
  const segment = async ({ rows, reset }: { rows: number; reset: Uint8Array }) => {
    log.push([...reset].map((flag) => (flag ? 'start' : 'go on')).join(' '))
    session++
    return {
      tokens: new Int32Array(rows * tiny.seqLen),
      qHalt: new Float32Array(rows),
      qContinue: new Float32Array(rows),
      steps: new Int32Array(rows).fill(((session - 1) % 3) + 1),
    }
  }
  const engine = new Engine({ openSession: async () => ({ segment, close: () => {} }) } as never)
  const config = resolveModelConfig(tiny)
  const solver = new Solver(engine, config, { maxBatch: 2, maxWaitMs: 0 })
  const solving = solver.solve(examples(4), { maxSegments: 3 })
  const changing = engine.weights.change().then((release) => {
    log.push('change')
    release()
  })
  await Promise.all([solving, changing])
  const batch = ['start start', 'go on go on', 'go on go on']
  t.same(log, [...batch, 'change', ...batch])
})

test('a segment that fails rejects the calls in it, and the next call starts afresh', async (t) => {
  let sessions = 0
  const failing = { segment: () => Promise.reject(new Error('device lost')), close: () => {} }
  const engine = new Engine({ openSession: async () => (sessions++, failing) } as never)
  const solver = new Solver(engine, resolveModelConfig(tiny), { maxBatch: 4, maxWaitMs: 0 })
  const calls = [solver.solve(examples(1)[0]!), solver.solve(examples(2)), solver.solve(examples(9))]
  for (const call of calls) t.match(await rejection(call), { message: 'device lost' })
  t.match(await rejection(solver.solve(examples(1)[0]!)), { message: 'device lost' })
  t.equal(sessions, 2)
})

test('the input is copied at the call', async (t) => {
  const hrm = await model(t)
  const puzzle = Int32Array.from(examples(1)[0]!)
  const expected = await hrm.solve(puzzle)
  const pending = hrm.solve(puzzle)
  puzzle.fill(0)
  t.same(await pending, expected)
})

test('wrong inputs are refused before any work, saying what was expected and found', async (t) => {
  const hrm = await model(t)
  const good = examples(1)[0]!
  const cases: [unknown, unknown, string, string, RegExp][] = [
    [undefined, undefined, 'TypeError', 'ERR_HRM_ARGUMENT', /got undefined/],
    ['12345', undefined, 'TypeError', 'ERR_HRM_ARGUMENT', /got "12345"/],
    [Float32Array.from(good), undefined, 'TypeError', 'ERR_HRM_ARGUMENT', /Float32Array/],
    [[1, 2, 3], undefined, 'HRMError', 'ERR_HRM_SHAPE', /expected 5 tokens.*got 3/],
    [[], undefined, 'HRMError', 'ERR_HRM_SHAPE', /got 0/],
    [new Uint8Array(8), undefined, 'HRMError', 'ERR_HRM_SHAPE', /got 8/],
    [[good, [1, 2]], undefined, 'HRMError', 'ERR_HRM_SHAPE', /input\[1\], got 2/],
    [[good, 'x'], undefined, 'TypeError', 'ERR_HRM_ARGUMENT', /input\[1\]/],
    [[1, 2, 3, 4, 7], undefined, 'RangeError', 'ERR_HRM_ARGUMENT', /input\[4\].*0…6, got 7/],
    [[1, 2, 3, 4, -1], undefined, 'RangeError', 'ERR_HRM_ARGUMENT', /got -1/],
    [[1, 2, 3, 4, 1.5], undefined, 'RangeError', 'ERR_HRM_ARGUMENT', /got 1.5/],
    [[1, 2, 3, 4, NaN], undefined, 'RangeError', 'ERR_HRM_ARGUMENT', /got NaN/],
    [[1, 2, 3, 4, '5'], undefined, 'TypeError', 'ERR_HRM_ARGUMENT', /got "5"/],
    [[1, 2, 3, 4, 5n], undefined, 'TypeError', 'ERR_HRM_ARGUMENT', /got 5n/],
    [good, { puzzleId: 3 }, 'RangeError', 'ERR_HRM_ARGUMENT', /puzzleId.*0…2, got 3/],
    [good, { puzzleId: '1' }, 'TypeError', 'ERR_HRM_ARGUMENT', /puzzleId/],
    [good, { puzzleIds: [0, 0] }, 'HRMError', 'ERR_HRM_SHAPE', /1 puzzleIds.*got 2/],
    [good, { puzzleIds: [0], puzzleId: 0 }, 'TypeError', 'ERR_HRM_ARGUMENT', /both/],
    [good, { maxSegments: 0 }, 'RangeError', 'ERR_HRM_ARGUMENT', /maxSegments/],
    [good, { maxSegments: '4' }, 'TypeError', 'ERR_HRM_ARGUMENT', /maxSegments/],
    [good, { halting: 'soon' }, 'RangeError', 'ERR_HRM_ARGUMENT', /max, q/],
    [good, { votes: 0 }, 'RangeError', 'ERR_HRM_ARGUMENT', /votes.count.*1…4096, got 0/],
    [good, { out: new Int32Array(4) }, 'HRMError', 'ERR_HRM_SHAPE', /5 tokens, got 4/],
    [good, { out: new Uint8Array(5) }, 'TypeError', 'ERR_HRM_ARGUMENT', /Int32Array/],
    [good, { signal: {} }, 'TypeError', 'ERR_HRM_ARGUMENT', /AbortSignal/],
    [good, { maxsegments: 4 }, 'TypeError', 'ERR_HRM_ARGUMENT', /got "maxsegments"/],
    [good, 4, 'TypeError', 'ERR_HRM_ARGUMENT', /options object/],
  ]
  for (const [input, options, name, code, message] of cases) {
    const error = await rejection(hrm.solve(input as number[], options as object))
    t.match(error, { name, code, message }, `${String(message)}`)
  }
  t.throws(() => hrm.segments([good, good] as never), { code: 'ERR_HRM_SHAPE' })
  t.throws(() => hrm.segments(good, { out: 1 } as never), { code: 'ERR_HRM_ARGUMENT' })
})

test('an abort rejects with its reason and leaves the other calls alone', async (t) => {
  const solver = await haltingSolver(t, 4)
  const puzzles = examples(8)
  const expected = await solver.solve(puzzles)
  const reason = new Error('enough')
  await t.rejects(solver.solve(puzzles, { signal: AbortSignal.abort(reason) }), reason)
  const abort = new AbortController()
  const aborted = solver.solve(examples(3000), { signal: abort.signal })
  const other = solver.solve(puzzles)
  setTimeout(() => abort.abort(reason), 5)
  await t.rejects(aborted, reason)
  t.same(await other, expected)
  const segments = solver.segments(puzzles[0]!, { signal: abort.signal })
  await t.rejects(segments.next(), reason)
})

test('calls on a disposed model reject, also those in progress', async (t) => {
  const hrm = await HRM.create(tiny)
  const pending = hrm.solve(examples(500))
  const iterator = hrm.segments(examples(1)[0]!)
  await iterator.next()
  hrm.dispose()
  hrm.dispose()
  t.match(await rejection(pending), { code: 'ERR_HRM_DISPOSED' })
  t.match(await rejection(iterator.next() as Promise<unknown>), { code: 'ERR_HRM_DISPOSED' })
  t.match(await rejection(hrm.solve(examples(1)[0]!)), { code: 'ERR_HRM_DISPOSED' })
  t.throws(() => hrm.segments(examples(1)[0]!), { code: 'ERR_HRM_DISPOSED' })
  t.match(await rejection(hrm.save('unused')), { code: 'ERR_HRM_DISPOSED' })
  t.match(await rejection(hrm.train(undefined as never).done()), { code: 'ERR_HRM_DISPOSED' })
  t.match(await rejection(hrm.evaluate(undefined as never)), { code: 'ERR_HRM_DISPOSED' })
})

test('a model can be declared with using and await using', async (t) => {
  let kept: HRM
  {
    using hrm = await HRM.create(tiny)
    kept = hrm
    await hrm.solve(examples(1)[0]!)
  }
  t.match(await rejection(kept.solve(examples(1)[0]!)), { code: 'ERR_HRM_DISPOSED' })
  let pending: Promise<unknown>
  {
    await using hrm = await HRM.create(tiny)
    pending = rejection(hrm.solve(examples(200)))
  }
  t.match(await pending, { code: 'ERR_HRM_DISPOSED' })
})
