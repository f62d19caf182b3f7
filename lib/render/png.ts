import { PNG } from 'pngjs'
import { lightPalette as palette } from './palette.js'
import type { Picture, PictureCell, PictureFrame } from './picture.js'
import { advance, capHeight, glyphWidth, type Stroke, strokesOf } from './strokes.js'
import { filmstripLayout, type FilmstripOptions, pictureLayout, textLayout } from './svg.js'

type Colour = readonly [red: number, green: number, blue: number]

function colourOf(hex: string): Colour {
  const channel = (at: number) => Number.parseInt(hex.slice(at, at + 2), 16)
  return [channel(1), channel(3), channel(5)]
}

/** An opaque picture of pixels on white. */
class Canvas {
  readonly width: number
  readonly height: number
  /** [height, width, 4] red, green, blue, opacity. */
  readonly data: Buffer

  constructor(width: number, height: number) {
    this.width = Math.ceil(width)
    this.height = Math.ceil(height)
    this.data = Buffer.alloc(4 * this.width * this.height, 255)
  }

  /** @param cover - the share of the pixel that is painted, 0…1 */
  #blend(x: number, y: number, [red, green, blue]: Colour, cover: number): void {
    if (x < 0 || y < 0 || x >= this.width || y >= this.height) return
    const at = 4 * (y * this.width + x)
    const mix = (offset: number, value: number) => {
      this.data[at + offset] = Math.round(this.data[at + offset]! * (1 - cover) + value * cover)
    }
    mix(0, red)
    mix(1, green)
    mix(2, blue)
  }

  fill(x: number, y: number, width: number, height: number, hex: string): void {
    const colour = colourOf(hex)
    const [right, bottom] = [Math.round(x + width), Math.round(y + height)]
    for (let row = Math.round(y); row < bottom; row++)
      for (let column = Math.round(x); column < right; column++) this.#blend(column, row, colour, 1)
  }

  frame(x: number, y: number, width: number, height: number, line: number, hex: string): void {
    this.fill(x, y, width, line, hex)
    this.fill(x, y + height - line, width, line, hex)
    this.fill(x, y, line, height, hex)
    this.fill(x + width - line, y, line, height, hex)
  }

  /** The triangle in the upper right corner of a square whose corner is at `right`, `top`. */
  corner(right: number, top: number, side: number, hex: string): void {
    for (let row = 0; row < side; row++) this.fill(right - side + row, top + row, side - row, 1, hex)
  }

  /** Draws with a round pen; pixels at the edge are painted by the share that the pen covers of them. */
  stroke(strokes: readonly Stroke[], pen: number, hex: string): void {
    const points = strokes.flat()
    if (points.length === 0) return
    const [xs, ys] = [points.map(([x]) => x), points.map(([, y]) => y)]
    const reach = pen / 2 + 1
    const [left, top] = [Math.floor(Math.min(...xs) - reach), Math.floor(Math.min(...ys) - reach)]
    const [right, bottom] = [Math.ceil(Math.max(...xs) + reach), Math.ceil(Math.max(...ys) + reach)]
    const colour = colourOf(hex)
    for (let y = top; y < bottom; y++) {
      for (let x = left; x < right; x++) {
        const distance = Math.min(...strokes.map((stroke) => distanceTo(stroke, x + 0.5, y + 0.5)))
        const cover = Math.min(1, pen / 2 + 0.5 - distance)
        if (cover > 0) this.#blend(x, y, colour, cover)
      }
    }
  }

  /** Writes a line of text around `middle`, its capitals `height` high and standing on `base`. */
  text(text: string, middle: number, base: number, height: number, hex: string, bold = false): void {
    const unit = height / capHeight
    const characters = [...text]
    const width = (characters.length - 1) * advance + glyphWidth
    characters.forEach((character, at) => {
      const left = middle + (at * advance - width / 2) * unit
      const strokes = strokesOf(character).map((points) =>
        points.map(([x, y]): [number, number] => [left + x * unit, base + (y - capHeight) * unit]),
      )
      this.stroke(strokes, Math.max(1, height * (bold ? 0.19 : 0.12)), hex)
    })
  }

  encode(): Uint8Array {
    const image = new PNG({ width: this.width, height: this.height })
    image.data = this.data
    return PNG.sync.write(image, { colorType: 2 })
  }
}

