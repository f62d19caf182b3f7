import { arcColours, type ArcGrid, arcMaxSide } from './grid.js'

/** Tokens of one grid: a canvas of 30 × 30. */
export const arcSeqLen = arcMaxSide * arcMaxSide

export const arcPadToken = 0

/** Borders the grid below and to the right, where the canvas has room. */
export const arcEndToken = 1

/** Token of colour 0; colour c is this + c. */
export const arcFirstColour = 2

/** Tokens of ARC: padding, end, and a token a colour. */
export const arcVocabSize = arcFirstColour + arcColours

/**
 * Writes a grid on the canvas.
 *
 * @param row - canvas row of the top edge, 0 … 30 - height
 * @param column - canvas column of the left edge, 0 … 30 - width
 * @param out - [900], overwritten
 */
export function encodeGrid({ height, width, cells }: ArcGrid, row: number, column: number, out: Uint8Array): void {
  out.fill(arcPadToken)
  const bottom = row + height
  const right = column + width
  for (let y = 0; y < height; y++) {
    const start = (row + y) * arcMaxSide + column
    for (let x = 0; x < width; x++) out[start + x] = cells[y * width + x]! + arcFirstColour
    if (right < arcMaxSide) out[start + width] = arcEndToken
  }
  if (bottom < arcMaxSide) out.fill(arcEndToken, bottom * arcMaxSide + column, bottom * arcMaxSide + right)
}

/**
 * The grid that tokens show: the largest rectangle of nothing but colours with its upper left corner at `row`, `column`;
 * of several as large, the one of fewest rows. Empty (0 × 0) where that corner is no colour.
 *
 * @param tokens - [900]; ignored labels (-100) count as no colour
 */
export function cropGrid(tokens: ArrayLike<number>, row = 0, column = 0): ArcGrid {
  let height = 0
  let width = 0
  let reach = arcMaxSide - column
  for (let rows = 1; rows <= arcMaxSide - row; rows++) {
    const start = (row + rows - 1) * arcMaxSide + column
    for (let x = 0; x < reach; x++) {
      const token = tokens[start + x]!
      if (token < arcFirstColour || token >= arcVocabSize) reach = x
    }
    if (rows * reach <= height * width) continue
    height = rows
    width = reach
  }
  const cells = new Uint8Array(height * width)
  for (let cell = 0; cell < cells.length; cell++) {
    const at = (row + Math.floor(cell / width)) * arcMaxSide + column + (cell % width)
    cells[cell] = tokens[at]! - arcFirstColour
  }
  return { height, width, cells }
}

/** Where translation has put a grid: the first row and the first column that hold a colour; 0, 0 where none does. */
export function gridCorner(tokens: ArrayLike<number>): { row: number; column: number } {
  let row = arcMaxSide
  let column = arcMaxSide
  for (let at = 0; at < arcSeqLen; at++) {
    const token = tokens[at]!
    if (token < arcFirstColour || token >= arcVocabSize) continue
    row = Math.min(row, Math.floor(at / arcMaxSide))
    column = Math.min(column, at % arcMaxSide)
  }
  return row < arcMaxSide ? { row, column } : { row: 0, column: 0 }
}

/** Whether the border of a grid that stands at `row`, `column` is complete, where the canvas has room for it. */
export function isBordered(
  tokens: ArrayLike<number>,
  { height, width }: ArcGrid,
  row: number,
  column: number,
): boolean {
  const isEnd = (y: number, x: number) =>
    y >= arcMaxSide || x >= arcMaxSide || tokens[y * arcMaxSide + x] === arcEndToken
  for (let y = row; y < row + height; y++) if (!isEnd(y, column + width)) return false
  for (let x = column; x < column + width; x++) if (!isEnd(row + height, x)) return false
  return height > 0
}
