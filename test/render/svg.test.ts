import fc from 'fast-check'
import t from 'tap'
import { arcSeqLen, arcVocabSize, encodeGrid } from '#dist/arc/encode.js'
import { mazeTokens } from '#dist/maze/index.js'
import { type Picture, pictures, segmentFrames } from '#dist/render/picture.js'
import { escapeXml, pictureStyle, svgFilmstrip, svgOf } from '#dist/render/svg.js'
import { digitsToTokens, sudokuVocabSize } from '#dist/sudoku/index.js'
import type { Vocabulary } from '#dist/vocabulary.js'

const sudoku = (text: string) => digitsToTokens(Array.from(text, Number))
const puzzle4 = sudoku('1030000203400003')
const solved4 = sudoku('1234341223414123')
const draw4 = pictures({ seqLen: 16, vocabSize: 6 })

/** Cells that have a property. */
const where = ({ cells }: Picture, key: 'given' | 'changed' | 'wrong') =>
  cells.flatMap((cell, at) => (cell[key] ? [at] : []))

/** Checks that tags are closed in order and attributes quoted; returns the names of all elements. */
function elements(svg: string): string[] {
  const open: string[] = []
  const names: string[] = []
  const rest = svg.replace(/<(\/?)([a-zA-Z]+)((?: [a-zA-Z-]+="[^"<]*")*)(\/?)>/g, (_, end, name, __, closed) => {
    if (end === '/') {
      if (open.pop() !== name) throw new Error(`</${name}> closes nothing`)
    } else {
      names.push(name as string)
      if (closed === '') open.push(name as string)
    }
    return ''
  })
  if (/[<>]/.test(rest) || open.length > 0) throw new Error(`not well-formed: ${rest.slice(0, 100)} ${open}`)
  return names
}

t.test('a Sudoku of each size has its boxes, its givens and its digits', async (t) => {
  for (const [size, box] of [
    [4, { rows: 2, columns: 2 }],
    [6, { rows: 2, columns: 3 }],
    [9, { rows: 3, columns: 3 }],
  ] as const) {
    const draw = pictures({ seqLen: size * size, vocabSize: sudokuVocabSize(size) })
    const input = digitsToTokens(Array.from({ length: size * size }, (_, at) => (at === 5 ? size : 0)))
    const picture = draw(input)
    t.match(picture, { rows: size, columns: size, box })
    t.same(where(picture, 'given'), [5])
    t.equal(picture.cells[5]!.text, String(size))
    t.ok(picture.cells.every(({ text }, at) => at === 5 || text === ''))
    const names = elements(svgOf(picture, { title: 'a' }))
    t.equal(names.filter((name) => name === 'text').length, 1)
  }
})