/** Distance of a point from a pen's way. */
function distanceTo(stroke: Stroke, x: number, y: number): number {
  const [firstX, firstY] = stroke[0]!
  let least = Math.hypot(x - firstX, y - firstY)
  for (let at = 1; at < stroke.length; at++) {
    const [ax, ay] = stroke[at - 1]!
    const [dx, dy] = [stroke[at]![0] - ax, stroke[at]![1] - ay]
    const length = dx * dx + dy * dy
    const along = length === 0 ? 0 : Math.min(1, Math.max(0, ((x - ax) * dx + (y - ay) * dy) / length))
    least = Math.min(least, Math.hypot(x - ax - along * dx, y - ay - along * dy))
  }
  return least
}

function inkOf({ tone, given, wrong }: PictureCell): string {
  if (tone !== 'plain' || given) return palette.tones[tone].ink
  return wrong ? palette.wrong : palette.answer
}

function drawCells(canvas: Canvas, picture: Picture, left: number, top: number, size: number): void {
  const { rows, columns, cells, box } = picture
  const [width, height] = [columns * size, rows * size]
  const place = (at: number) => [left + (at % columns) * size, top + Math.floor(at / columns) * size] as const
  cells.forEach(({ tone, wrong }, at) => {
    const [x, y] = place(at)
    canvas.fill(x, y, size, size, wrong && tone === 'plain' ? palette.wrongFill : palette.tones[tone].fill)
  })
  const rule = (everyRow: number, everyColumn: number, line: number, hex: string) => {
    for (let row = everyRow; row < rows; row += everyRow)
      canvas.fill(left, top + row * size - line / 2, width, line, hex)
    for (let column = everyColumn; column < columns; column += everyColumn)
      canvas.fill(left + column * size - line / 2, top, line, height, hex)
  }
  rule(1, 1, 1, palette.line)
  const thick = Math.max(2, Math.round(size / 12))
  if (box) rule(box.rows, box.columns, thick, palette.border)
  canvas.frame(left - thick / 2, top - thick / 2, width + thick, height + thick, thick, palette.border)
  cells.forEach((shown, at) => {
    const [x, y] = place(at)
    if (shown.text !== '') {
      const { capital, base } = textLayout(shown, size)
      canvas.text(shown.text, x + size / 2, y + base, capital, inkOf(shown), shown.given)
    }
    if (shown.wrong) {
      const inset = Math.round(0.1 * size)
      const line = Math.max(1, Math.round(0.08 * size))
      const side = size - 2 * inset
      canvas.frame(x + inset - 1, y + inset - 1, side + 2, side + 2, line + 2, palette.wrongFill)
      canvas.frame(x + inset, y + inset, side, side, line, palette.wrong)
    }
    if (shown.changed) canvas.corner(x + size, y, Math.round(0.26 * size), palette.changed)
  })
}

function draw(canvas: Canvas, picture: Picture, left: number, top: number, size: number): void {
  if (picture.rows > 0) {
    drawCells(canvas, picture, left, top, size)
    return
  }
  const side = 4 * size
  canvas.frame(left, top, side, side, 1, palette.border)
  canvas.text('no grid', left + side / 2, top + side / 2, 0.4 * size, palette.title)
}

/** One picture as a PNG file. */
export function pngOf(picture: Picture, { cellSize = 24 }: Pick<FilmstripOptions, 'cellSize'> = {}): Uint8Array {
  const { width, height, margin } = pictureLayout(picture, cellSize)
  const canvas = new Canvas(width, height)
  draw(canvas, picture, margin, margin, cellSize)
  return canvas.encode()
}

/** Pictures with their titles in rows, as one PNG file. */
export function pngFilmstrip(
  frames: readonly PictureFrame[],
  { perRow = frames.length, cellSize = 24 }: Omit<FilmstripOptions, 'title' | 'styled'> = {},
): Uint8Array {
  const { places, titleSize, width, height } = filmstripLayout(frames, perRow, cellSize)
  const canvas = new Canvas(width, height)
  frames.forEach(({ title, picture }, at) => {
    const { x, y, middle } = places[at]!
    canvas.text(title, Math.round(x) + middle, Math.round(y) - 0.6 * titleSize, 0.72 * titleSize, palette.title)
    draw(canvas, picture, Math.round(x), Math.round(y), cellSize)
  })
  return canvas.encode()
}
