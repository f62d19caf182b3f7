import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { test } from 'tap'
import { RandomStream } from '#dist/random.js'
import {
  allGrids,
  applySymmetry,
  canonicalGrid,
  canonicalPuzzle,
  generatePuzzle,
  gridInvariant,
  puzzleInvariant,
  randomGrid,
  randomSymmetry,
  solveSudoku,
  sudokuGeometry,
  verifySudoku,
} from '#dist/sudoku/index.js'
import { golden, unlessGolden } from './fixtures.js'

const digits = (text: string): Uint8Array => Uint8Array.from(text.replaceAll('.', '0'), Number)

/** A puzzle with one solution. */
const easy = {
  puzzle: digits('53..7....6..195....98....6.8...6...34..8.3..17...2...6.6....28....419..5....8..79'),
  solution: digits('534678912672195348198342567859761423426853791713924856961537284287419635345286179'),
}

interface GoldenShuffles {
  board: number[][]
  solution: number[][]
  cases: {
    digit_map: number[]
    transpose: boolean
    row_perm: number[]
    col_perm: number[]
    board: number[][]
    solution: number[][]
  }[]
}

test('symmetries act as in the official builder', { skip: unlessGolden('ops/ops.json') }, (t) => {
  const ops = JSON.parse(readFileSync(join(golden, 'ops/ops.json'), 'utf8')) as { sudoku_shuffle: GoldenShuffles }
  const { board, solution, cases } = ops.sudoku_shuffle
  t.ok(cases.length > 1 && cases.some(({ transpose }) => transpose) && cases.some(({ transpose }) => !transpose))
  for (const { digit_map, transpose, row_perm, col_perm, ...expected } of cases) {
    const symmetry = {
      digits: Uint8Array.from(digit_map),
      transpose,
      rows: Uint8Array.from(row_perm),
      columns: Uint8Array.from(col_perm),
    }
    t.same([...applySymmetry(9, symmetry, board.flat())], expected.board.flat())
    t.same([...applySymmetry(9, symmetry, solution.flat())], expected.solution.flat())
  }
  t.end()
})

test('random symmetries keep puzzles and solutions what they are, for every size', (t) => {
  for (const size of [4, 6, 9]) {
    let transposed = 0
    for (let index = 0; index < 200; index++) {
      const random = new RandomStream(5, 'augmentation', index)
      const { puzzle, solution } = generatePuzzle(size, size, random)
      const symmetry = randomSymmetry(size, random)
      const changed = applySymmetry(size, symmetry, puzzle)
      t.same(verifySudoku(size, changed, applySymmetry(size, symmetry, solution)), { valid: true })
      t.equal(changed.filter((digit) => digit === 0).length, size)
      if (symmetry.transpose) transposed++
    }
    if (size === 6) t.equal(transposed, 0, 'boxes of 2 rows and 3 columns cannot be transposed')
    else t.ok(transposed > 65 && transposed < 135, `${transposed} of 200 transposed`)
  }
  t.end()
})

test('there are 288 grids of size 4, all different and valid', (t) => {
  const grids = allGrids(4)
  t.equal(new Set(grids.map(String)).size, 288)
  t.ok(grids.every((grid) => verifySudoku(4, grid, grid).valid))
  t.end()
})

test('random grids are valid, differ and reach every grid of size 4', (t) => {
  const seen = new Set<string>()
  for (let index = 0; index < 6000; index++) seen.add(randomGrid(4, new RandomStream(0, 'grid', index)).join(''))
  t.equal(seen.size, 288)
  for (const size of [6, 9]) {
    const grids = Array.from({ length: 50 }, (_, index) => randomGrid(size, new RandomStream(0, 'grid', index)))
    t.ok(grids.every((grid) => verifySudoku(size, grid, grid).valid))
    t.equal(new Set(grids.map(String)).size, 50)
  }
  t.end()
})

