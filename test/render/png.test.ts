import { PNG } from 'pngjs'
import t from 'tap'
import { lightPalette } from '#dist/render/palette.js'
import { type Picture, pictures, segmentFrames } from '#dist/render/picture.js'
import { pngFilmstrip, pngOf } from '#dist/render/png.js'
import { strokesOf } from '#dist/render/strokes.js'
import { svgFilmstrip, svgOf } from '#dist/render/svg.js'
import { digitsToTokens } from '#dist/sudoku/index.js'

const sudoku = (text: string) => digitsToTokens(Array.from(text, Number))
const puzzle4 = sudoku('1030000203400003')
const solved4 = sudoku('1234341223414123')
const draw4 = pictures({ seqLen: 16, vocabSize: 6 })
const cellSize = 24

/** Colours of the pixels of a cell, inside its lines and frames, and how often each occurs. */
function cellColours(bytes: Uint8Array, columns: number, at: number, inset = 6): Map<string, number> {
  const { data, width } = PNG.sync.read(Buffer.from(bytes))
  const [left, top] = [2 + (at % columns) * cellSize, 2 + Math.floor(at / columns) * cellSize]
  const found = new Map<string, number>()
  for (let y = top + inset; y < top + cellSize - inset; y++) {
    for (let x = left + inset; x < left + cellSize - inset; x++) {
      const hex = `#${data.subarray(4 * (y * width + x), 4 * (y * width + x) + 3).toString('hex')}`
      found.set(hex, (found.get(hex) ?? 0) + 1)
    }
  }
  return found
}

const commonest = (colours: Map<string, number>) => [...colours].sort((a, b) => b[1] - a[1])[0]![0]

t.test('cells have the colours of their tones, and texts those of their ink', async (t) => {
  const cells = Array.from({ length: 10 }, (_, colour) => ({ tone: `arc${colour}`, text: '' })) as Picture['cells']
  const bytes = pngOf({ rows: 2, columns: 5, cells }, { cellSize })
  for (let at = 0; at < 10; at++) {
    const tone = `arc${at}` as keyof typeof lightPalette.tones
    t.equal(commonest(cellColours(bytes, 5, at)), lightPalette.tones[tone].fill)
  }
  const written = pngOf(draw4(puzzle4, solved4, { labels: solved4 }), { cellSize })
  t.ok(cellColours(written, 4, 0).has(lightPalette.tones.plain.ink), 'a given')
  t.ok(cellColours(written, 4, 1).has(lightPalette.answer), 'an answer')
  t.notOk(cellColours(written, 4, 1).has(lightPalette.tones.plain.ink))
})

t.test('a wrong cell is tinted and framed, a changed one has its corner', async (t) => {
  const wrong = solved4.slice()
  wrong[5] = 2
  const bytes = pngOf(draw4(puzzle4, wrong, { previous: solved4, labels: solved4 }), { cellSize })
  t.equal(commonest(cellColours(bytes, 4, 5)), lightPalette.wrongFill)
  t.ok(cellColours(bytes, 4, 5, 0).has(lightPalette.wrong))
  t.ok(cellColours(bytes, 4, 5, 0).has(lightPalette.changed))
  t.notOk(cellColours(bytes, 4, 6, 1).has(lightPalette.wrong))
  t.notOk(cellColours(bytes, 4, 6, 1).has(lightPalette.changed))
})

t.test('a picture is as large as its SVG, and so is a filmstrip', async (t) => {
  const frames = segmentFrames(draw4, puzzle4, [solved4, solved4], solved4)
  const sizeOfPng = (bytes: Uint8Array) => {
    const { width, height } = PNG.sync.read(Buffer.from(bytes))
    return [width, height]
  }
  const sizeOfSvg = (svg: string) =>
    /width="([\d.]+)" height="([\d.]+)"/
      .exec(svg)!
      .slice(1)
      .map((side) => Math.ceil(Number(side)))
  t.same(sizeOfPng(pngOf(draw4(puzzle4))), sizeOfSvg(svgOf(draw4(puzzle4), { title: 'a' })))
  for (const perRow of [1, 2, 9])
    t.same(sizeOfPng(pngFilmstrip(frames, { perRow })), sizeOfSvg(svgFilmstrip(frames, { title: 'a', perRow })))
  const empty = { rows: 0, columns: 0, cells: [] }
  t.same(sizeOfPng(pngOf(empty)), sizeOfSvg(svgOf(empty, { title: 'a' })))
})

t.test('the same picture has the same bytes', async (t) => {
  t.same(pngOf(draw4(puzzle4)), pngOf(draw4(puzzle4)))
})

t.test('every character of ASCII has strokes of its own, inside the cell', async (t) => {
  const seen = new Map<string, string>()
  for (let code = 33; code < 127; code++) {
    const character = String.fromCharCode(code)
    const strokes = strokesOf(character)
    const shape = JSON.stringify(strokes)
    t.notOk(seen.has(shape) && `${seen.get(shape)}${character}` !== '0O', `${character} is not ${seen.get(shape)}`)
    seen.set(shape, character)
    t.ok(
      strokes.flat().every(([x, y]) => x >= 0 && x <= 8 && y >= 0 && y <= 15),
      character,
    )
  }
  t.same(strokesOf(' '), [])
  t.same(strokesOf('水'), strokesOf('λ'), 'others are a box')
})
