import { darkPalette, lightPalette, type Palette } from './palette.js'
import type { Picture, PictureCell, PictureFrame } from './picture.js'

/** Text as the content or an attribute of XML; what has no shape becomes `?`, as XML forbids much of it. */
export function escapeXml(text: string): string {
  const entities: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' }
  return text.replace(/\p{C}/gu, '?').replace(/[&<>"']/g, (character) => entities[character]!)
}

/** Coordinates with two digits at most. */
const round = (value: number) => Number(value.toFixed(2))

function rules(palette: Palette): string {
  const tones = Object.entries(palette.tones).map(
    ([tone, { fill, ink }]) => `.hrm .${tone}{fill:${fill}}.hrm .${tone}-ink{fill:${ink}}`,
  )
  return [
    ...tones,
    `.hrm .answer{fill:${palette.answer}}`,
    `.hrm .wrong-fill{fill:${palette.wrongFill}}`,
    `.hrm .line{stroke:${palette.line}}`,
    `.hrm .border{stroke:${palette.border}}`,
    `.hrm .changed{fill:${palette.changed};stroke:${palette.tones.plain.fill}}`,
    `.hrm .wrong{stroke:${palette.wrong}}.hrm .halo .wrong{stroke:${palette.wrongFill}}`,
    `.hrm .wrong-ink{fill:${palette.wrong}}`,
    `.hrm .title{fill:${palette.title}}`,
  ].join('')
}

/** Style of all pictures, by their classes; it follows the reader's choice of light or dark. */
export const pictureStyle =
  '.hrm text{font-family:ui-sans-serif,system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif;text-anchor:middle}' +
  '.hrm .given{font-weight:700}.hrm .line,.hrm .border,.hrm .wrong{fill:none}' +
  `${rules(lightPalette)}@media (prefers-color-scheme:dark){${rules(darkPalette)}}`

/** Rectangles of whole cells as the path of one element. */
class Boxes {
  readonly #paths = new Map<string, string>()

  add(className: string, x: number, y: number, width: number, height: number): void {
    const box = `M${round(x)} ${round(y)}h${round(width)}v${round(height)}h${round(-width)}z`
    this.#paths.set(className, (this.#paths.get(className) ?? '') + box)
  }

  toString(): string {
    return [...this.#paths].map(([name, path]) => `<path class="${name}" d="${path}"/>`).join('')
  }
}

function lines(picture: Picture, size: number): string {
  const { rows, columns, box } = picture
  const [width, height] = [columns * size, rows * size]
  const grid = (everyRow: number, everyColumn: number) => {
    let path = ''
    for (let y = everyRow; y < rows; y += everyRow) path += `M0 ${round(y * size)}h${round(width)}`
    for (let x = everyColumn; x < columns; x += everyColumn) path += `M${round(x * size)} 0v${round(height)}`
    return path
  }
  const thick = round(Math.max(1, size / 12))
  return (
    `<path class="line" stroke-width="${round(size / 24)}" d="${grid(1, 1)}"/>` +
    `<path class="border" stroke-width="${thick}" d="${box ? grid(box.rows, box.columns) : ''}M0 0h${round(width)}v${round(height)}h${round(-width)}z"/>`
  )
}

/** Height of capitals and digits in the font size, of most fonts without serifs. */
const CAPITAL = 0.72

/** How high the capitals of a cell's text are, and how far below its upper edge they stand. */
export function textLayout({ tone, text }: PictureCell, size: number): { capital: number; base: number } {
  const small = text.length > 1 ? 1.05 / (text.length + 0.5) : tone.startsWith('arc') ? 0.5 : 0.66
  const capital = CAPITAL * size * small
  return { capital, base: (size + capital) / 2 }
}

/** Texts of cells: `[class, size, elements]` in the order of their first cell. */
function texts({ columns, cells }: Picture, size: number): string {
  const groups = new Map<string, string>()
  cells.forEach(({ tone, text, given, wrong }, at) => {
    if (text === '') return
    const { capital, base } = textLayout(cells[at]!, size)
    const own = tone === 'plain' && !given ? (wrong ? 'wrong-ink' : 'answer') : `${tone}-ink`
    const open = `<g class="${own}${given ? ' given' : ''}" font-size="${round(capital / CAPITAL)}">`
    const x = round(((at % columns) + 0.5) * size)
    const y = round(Math.floor(at / columns) * size + base)
    groups.set(open, `${groups.get(open) ?? ''}<text x="${x}" y="${y}">${escapeXml(text)}</text>`)
  })
  return [...groups].map(([open, elements]) => `${open}${elements}</g>`).join('')
}

function cellsOf(picture: Picture, size: number): string {
  const { columns, cells } = picture
  const fills = new Boxes()
  const frames = new Boxes()
  let corners = ''
  for (let at = 0; at < cells.length;) {
    const { tone, wrong } = cells[at]!
    const painted = wrong && tone === 'plain' ? 'wrong-fill' : tone
    let end = at + 1
    const same = () => {
      const next = cells[end]
      return next !== undefined && (next.wrong && next.tone === 'plain' ? 'wrong-fill' : next.tone) === painted
    }
    while (end % columns !== 0 && same()) end++
    fills.add(painted, (at % columns) * size, Math.floor(at / columns) * size, (end - at) * size, size)
    at = end
  }
  cells.forEach(({ changed, wrong }, at) => {
    const [x, y] = [(at % columns) * size, Math.floor(at / columns) * size]
    const inset = 0.1 * size
    if (wrong) frames.add('wrong', x + inset, y + inset, size - 2 * inset, size - 2 * inset)
    const corner = round(0.26 * size)
    if (changed) corners += `M${round(x + size)} ${round(y)}v${corner}l${-corner} ${-corner}z`
  })
  const framed = String(frames)
  return [
    String(fills),
    lines(picture, size),
    texts(picture, size),
    framed && `<g class="halo" stroke-width="${round(0.18 * size)}" stroke-linejoin="round">${framed}</g>`,
    framed && `<g stroke-width="${round(0.08 * size)}" stroke-linejoin="round">${framed}</g>`,
    corners && `<path class="changed" stroke-width="${round(0.05 * size)}" d="${corners}"/>`,
  ].join('')
}

/** Units of a picture for layout: no cells are drawn as an empty square of four. */
function extentOf({ rows, columns }: Picture): { rows: number; columns: number } {
  return rows > 0 ? { rows, columns } : { rows: 4, columns: 4 }
}

function drawn(picture: Picture, size: number): string {
  if (picture.rows > 0) return cellsOf(picture, size)
  const side = 4 * size
  return (
    `<path class="border" stroke-dasharray="${size / 4}" d="M0 0h${side}v${side}h${-side}z"/>` +
    `<text class="title" x="${side / 2}" y="${side / 2}" font-size="${round(0.6 * size)}">no grid</text>`
  )
}

export interface SvgOptions {
  /** What a reader who does not see the picture is told. */
  title: string
  /** Side of a cell in units, which are pixels where the picture is shown in its own size. @default 24 */
  cellSize?: number
  /** Whether the element brings its style along; pages that have `pictureStyle` already need none. @default true */
  styled?: boolean
}

export interface FilmstripOptions extends SvgOptions {
  /** Frames in a row. @default all */
  perRow?: number
}

function svg(width: number, height: number, { title, styled = true }: SvgOptions, content: string): string {
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" class="hrm" width="${round(width)}" height="${round(height)}" ` +
    `viewBox="0 0 ${round(width)} ${round(height)}" role="img" aria-label="${escapeXml(title)}">` +
    `${styled ? `<style>${pictureStyle}</style>` : ''}${content}</svg>`
  )
}

/** Room for the thick border. */
const MARGIN = 2

/** The size of a picture with its margins. */
export function pictureLayout(picture: Picture, cellSize: number) {
  const { rows, columns } = extentOf(picture)
  return { width: columns * cellSize + 2 * MARGIN, height: rows * cellSize + 2 * MARGIN, margin: MARGIN }
}

/** One picture as an SVG element, which is a whole file as well. */
export function svgOf(picture: Picture, options: SvgOptions): string {
  const { cellSize = 24 } = options
  const { width, height, margin } = pictureLayout(picture, cellSize)
  const content = `<g transform="translate(${margin} ${margin})">${drawn(picture, cellSize)}</g>`
  return svg(width, height, options, content)
}

/** Where the frames of a filmstrip go: rows of `perRow`, all as large as the largest, in units of cells. */
export function filmstripLayout(frames: readonly PictureFrame[], perRow: number, cellSize: number) {
  const extents = frames.map(({ picture }) => extentOf(picture))
  const width = Math.max(...extents.map(({ columns }) => columns)) * cellSize
  const height = Math.max(...extents.map(({ rows }) => rows)) * cellSize
  const titleSize = Math.max(9, Math.min(16, width / 7))
  const [stepX, stepY] = [width + Math.max(10, 0.8 * cellSize), height + 2.4 * titleSize]
  const inRow = Math.min(perRow, frames.length)
  return {
    titleSize,
    width: inRow * stepX - (stepX - width) + 2 * MARGIN,
    height: Math.ceil(frames.length / inRow) * stepY + MARGIN - 0.6 * titleSize,
    places: extents.map(({ columns }, at) => ({
      x: MARGIN + (at % inRow) * stepX + (width - columns * cellSize) / 2,
      y: MARGIN + Math.floor(at / inRow) * stepY + 1.5 * titleSize,
      middle: (columns * cellSize) / 2,
    })),
  }
}

/**
 * Pictures with their titles in rows, as one SVG element or file: a puzzle, its segments and the answer.
 *
 * @example
 * const frames = segmentFrames(pictures(model.config), puzzle, segments, labels)
 * writeFileSync('solving.svg', svgFilmstrip(frames, { title: 'A model solves a Sudoku', perRow: 4 }))
 */
export function svgFilmstrip(
  frames: readonly PictureFrame[],
  { perRow = frames.length, ...options }: FilmstripOptions,
): string {
  const { cellSize = 24 } = options
  const { places, titleSize, width, height } = filmstripLayout(frames, perRow, cellSize)
  const content = frames.map(({ title, picture }, at) => {
    const { x, y, middle } = places[at]!
    return (
      `<g transform="translate(${round(x)} ${round(y)})">` +
      `<text class="title" x="${round(middle)}" y="${round(-0.6 * titleSize)}" font-size="${round(titleSize)}">${escapeXml(title)}</text>` +
      `${drawn(picture, cellSize)}</g>`
    )
  })
  return svg(width, height, options, content.join(''))
}
