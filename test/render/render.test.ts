import { stripVTControlCharacters } from 'node:util'
import t from 'tap'
import { mazeTokens } from '#dist/maze/index.js'
import { drawArc } from '#dist/render/arc.js'
import { drawGrid } from '#dist/render/grid.js'
import { drawMaze } from '#dist/render/maze.js'
import { drawSudoku } from '#dist/render/sudoku.js'
import { filmstrip, renderOptions, sideBySide, table, visibleWidth } from '#dist/render/text.js'
import { drawTokens } from '#dist/render/tokens.js'
import { brokenCells } from '#dist/sudoku/broken-cells.js'

const digitsOf = (text: string) => Array.from(text, Number)
const plain = { color: false, columns: 80 }
const colored = { color: true, columns: 80 }

const puzzle4 = digitsOf('1030000203400003')
const solved4 = digitsOf('1234341223414123')

t.test('a 4x4 grid is drawn plainly with box lines', async (t) => {
  t.same(drawSudoku({ size: 4, digits: puzzle4 }, plain), [
    '┌─────┬─────┐',
    '│ 1 . │ 3 . │',
    '│ . . │ . 2 │',
    '├─────┼─────┤',
    '│ . 3 │ 4 . │',
    '│ . . │ . 3 │',
    '└─────┴─────┘',
  ])
})

t.test('a 6x6 grid has boxes of 2 rows and 3 columns, a 9x9 grid of 3 and 3', async (t) => {
  const six = drawSudoku({ size: 6, digits: Array(36).fill(0) }, plain)
  t.equal(six[0], '┌───────┬───────┐')
  t.equal(six[3], '├───────┼───────┤')
  t.equal(six.length, 6 + 4)
  const nine = drawSudoku({ size: 9, digits: Array(81).fill(7) }, plain)
  t.equal(nine[0], '┌───────┬───────┬───────┐')
  t.equal(nine.length, 9 + 4)
  t.ok(nine.every((line) => line.length === 25))
})

t.test('plain text marks changed cells and broken rules', async (t) => {
  const digits = [...solved4]
  digits[1] = 4
  const lines = drawSudoku({ size: 4, digits, givens: puzzle4, previous: solved4 }, plain)
  t.equal(lines[1], '│ 1 4!│ 3 4!│')
  t.equal(lines[2], '│ 3 4!│ 1 2 │', 'the box holds two 4s')
  const changed = drawSudoku({ size: 4, digits: solved4, givens: puzzle4, previous: puzzle4 }, plain)
  t.equal(changed[1], '│ 1 2*│ 3 4*│')
})

t.test('a solved grid breaks no rule, an overwritten given and a non-digit do, an empty cell does not', async (t) => {
  t.notOk(brokenCells({ size: 4, digits: solved4, givens: puzzle4 }).includes(true))
  t.notOk(brokenCells({ size: 4, digits: Array(16).fill(0) }).includes(true))
  const givens = [...Array(16).fill(0)]
  givens[5] = 3
  t.same(
    brokenCells({ size: 4, digits: solved4, givens }).flatMap((broken, cell) => (broken ? [cell] : [])),
    [5],
  )
  const digits = [...solved4]
  digits[0] = 5
  t.equal(brokenCells({ size: 4, digits })[0], true)
  t.equal(drawSudoku({ size: 4, digits }, plain)[1], '│ ?!2 │ 3 4 │')
  const column = digitsOf('1000100000000000')
  t.same(brokenCells({ size: 4, digits: column }).slice(0, 5), [true, false, false, false, true], 'also in a column')
})

t.test('with colour, styles carry the marks and the width stays the same', async (t) => {
  const grid = { size: 4, digits: solved4, givens: puzzle4, previous: puzzle4 }
  const lines = drawSudoku(grid, colored)
  t.same(lines.map(stripVTControlCharacters), drawSudoku({ size: 4, digits: solved4 }, plain))
  t.equal(lines[1], '│ \u001b[1m1\u001b[22m \u001b[7m2\u001b[27m │ \u001b[1m3\u001b[22m \u001b[7m4\u001b[27m │')
  const broken = drawSudoku({ size: 4, digits: digitsOf('1100000000000000') }, colored)
  t.match(broken[1], '\u001b[31m1')
})

t.test('a filmstrip wraps at the width of the terminal', async (t) => {
  const lines = drawSudoku({ size: 4, digits: solved4 }, plain)
  const frames = [1, 2, 3].map((segment) => ({ title: `segment ${segment}`, lines }))
  const wide = filmstrip(frames, { color: false, columns: 80 })
  t.equal(wide.length, 8)
  t.equal(wide[0], 'segment 1       segment 2       segment 3')
  const narrow = filmstrip(frames, { color: false, columns: 30 })
  t.equal(narrow.length, 8 + 1 + 8)
  t.ok(narrow.every((line) => line.length <= 30))
  // Two grids of 13 columns and a gap of 3.
  t.equal(filmstrip(frames, { color: false, columns: 29 }).length, 8 + 1 + 8)
  t.equal(filmstrip(frames, { color: false, columns: 28 }).length, 3 * 8 + 2)
  const tiny = filmstrip(frames, { color: false, columns: 5 })
  t.equal(tiny.length, 3 * 8 + 2, 'one per row where not even one fits')
  const colors = drawSudoku({ size: 4, digits: solved4, givens: solved4 }, colored)
  const styled = filmstrip(
    frames.map(({ title }) => ({ title, lines: colors })),
    colored,
  )
  t.not(styled[2], wide[2])
  t.same(styled.map(stripVTControlCharacters), wide)
})

