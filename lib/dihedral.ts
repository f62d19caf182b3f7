/** How many symmetries a rectangle's plane has: four rotations, each also mirrored. */
export const dihedralCount = 8

/** The symmetry that undoes each symmetry. */
export const dihedralInverse = [0, 3, 2, 1, 4, 5, 6, 7] as const

/** A rectangle after a symmetry. */
export interface DihedralView {
  rows: number
  columns: number
  /** [rows·columns]: the old cell of each new cell, row-major. */
  source: Int32Array
}

/** Old row and column of the new cell (row, column) of an old rectangle of `rows` × `columns`, by symmetry. */
const sources: readonly ((row: number, column: number, rows: number, columns: number) => readonly [number, number])[] =
  [
    (row, column) => [row, column],
    (row, column, _, columns) => [column, columns - 1 - row],
    (row, column, rows, columns) => [rows - 1 - row, columns - 1 - column],
    (row, column, rows) => [rows - 1 - column, row],
    (row, column, _, columns) => [row, columns - 1 - column],
    (row, column, rows) => [rows - 1 - row, column],
    (row, column) => [column, row],
    (row, column, rows, columns) => [rows - 1 - column, columns - 1 - row],
  ]

/** Whether a symmetry exchanges rows and columns. */
export function dihedralTransposes(symmetry: number): boolean {
  return symmetry === 1 || symmetry === 3 || symmetry >= 6
}

/**
 * One of the eight symmetries of a rectangle of `rows` × `columns` cells, numbered as in the official code: 0 identity,
 * 1 to 3 rotations by 90, 180 and 270 degrees counterclockwise, 4 mirrored left to right, 5 top to bottom, 6 at the main
 * diagonal, 7 at the other.
 */
export function dihedral(symmetry: number, rows: number, columns: number): DihedralView {
  const place = sources[symmetry]!
  const transposes = dihedralTransposes(symmetry)
  const [newRows, newColumns] = transposes ? [columns, rows] : [rows, columns]
  const source = new Int32Array(rows * columns)
  for (let row = 0; row < newRows; row++) {
    for (let column = 0; column < newColumns; column++) {
      const [oldRow, oldColumn] = place(row, column, rows, columns)
      source[row * newColumns + column] = oldRow * columns + oldColumn
    }
  }
  return { rows: newRows, columns: newColumns, source }
}
