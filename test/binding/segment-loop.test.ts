import { test } from 'tap'
import { native, type NativeSession } from '#dist/native.js'
import { config, options, segmentOf } from './small-engine.js'

const rows = 3
const { inputs, puzzleIds } = segmentOf(rows)

async function openEngine() {
  const engine = new native.Engine(config, options)
  await engine.init(1)
  return engine
}

/** Segments one by one until a row is done, as the loop of one call does it. */
async function oneByOne(session: NativeSession, limits: Int32Array, adaptive: Uint8Array) {
  const reset = new Uint8Array(rows).fill(1)
  for (;;) {
    const result = await session.segment({ rows, reset: reset.slice(), inputs, puzzleIds })
    reset.fill(0)
    const done = limits.some(
      (limit, b) => result.steps[b]! >= limit || (adaptive[b]! > 0 && result.qHalt[b]! > result.qContinue[b]!),
    )
    if (done) return result
  }
}

test('segments until a row is done give what as many single segments give', async (t) => {
  const engine = await openEngine()
  // Untrained Q heads start at -5 and barely move: this one halts in some later segment.
  await engine.write('inner.q_head.bias', new Float32Array(2))
  const weights = (await engine.read('inner.q_head.weight')) as Float32Array
  await engine.write(
    'inner.q_head.weight',
    weights.map((_, i) => Math.sin(i)),
  )
  const cases: [number[], number[]][] = [
    [
      [4, 6, 9],
      [0, 0, 0],
    ],
    [
      [1, 2, 3],
      [0, 0, 0],
    ],
    [
      [40, 40, 40],
      [1, 0, 1],
    ],
    [
      [25, 40, 40],
      [0, 1, 0],
    ],
  ]
  for (const [limits, adaptive] of cases) {
    const at = { limits: Int32Array.from(limits), adaptive: Uint8Array.from(adaptive) }
    const [looping, single] = [await engine.openSession(rows), await engine.openSession(rows)]
    const reset = new Uint8Array(rows).fill(1)
    const result = await looping.segment({ rows, reset, inputs, puzzleIds, ...at })
    const expected = await oneByOne(single, at.limits, at.adaptive)
    t.ok(expected.steps[0]! <= Math.min(...limits))
    t.same(result, expected, `${expected.steps[0]} segments`)
    t.same(await looping.read('carry.z_H'), await single.read('carry.z_H'))
    // Both go on from there.
    const more = { rows, reset: new Uint8Array(rows), inputs, puzzleIds }
    t.same(await looping.segment(more), await single.segment(more))
    looping.close()
    single.close()
  }
  engine.dispose()
})

test('limits that cannot be are refused', async (t) => {
  const engine = await openEngine()
  const session = await engine.openSession(rows)
  const reset = new Uint8Array(rows).fill(1)
  const adaptive = new Uint8Array(rows)
  const segment = (more: object) => session.segment({ rows, reset, inputs, puzzleIds, adaptive, ...more })
  await t.rejects(segment({ limits: Int32Array.of(1, 2) }), { code: 'ERR_HRM_SHAPE' })
  await t.rejects(segment({ limits: Int32Array.of(1, 2, 0) }), { code: 'ERR_HRM_ARGUMENT' })
  await t.rejects(segment({ limits: new Int32Array(0) }), RangeError)
  await t.rejects(segment({ limits: Int32Array.of(1, 2, 3), residual: true }), { code: 'ERR_HRM_SHAPE' })
  engine.dispose()
})
