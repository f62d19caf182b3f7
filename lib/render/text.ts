import { stripVTControlCharacters, styleText } from 'node:util'

export type Style = Parameters<typeof styleText>[0]

/** How to draw: with ANSI styles or plain, and how many columns there are. */
export interface RenderOptions {
  color: boolean
  /** Width of the terminal. @default 80 */
  columns?: number
}

/** What a stream can show: styles only on a TTY without `NO_COLOR`. */
export function renderOptions(stream: { isTTY?: boolean; columns?: number }): Required<RenderOptions> {
  const noColor = process.env['NO_COLOR'] !== undefined && process.env['NO_COLOR'] !== ''
  return { color: stream.isTTY === true && !noColor && process.env['TERM'] !== 'dumb', columns: stream.columns || 80 }
}

/** Styles a text, or leaves it as it is. */
export function style(format: Style, text: string, { color }: RenderOptions): string {
  return color ? styleText(format, text, { validateStream: false }) : text
}

/** Columns that a text takes on the terminal. */
export function visibleWidth(text: string): number {
  return stripVTControlCharacters(text).length
}

function pad(text: string, width: number): string {
  return text + ' '.repeat(Math.max(0, width - visibleWidth(text)))
}

/** Puts blocks of lines beside each other, as many in a row as `columns` allows; rows are parted by an empty line. */
export function sideBySide(blocks: readonly (readonly string[])[], columns = 80, gap = 3): string[] {
  const lines: string[] = []
  let row: (readonly string[])[] = []
  let rowWidth = 0
  const widthOf = (block: readonly string[]) => Math.max(...block.map(visibleWidth))
  const flush = () => {
    if (lines.length > 0) lines.push('')
    const height = Math.max(...row.map((block) => block.length))
    for (let y = 0; y < height; y++) {
      lines.push(
        row
          .map((block) => pad(block[y] ?? '', widthOf(block)))
          .join(' '.repeat(gap))
          .trimEnd(),
      )
    }
  }
  for (const block of blocks) {
    const width = widthOf(block)
    if (row.length > 0 && rowWidth + gap + width > columns) {
      flush()
      row = []
      rowWidth = 0
    }
    rowWidth += width + (row.length > 0 ? gap : 0)
    row.push(block)
  }
  if (row.length > 0) flush()
  return lines
}

/** One picture of a filmstrip. */
export interface Frame {
  /** Put above the picture; may hold styles. */
  title: string
  lines: readonly string[]
}

/** Puts pictures with titles beside each other, wrapping at the width of the terminal. */
export function filmstrip(frames: readonly Frame[], { columns }: RenderOptions): string[] {
  const blocks = frames.map(({ title, lines }) => [title, ...lines])
  return sideBySide(blocks, columns)
}

/** Aligns rows of cells in columns; columns where every cell below the head is a number are set to the right. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const all = [head, ...rows]
  const widths = head.map((_, x) => Math.max(...all.map((row) => visibleWidth(row[x] ?? ''))))
  const numeric = head.map((_, x) => rows.length > 0 && rows.every((row) => /^[-\d.,% …]*$/.test(row[x] ?? '')))
  return all.map((row) =>
    row
      .map((cell, x) => (numeric[x] ? cell.padStart(widths[x]!) : pad(cell, widths[x]!)))
      .join('  ')
      .trimEnd(),
  )
}
