// Encoding, crops, augmentations and hashes against what the official code computes.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { test } from 'tap'
import { augmentedName, augmentGrid, parseAugmentedName, transformGrid, undoAugmentation } from '#dist/arc/augment.js'
import { cropGrid, encodeGrid, gridCorner, isBordered } from '#dist/arc/encode.js'
import { dihedralInverse } from '#dist/dihedral.js'
import { type ArcGrid, gridKey, gridRows } from '#dist/arc/grid.js'
import { puzzleHash } from '#dist/arc/hash.js'
import { golden, unlessGolden } from '../data/fixtures.js'
import { augmentation, grid, gridOf } from './fixtures.js'

const folder = unlessGolden('ops') ? join(import.meta.dirname, '../../../test/golden/ops') : join(golden, 'ops')

type Rows = number[][]

interface Facts {
  dihedral: { input: Rows; transforms: Rows[]; inverse_of_transform: Rows[]; DIHEDRAL_INVERSE: number[] }
  arc_encode: {
    input: Rows
    output: Rows
    pad_r: number
    pad_c: number
    randint_ranges: [number, number][]
    inp_seq: number[]
    out_seq: number[]
    crop_inp: Rows
    crop_out: Rows
  }[]
  arc_crop: { grid: number[]; shape: [number, number]; cropped: Rows }[]
  arc_augment: { grid: Rows; augmented: { name: string; augmented: Rows; inverse: Rows }[] }
  arc_hash: { examples: Record<string, [Rows, Rows][]>; hash: string }
}

const facts = JSON.parse(readFileSync(join(folder, 'ops.json'), 'utf8')) as Facts

function encoded(image: ArcGrid, row: number, column: number): number[] {
  const out = new Uint8Array(900).fill(7)
  encodeGrid(image, row, column, out)
  return [...out]
}

test('the eight transforms and their inverses are the official ones', async (t) => {
  const { input, transforms, inverse_of_transform, DIHEDRAL_INVERSE } = facts.dihedral
  t.equal(transforms.length, 8)
  t.same(dihedralInverse, DIHEDRAL_INVERSE)
  transforms.forEach((expected, number) => {
    const turned = transformGrid(gridOf(input), number)
    t.same(gridRows(turned), expected, `transform ${number}`)
    t.same(gridRows(transformGrid(turned, dihedralInverse[number]!)), inverse_of_transform[number])
  })
})

test('grids are encoded at every place as officially', async (t) => {
  t.ok(facts.arc_encode.length >= 6)
  for (const { input, output, pad_r, pad_c, inp_seq, out_seq, crop_inp, crop_out } of facts.arc_encode) {
    t.same(encoded(gridOf(input), pad_r, pad_c), inp_seq)
    t.same(encoded(gridOf(output), pad_r, pad_c), out_seq)
    t.same(gridRows(cropGrid(inp_seq)), crop_inp)
    t.same(gridRows(cropGrid(out_seq)), crop_out)
  }
})

test('any tokens are cropped to the official rectangle', async (t) => {
  t.ok(facts.arc_crop.length >= 8)
  for (const { grid: tokens, shape, cropped } of facts.arc_crop) {
    const crop = cropGrid(tokens)
    // A crop without rows or columns has the shape (0, 0).
    t.same([crop.height, crop.width], shape)
    t.same(gridRows(crop), cropped)
  }
})

test('named augmentations do and undo what the official ones do', async (t) => {
  const { grid: rows, augmented } = facts.arc_augment
  t.equal(augmented.length, 8)
  for (const { name, augmented: expected, inverse } of augmented) {
    const { task, augmentation: named } = parseAugmentedName(name)
    t.equal(task, 'abc')
    t.same(gridRows(augmentGrid(gridOf(rows), named!)), expected)
    t.same(gridRows(undoAugmentation(gridOf(expected), named!)), inverse)
    t.equal(augmentedName(task, named!), name)
  }
})

test('puzzle hashes are the official ones, whatever the order of the pairs', async (t) => {
  const { examples, hash } = facts.arc_hash
  const pairs = Object.values(examples)
    .flat()
    .map(([input, output]) => ({ input: gridOf(input), output: gridOf(output) }))
  t.equal(puzzleHash(pairs), hash)
  t.equal(puzzleHash(pairs.toReversed()), hash)
  t.not(puzzleHash(pairs.slice(1)), hash)
})

test('every augmentation can be undone', async () => {
  fc.assert(
    fc.property(grid, augmentation, (image, drawn) => {
      const there = augmentGrid(image, drawn)
      return (
        gridKey(undoAugmentation(there, drawn)) === gridKey(image) &&
        there.cells.filter((colour) => colour === 0).length === image.cells.filter((colour) => colour === 0).length
      )
    }),
    { numRuns: 500 },
  )
})

test('a name tells the task and the augmentation, whatever the task is called', async () => {
  fc.assert(
    fc.property(fc.string(), augmentation, (task, drawn) => {
      const read = parseAugmentedName(augmentedName(task, drawn))
      return (
        read.task === task &&
        read.augmentation?.transform === drawn.transform &&
        String(read.augmentation.colours) === String(drawn.colours)
      )
    }),
  )
})

test('a name without a whole permutation is that of a task', async (t) => {
  for (const name of ['007bbfb7', 'a_b', 'a_t8_0123456789', 'a_t1_0123456788', 'a_t1_012345678', 'a_t1_01234567890']) {
    t.same(parseAugmentedName(name), { task: name, augmentation: undefined })
  }
})

test('a grid is found wherever it stands on the canvas', async () => {
  const placed = grid.chain((image) =>
    fc.record({ image: fc.constant(image), row: fc.nat(30 - image.height), column: fc.nat(30 - image.width) }),
  )
  fc.assert(
    fc.property(placed, ({ image, row, column }) => {
      const tokens = encoded(image, row, column)
      const corner = gridCorner(tokens)
      const found = gridKey(cropGrid(tokens, row, column)) === gridKey(image)
      return found && corner.row === row && corner.column === column && isBordered(tokens, image, row, column)
    }),
  )
})

test('a border with a gap, and no grid at all, are not whole', async (t) => {
  const image = gridOf([
    [1, 2],
    [3, 4],
  ])
  for (const gap of [2, 32, 60, 61]) {
    const tokens = encoded(image, 0, 0)
    t.equal(tokens[gap], 1)
    t.ok(isBordered(tokens, image, 0, 0))
    tokens[gap] = 0
    t.notOk(isBordered(tokens, image, 0, 0), `gap at ${gap}`)
  }
  t.notOk(isBordered(Array(900).fill(1), gridOf([]), 0, 0))
  t.same(gridCorner(Array(900).fill(1)), { row: 0, column: 0 })
})
