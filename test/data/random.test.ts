import { test } from 'tap'
import { philox4x32, RandomStream } from '#dist/random.js'

function words(key: [number, number], counter: [number, number, number, number]): string {
  const out = new Uint32Array(4)
  philox4x32(key, counter, out)
  return [...out].map((word) => word.toString(16).padStart(8, '0')).join(' ')
}

void test('Philox4x32-10 gives the known answers of its authors', async (t) => {
  t.equal(words([0, 0], [0, 0, 0, 0]), '6627e8d5 e169c58d bc57ac4c 9b00dbd8')
  const ones = 0xffffffff
  t.equal(words([ones, ones], [ones, ones, ones, ones]), '408f276d 41c83b0e a20bc7c6 6d5451fd')
  t.equal(
    words([0xa4093822, 0x299f31d0], [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344]),
    'd16cfe09 94fdcceb 5001e420 24126ea1',
  )
})

function take(stream: RandomStream): number[] {
  return Array.from({ length: 9 }, () => stream.nextWord())
}

void test('a stream is determined by seed, purpose and index', async (t) => {
  const reference = take(new RandomStream(7, 'grid', 3))
  t.same(take(new RandomStream(7, 'grid', 3)), reference)
  t.notSame(take(new RandomStream(8, 'grid', 3)), reference)
  t.notSame(take(new RandomStream(7 + 2 ** 32, 'grid', 3)), reference, 'the upper half of the seed counts')
  t.notSame(take(new RandomStream(7, 'puzzle', 3)), reference)
  t.notSame(take(new RandomStream(7, 'grid', 4)), reference)
  t.notSame(take(new RandomStream(7, 'grid', 3 + 2 ** 32)), reference, 'the upper half of the index counts')
  t.equal(new Set(reference).size, 9, 'blocks differ from each other')
})

void test('bounded integers are uniform', async (t) => {
  const stream = new RandomStream(1, 'puzzle', 0)
  for (const bound of [1, 2, 3, 10, 81]) {
    const counts = Array.from({ length: bound }, () => 0)
    const draws = 20_000
    for (let draw = 0; draw < draws; draw++) counts[stream.nextBelow(bound)]!++
    const mean = draws / bound
    const chiSquare = counts.reduce((sum, count) => sum + (count - mean) ** 2 / mean, 0)
    // Mean bound-1, standard deviation sqrt(2 (bound-1)): five of them above is a chance below 1e-5.
    t.ok(chiSquare <= bound - 1 + 5 * Math.sqrt(2 * bound), `bound ${bound}: chi-square ${chiSquare}`)
  }
  // A bound near 2^32 shows the bias of plain scaling: every third value would come up twice as often.
  const thirds = [0, 0, 0]
  for (let draw = 0; draw < 3000; draw++) thirds[stream.nextBelow(3 * 2 ** 30) % 3]!++
  t.ok(
    thirds.every((count) => count > 850 && count < 1150),
    thirds.join(),
  )
})

void test('permutations hold every element and all orders come up', async (t) => {
  const seen = new Set<string>()
  for (let index = 0; index < 400; index++) seen.add(new RandomStream(0, 'groupOrder', index).permutation(4).join())
  t.equal(seen.size, 24)
  for (const order of seen) t.same(order.split(',').toSorted(), ['0', '1', '2', '3'])
})

void test('samples are distinct, of the asked size and reach every element', async (t) => {
  const seen = new Set<number>()
  for (let index = 0; index < 200; index++) {
    const sample = new RandomStream(0, 'groupDraw', index).sample(9, 4)
    t.equal(new Set(sample).size, 4)
    for (const value of sample) seen.add(value)
  }
  t.same([...seen].toSorted(), [0, 1, 2, 3, 4, 5, 6, 7, 8])
  t.same(new RandomStream(0, 'groupDraw', 0).sample(6, 6).toSorted(), [0, 1, 2, 3, 4, 5])
})

void test('seeds that a double cannot hold are refused', async (t) => {
  for (const seed of [-1, 1.5, 2 ** 53, NaN]) {
    t.throws(() => new RandomStream(seed, 'grid', 0), { name: 'RangeError', code: 'ERR_HRM_ARGUMENT' })
  }
})