t.test('blocks of different heights and widths stay aligned', async (t) => {
  t.same(sideBySide([['aa', 'b'], ['c'], ['d', 'e', 'f']], 80, 1), ['aa c d', 'b    e', '     f'])
})

t.test('tables set numbers to the right and text to the left', async (t) => {
  t.same(
    table(
      ['name', 'n'],
      [
        ['a', '1'],
        ['long', '1,000'],
      ],
    ),
    ['name      n', 'a         1', 'long  1,000'],
  )
})

t.test('token sequences of square length are drawn as squares', async (t) => {
  t.same(drawTokens([1, 2, 3, 14]), [' 1  2', ' 3 14'])
  t.same(drawTokens([1, 2, 3, -100, 5], 3), ['1 2 3', '. 5'])
})

t.test('colour needs a TTY and no NO_COLOR', async (t) => {
  const before = { NO_COLOR: process.env['NO_COLOR'], TERM: process.env['TERM'] }
  t.teardown(() => {
    for (const [name, value] of Object.entries(before)) {
      if (value === undefined) delete process.env[name]
      else process.env[name] = value
    }
  })
  delete process.env['NO_COLOR']
  process.env['TERM'] = 'xterm'
  t.same(renderOptions({ isTTY: true, columns: 120 }), { color: true, columns: 120 })
  t.same(renderOptions({}), { color: false, columns: 80 })
  process.env['NO_COLOR'] = '1'
  t.equal(renderOptions({ isTTY: true }).color, false)
  t.equal(visibleWidth('\u001b[1mab\u001b[22m'), 2)
})

t.test('a maze is drawn as in the files, what is not its own is marked', async (t) => {
  const tokens = (text: string) => mazeTokens(text)!
  const question = tokens('S # #   G')
  t.same(drawMaze({ side: 3, question }, plain), ['S #', ' # ', '  G'])
  const answer = tokens('S o#oo ##')
  const drawn = drawMaze({ side: 3, question, answer }, plain)
  t.same(drawn, ['S !', '!!o', ' !!'])
  const styled = drawMaze({ side: 3, question, answer: tokens('S # #oooG'), previous: question }, colored)
  t.equal(styled[1], ' █\u001b[32m\u001b[7mo\u001b[27m\u001b[39m')
  t.match(styled[0], '\u001b[1mS\u001b[22m █')
  const wrong = drawMaze({ side: 3, question, answer }, colored)
  t.match(wrong[0], '\u001b[31mo\u001b[39m')
  t.same(drawMaze({ side: 3, question, answer: Array(9).fill(0) }, plain), ['!!!', '!!!', '!!!'])
})

t.test('grids of values are set in columns, with colours where values are few', async (t) => {
  const values = [null, -1, 10, 'a\u001b']
  const rows = [
    [-1, 10],
    [null, 'a\u001b'],
  ]
  t.same(drawGrid({ rows, values }, plain), ['-1 10', ' . a?'], 'control characters are not written')
  const previous = [
    [-1, -1],
    [null, 'a\u001b'],
  ]
  const styled = drawGrid({ rows, values, previous }, colored)
  t.same(styled.map(stripVTControlCharacters), ['-1 10', ' . a?'])
  t.equal(styled[0], '\u001b[34m-1\u001b[39m \u001b[31m\u001b[7m10\u001b[27m\u001b[39m')
  const many = [null, ...Array.from({ length: 13 }, (_, at) => at)]
  t.same(drawGrid({ rows: [[3, 12]], values: many }, colored), [' 3 12'])
})

t.test('ARC grids are digits on ten different colours, black as dots, changes starred', async (t) => {
  const grid = { height: 2, width: 5, cells: Uint8Array.from([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]) }
  t.same(drawArc({ grid }, plain), ['. 1 2 3 4 ', '5 6 7 8 9 '])
  const previous = { height: 1, width: 5, cells: Uint8Array.from([0, 1, 2, 3, 3]) }
  t.same(drawArc({ grid, previous }, plain), ['. 1 2 3 4*', '5*6*7*8*9*'], 'cells beyond the earlier grid are new')
  const styled = drawArc({ grid }, colored)
  t.same(styled.map(stripVTControlCharacters), drawArc({ grid }, plain))
  t.equal(new Set(styled.join('').match(/48;5;\d+/g)).size, 10)
  t.match(styled[0], '\u001b[38;5;231;48;5;26m1 \u001b[0m')
  t.same(drawArc({ grid: { height: 0, width: 0, cells: new Uint8Array() } }, colored), ['(no grid)'])
})
