import { type ArcGrid, gridRows } from '../arc/grid.js'
import type { RenderOptions } from './text.js'

export interface ArcPicture {
  grid: ArcGrid
  /** The grid one segment earlier: cells that differ from it are changed. */
  previous?: ArcGrid | undefined
}

/** The colours 0 … 9 as ARC shows them, in the palette of 256 colours that nearly all terminals have. */
const backgrounds = [16, 26, 203, 41, 220, 248, 199, 208, 117, 88]

/** Black or white, whichever reads better on the background. */
const foregrounds = [244, 231, 16, 16, 16, 16, 16, 16, 16, 231]

/** Draws a grid as digits on their colours, black as `.`; changed cells are marked `*`. */
export function drawArc({ grid, previous }: ArcPicture, { color }: RenderOptions): string[] {
  if (grid.height === 0) return ['(no grid)']
  const before = previous && gridRows(previous)
  return gridRows(grid).map((row, y) =>
    row
      .map((colour, x) => {
        const changed = before !== undefined && before[y]?.[x] !== colour
        const text = `${colour === 0 ? '.' : colour}${changed ? '*' : ' '}`
        return color ? `\u001b[38;5;${foregrounds[colour]};48;5;${backgrounds[colour]}m${text}\u001b[0m` : text
      })
      .join(''),
  )
}
