import type { Value } from '../vocabulary.js'
import { type RenderOptions, type Style, style } from './text.js'

type Rows = readonly (readonly (Value | null)[])[]

export interface GridPicture {
  /** Values row by row, null for padding. */
  rows: Rows
  /** All values there are; few of them have colours. */
  values: readonly (Value | null)[]
  /** The grid one segment earlier: cells that differ from it are changed. */
  previous?: Rows | undefined
}

/** Colours of values in their order; with more values than colours none has one. */
const colors = [
  'blue',
  'red',
  'green',
  'yellow',
  'magenta',
  'cyan',
  'blueBright',
  'redBright',
  'greenBright',
  'yellowBright',
  'magentaBright',
  'cyanBright',
] as const

/** Control characters would move the cursor. */
function printable(value: Value | null | undefined): string {
  return value === null || value === undefined ? '.' : String(value).replace(/\p{C}/gu, '?')
}

/** Draws a grid of values set to the right in columns, padding as `.`, changed cells inverse. */
export function drawGrid({ rows, values, previous }: GridPicture, options: RenderOptions): string[] {
  const places = new Map([...values].filter((value) => value !== null).map((value, place) => [value, place]))
  const colored = places.size <= colors.length
  const texts = rows.map((row) => row.map(printable))
  const width = Math.max(1, ...texts.flat().map((text) => text.length))
  return texts.map((row, y) =>
    row
      .map((text, x) => {
        const value = rows[y]![x]!
        const formats: string[] = []
        if (value === null) formats.push('dim')
        else if (colored) formats.push(colors[places.get(value) ?? 0]!)
        if (previous !== undefined && previous[y]?.[x] !== value) formats.push('inverse')
        const indent = ' '.repeat(width - text.length)
        return indent + (formats.length > 0 ? style(formats as Style, text, options) : text)
      })
      .join(' '),
  )
}