t.test('cells that changed and cells that are wrong are marked', async (t) => {
  const answer = solved4.slice()
  answer[1] = 5
  t.same(where(draw4(puzzle4, answer, { labels: solved4 }), 'wrong'), [1])
  t.same(where(draw4(puzzle4, answer, { previous: solved4, labels: solved4 }), 'changed'), [1])
  t.same(where(draw4(puzzle4, answer, { labels: Array(16).fill(-100) }), 'wrong'), [], 'ignored labels judge nothing')
  t.same(where(draw4(puzzle4, answer), 'wrong'), [1, 3, 5], 'without labels, by the rules')
  t.same(where(draw4(puzzle4), 'wrong'), [], 'a puzzle is not judged')
  const clean = svgOf(draw4(puzzle4, solved4, { labels: solved4 }), { title: 'a', styled: false })
  t.notMatch(clean, /class="(wrong|changed|halo)/)
  const marked = svgOf(draw4(puzzle4, answer, { previous: solved4, labels: solved4 }), { title: 'a', styled: false })
  t.match(marked, /class="wrong" d="M[^"M]*"/, 'one frame')
  t.match(marked, /class="changed" [^>]*d="M[^"M]*"/, 'one corner')
})

t.test('what is no digit is a question mark', async (t) => {
  const answer = solved4.slice()
  answer[2] = 0
  t.equal(draw4(puzzle4, answer).cells[2]!.text, '?')
})

t.test('a maze shows walls, path, start and goal, and what breaks it', async (t) => {
  const vocabulary: Vocabulary = {
    task: 'maze',
    form: 'grid',
    rows: 3,
    columns: 3,
    answer: 'input',
    values: [null, '#', ' ', 'S', 'G', 'o'],
  }
  const draw = pictures({ seqLen: 9, vocabSize: 6 }, vocabulary)
  const [maze, answer] = [mazeTokens('S#G   ###')!, mazeTokens('S#Goooo##')!]
  const picture = draw(maze, answer)
  t.same(
    picture.cells.map(({ tone }) => tone),
    ['end', 'wall', 'end', 'path', 'path', 'path', 'path', 'wall', 'wall'],
  )
  t.same(where(picture, 'wrong'), [6], 'a path through a wall')
  t.match(
    picture.cells.map(({ text }) => text),
    ['S', '', 'G', '•'],
  )
  elements(svgOf(picture, { title: 'a' }))
})

t.test('an ARC grid has the ten official colours and is cut from its canvas', async (t) => {
  const draw = pictures({ seqLen: arcSeqLen, vocabSize: arcVocabSize })
  const grid = { height: 2, width: 5, cells: Uint8Array.from({ length: 10 }, (_, at) => at) }
  const tokens = new Uint8Array(arcSeqLen)
  encodeGrid(grid, 3, 4, tokens)
  const picture = draw(tokens)
  t.match(picture, { rows: 2, columns: 5 })
  t.same(
    picture.cells.map(({ tone }) => tone),
    Array.from({ length: 10 }, (_, at) => `arc${at}`),
  )
  const official = ['#000000', '#0074d9', '#ff4136', '#2ecc40', '#ffdc00', '#aaaaaa', '#f012be', '#ff851b', '#7fdbff']
  for (const [colour, fill] of [...official, '#870c25'].entries())
    t.match(pictureStyle, `.hrm .arc${colour}{fill:${fill}}`)
  t.match(svgOf(picture, { title: 'a' }), /^<svg [^>]*width="124" height="52"/)
  const nothing = draw(tokens, new Uint8Array(arcSeqLen))
  t.match(nothing, { rows: 0, cells: [] })
  t.match(svgOf(nothing, { title: 'a' }), 'no grid')
})

t.test('a grid of a vocabulary shows its values, tinted where they are few', async (t) => {
  const vocabulary: Vocabulary = {
    task: 'grid',
    form: 'grid',
    rows: 2,
    columns: 3,
    answer: 'input',
    values: [null, '<b>', 'verylong', 7],
  }
  const draw = pictures({ seqLen: 6, vocabSize: 4 }, vocabulary)
  const input = [1, 2, 0, 3, 1, 0]
  const picture = draw(input, [1, 0, 0, 3, 3, 0], { labels: input })
  t.match(picture, { rows: 2, columns: 2 })
  t.same(
    picture.cells.map(({ tone, text }) => `${tone} ${text}`),
    ['hue0 <b>', 'pad ', 'hue2 7', 'hue2 7'],
  )
  t.same(where(picture, 'wrong'), [1, 3])
  t.equal(draw(input).cells[1]!.text, 'ver…')
  t.match(svgOf(picture, { title: 'a' }), '&lt;b&gt;')
  const values = [null, ...Array.from({ length: 13 }, (_, at) => at)]
  const many = pictures({ seqLen: 6, vocabSize: 14 }, { ...vocabulary, values })
  t.equal(many(input).cells[0]!.tone, 'plain', 'more values than tints')
})

t.test('other sequences are drawn as their tokens', async (t) => {
  const picture = pictures({ seqLen: 40, vocabSize: 300 })(Array.from({ length: 40 }, (_, at) => at + 200))
  t.match(picture, { rows: 2, columns: 32 })
  t.equal(picture.cells[39]!.text, '239')
  t.equal(picture.cells[40]!.tone, 'pad')
})

t.test('a filmstrip holds the puzzle, every segment and the answer, in rows', async (t) => {
  const first = solved4.slice()
  first[1] = 5
  const frames = segmentFrames(draw4, puzzle4, [first, solved4], solved4)
  t.same(
    frames.map(({ title }) => title),
    ['puzzle', 'segment 1', 'segment 2', 'answer'],
  )
  t.same(where(frames[2]!.picture, 'changed'), [1])
  const size = (svg: string) => /width="([\d.]+)" height="([\d.]+)"/.exec(svg)!.slice(1).map(Number) as [number, number]
  const wide = svgFilmstrip(frames, { title: 'a model & a puzzle' })
  const square = svgFilmstrip(frames, { title: 'a', perRow: 2 })
  t.match(wide, 'aria-label="a model &amp; a puzzle"')
  t.ok(size(wide)[0] > 1.9 * size(square)[0] && size(square)[1] > 1.9 * size(wide)[1])
  t.equal(elements(wide).filter((name) => name === 'style').length, 1)
  t.notMatch(svgFilmstrip(frames, { title: 'a', styled: false }), '<style>')
  t.equal(
    svgFilmstrip(segmentFrames(draw4, puzzle4, [], undefined), { title: 'a' }).match(/class="title"/g)?.length,
    1,
    'without labels there is no answer',
  )
})

t.test('a picture follows the choice of light or dark', async (t) => {
  const [light, dark] = pictureStyle.split('@media (prefers-color-scheme:dark)') as [string, string]
  const ink = (style: string) => /\.plain\{fill:(#\w{6})\}/.exec(style)![1]
  t.not(ink(light), ink(dark))
})

t.test('no text breaks out of a picture', async (t) => {
  t.equal(escapeXml(`<a href="x">'&\u0000\u001b`), '&lt;a href=&quot;x&quot;&gt;&#39;&amp;??')
  const value = fc.string({ minLength: 1, maxLength: 8, unit: 'binary' })
  fc.assert(
    fc.property(value, value, (text, title) => {
      const values = [null, text]
      const vocabulary: Vocabulary = { task: 'grid', form: 'sequence', rows: 1, columns: 1, answer: 'input', values }
      const frames = segmentFrames(pictures({ seqLen: 1, vocabSize: 2 }, vocabulary), [1], [], [1])
      elements(svgFilmstrip([{ title, picture: frames[0]!.picture }], { title, styled: false }))
    }),
  )
})
