import { cell, isAllowedCell, mazeText } from '../maze/cells.js'
import { type RenderOptions, type Style, style } from './text.js'

/** A square maze with what is to be shown of an answer; tokens row by row. */
export interface MazePicture {
  side: number
  question: ArrayLike<number>
  answer?: ArrayLike<number> | undefined
  /** The answer one segment earlier: cells that differ from it are changed. */
  previous?: ArrayLike<number> | undefined
}

/**
 * Draws a maze, the path green, changed cells inverse, cells that are not the question's red; plain text shows the
 * characters of the files, and `!` for what is not the question's.
 */
export function drawMaze(
  { side, question, answer = question, previous }: MazePicture,
  options: RenderOptions,
): string[] {
  const drawCell = (at: number) => {
    const token = answer[at]!
    const text = mazeText([token])
    const allowed = isAllowedCell(question[at]!, token)
    if (!options.color) return allowed ? text : '!'
    const formats: string[] = []
    if (!allowed) formats.push('red')
    else if (token === cell.path) formats.push('green')
    else if (token === cell.start || token === cell.goal) formats.push('bold')
    if (previous !== undefined && previous[at] !== token) formats.push('inverse')
    const drawn = token === cell.wall ? '█' : text
    return formats.length > 0 ? style(formats as Style, drawn, options) : drawn
  }
  return Array.from({ length: side }, (_, row) =>
    Array.from({ length: side }, (_, column) => drawCell(row * side + column)).join(''),
  )
}
