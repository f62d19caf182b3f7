import { test } from 'tap'
import { verify } from '#dist/index.js'

const solution = [1, 2, 3, 4, 3, 4, 1, 2, 2, 1, 4, 3, 4, 3, 2, 1].map((digit) => digit + 1)
const puzzle = solution.map((token, cell) => (cell % 3 === 0 ? token : 1))

test('an answer that obeys the rules is valid', (t) => {
  t.same(verify('sudoku', puzzle, solution), { valid: true })
  t.same(verify('sudoku', Uint8Array.from(puzzle), Int32Array.from(solution)), { valid: true })
  t.end()
})

test('an answer that breaks a rule is not, and says which', (t) => {
  const swapped = solution.with(1, solution[2]!).with(2, solution[1]!)
  t.match(verify('sudoku', puzzle, swapped), { valid: false, reason: /3 twice in box 1/ })
  const relabelled = solution.map((token) => (token === 5 ? 2 : token + 1))
  t.match(verify('sudoku', puzzle, relabelled), { valid: false, reason: /given/ })
  t.match(verify('sudoku', puzzle, puzzle), { valid: false, reason: /no digit/ })
  t.end()
})

test('a maze is solved by its shortest path and nothing else', (t) => {
  const tokens = (text: string) => Array.from(text, (character) => '# SGo'.indexOf(character) + 1)
  const maze = tokens('S   #   G')
  t.same(verify('maze', maze, tokens('Soo #o  G')), { valid: true })
  t.same(verify('maze', maze, tokens('S  o# ooG')), { valid: true })
  t.match(verify('maze', maze, tokens('Sooo#oooG')), { valid: false, reason: /beside/ })
  t.match(verify('maze', maze, maze), { valid: false, reason: /do not lead/ })
  t.match(verify('maze', maze, tokens('Soo  o  G')), { valid: false, reason: /row 2, column 2/ })
  t.throws(() => verify('maze', maze.slice(1), maze), { code: 'ERR_HRM_SHAPE', message: /square/ })
  t.throws(() => verify('maze', maze, maze.with(0, 6)), { code: 'ERR_HRM_ARGUMENT', message: /0…5, got 6/ })
  t.end()
})

test('unknown tasks and wrong arguments are refused', (t) => {
  t.throws(() => verify('chess' as never, puzzle, solution), { code: 'ERR_HRM_ARGUMENT', message: /maze, got "chess"/ })
  t.throws(() => verify('__proto__' as never, puzzle, solution), { code: 'ERR_HRM_ARGUMENT' })
  t.throws(() => verify('sudoku', puzzle, solution.slice(1)), { code: 'ERR_HRM_SHAPE' })
  t.throws(() => verify('sudoku', puzzle.slice(3), solution), { code: 'ERR_HRM_SHAPE', message: /16, 36 or 81/ })
  t.throws(() => verify('sudoku', puzzle, solution.with(0, 9)), { code: 'ERR_HRM_ARGUMENT', message: /0…5, got 9/ })
  t.throws(() => verify('sudoku', undefined as never, solution), { code: 'ERR_HRM_ARGUMENT', message: /input/ })
  t.end()
})