test('the solver finds the solution and counts others', (t) => {
  t.same(solveSudoku(9, easy.puzzle), { count: 1, solution: easy.solution })
  t.equal(solveSudoku(4, new Uint8Array(16), 1000).count, 288)
  t.equal(solveSudoku(9, new Uint8Array(81)).count, 2)
  const hardest = digits('8..........36......7..9.2...5...7.......457.....1...3...1....68..85...1..9....4..')
  const { count, solution } = solveSudoku(9, hardest)
  t.equal(count, 1)
  t.same(verifySudoku(9, hardest, solution!), { valid: true })
  t.end()
})

test('a puzzle that contradicts itself has no solution', (t) => {
  const twice = new Uint8Array(81)
  twice[0] = twice[8] = 5
  t.same(solveSudoku(9, twice), { count: 0, solution: undefined })
  const wrong = easy.puzzle.slice()
  wrong[2] = 6
  t.same(solveSudoku(9, wrong), { count: 0, solution: undefined })
  t.end()
})

test('the verifier says what is wrong with an answer', (t) => {
  const change = (cell: number, digit: number): Uint8Array => {
    const answer = easy.solution.slice()
    answer[cell] = digit
    return answer
  }
  t.same(verifySudoku(9, easy.puzzle, easy.solution), { valid: true })
  t.same(verifySudoku(9, easy.puzzle, change(0, 0)), { valid: false, reason: 'no digit in row 1, column 1' })
  t.same(verifySudoku(9, easy.puzzle, change(1, 5)), {
    valid: false,
    reason: '5 in place of the given 3 in row 1, column 2',
  })
  t.match(verifySudoku(9, new Uint8Array(81), change(80, 6)), { valid: false, reason: /6 twice in row 9/ })
  const blank = new Uint8Array(81)
  const rowsOnly = Array.from({ length: 81 }, (_, cell) => (cell % 9) + 1)
  t.match(verifySudoku(9, blank, rowsOnly), { valid: false, reason: /1 twice in column 1/ })
  const latin = Array.from({ length: 81 }, (_, cell) => (((cell % 9) + Math.floor(cell / 9)) % 9) + 1)
  t.match(verifySudoku(9, blank, latin), { valid: false, reason: /twice in box 1/ })
  for (const odd of [NaN, 1.5, -1, 10, Infinity]) {
    const answer = Array.from(easy.solution)
    answer[0] = odd
    t.match(verifySudoku(9, easy.puzzle, answer), { valid: false, reason: /no digit/ })
  }
  t.end()
})

test('generated puzzles have exactly the holes asked for and one solution', (t) => {
  for (const [size, holes] of [
    [4, 1],
    [4, 8],
    [4, 11],
    [6, 18],
    [6, 24],
    [9, 30],
    [9, 54],
  ] as const) {
    for (let index = 0; index < 10; index++) {
      const { puzzle, solution } = generatePuzzle(size, holes, new RandomStream(9, 'puzzle', index))
      t.equal(puzzle.filter((digit) => digit === 0).length, holes)
      t.same(solveSudoku(size, puzzle), { count: 1, solution })
    }
  }
  t.end()
})

test('sizes and numbers of holes that do not exist are argument errors', (t) => {
  const random = new RandomStream(0, 'puzzle', 0)
  const wrong: [number, number][] = [
    [5, 3],
    [4, 0],
    [4, 13],
    [6, 29],
    [9, 65],
    [9, 1.5],
  ]
  for (const [size, holes] of wrong) {
    t.throws(() => generatePuzzle(size, holes, random), { name: 'RangeError', code: 'ERR_HRM_ARGUMENT' })
  }
  t.throws(() => generatePuzzle(9, 64, random), { code: 'ERR_HRM_ARGUMENT', message: /500 attempts/ })
  t.throws(() => solveSudoku(9, [1, 2]), { name: 'TypeError', code: 'ERR_HRM_ARGUMENT' })
  t.throws(
    () =>
      solveSudoku(
        4,
        Array.from({ length: 16 }, () => 5),
      ),
    { name: 'RangeError', code: 'ERR_HRM_ARGUMENT' },
  )
  t.end()
})

test('boxes of size 6 have two rows and three columns', (t) => {
  const { boxOf } = sudokuGeometry(6)
  t.same([...boxOf.subarray(0, 18)], [0, 0, 0, 1, 1, 1, 0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3])
  t.end()
})

test('grids that are the same up to symmetry have one canonical form and one invariant', (t) => {
  fc.assert(
    fc.property(fc.nat(1000), fc.nat(1000), (gridIndex, symmetryIndex) => {
      const grid = randomGrid(9, new RandomStream(1, 'grid', gridIndex))
      const symmetry = randomSymmetry(9, new RandomStream(2, 'augmentation', symmetryIndex))
      const other = applySymmetry(9, symmetry, grid)
      t.equal(canonicalGrid(other), canonicalGrid(grid))
      t.equal(gridInvariant(other), gridInvariant(grid))
    }),
    { numRuns: 30 },
  )
  t.end()
})

test('the canonical form is a valid grid, of the same class and not greater than any view of it', (t) => {
  const grid = randomGrid(9, new RandomStream(4, 'grid', 0))
  const canonical = canonicalGrid(grid)
  t.same(verifySudoku(9, new Uint8Array(81), digits(canonical)), { valid: true })
  t.equal(canonicalGrid(digits(canonical)), canonical)
  t.equal(gridInvariant(digits(canonical)), gridInvariant(grid))
  for (let index = 0; index < 2000; index++) {
    const symmetry = randomSymmetry(9, new RandomStream(3, 'augmentation', index))
    const view = applySymmetry(9, symmetry, grid)
    // Renaming by the first row gives the smallest view with these rows and columns.
    const names = new Uint8Array(10)
    view.subarray(0, 9).forEach((digit, column) => (names[digit] = column + 1))
    t.ok(view.map((digit) => names[digit]!).join('') >= canonical)
  }
  t.end()
})

test('the canonical form of the most symmetric grid is known', (t) => {
  // The grid with 648 automorphisms is its own smallest view ("most canonical" grid of the Sudoku literature).
  const most = '123456789456789123789123456231564897564897231897231564312645978645978312978312645'
  t.equal(canonicalGrid(digits(most)), most)
  t.end()
})

test('different grids differ in canonical form and nearly always in invariant', (t) => {
  const grids = Array.from({ length: 1500 }, (_, index) => randomGrid(9, new RandomStream(6, 'grid', index)))
  t.ok(new Set(grids.map(gridInvariant)).size >= 1495)
  t.equal(new Set(grids.slice(0, 60).map(canonicalGrid)).size, 60)
  t.end()
})

test('6×6 puzzles that are the same up to symmetry have one canonical form and one invariant, others do not', (t) => {
  const puzzleAt = (index: number) => generatePuzzle(6, 18, new RandomStream(7, 'puzzle', index)).puzzle
  fc.assert(
    fc.property(fc.nat(1000), fc.nat(1000), (puzzleIndex, symmetryIndex) => {
      const puzzle = puzzleAt(puzzleIndex)
      const twin = applySymmetry(6, randomSymmetry(6, new RandomStream(8, 'augmentation', symmetryIndex)), puzzle)
      t.equal(canonicalPuzzle(twin), canonicalPuzzle(puzzle))
      t.equal(puzzleInvariant(twin), puzzleInvariant(puzzle))
    }),
    { numRuns: 30 },
  )
  const puzzles = Array.from({ length: 200 }, (_, index) => puzzleAt(index))
  t.equal(new Set(puzzles.map(canonicalPuzzle)).size, 200)
  t.ok(new Set(puzzles.map(puzzleInvariant)).size >= 190)
  const canonical = digits(canonicalPuzzle(puzzles[0]!))
  t.equal(canonicalPuzzle(canonical), canonical.join(''))
  // One cell moved is another puzzle: the form tells apart what no symmetry maps onto each other.
  const given = puzzles[0]!.findIndex((digit) => digit > 0)
  const other = puzzles[0]!.slice()
  other[given] = 0
  t.not(canonicalPuzzle(other), canonicalPuzzle(puzzles[0]!))
  t.end()
})
