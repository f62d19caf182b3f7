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
  const last = rows * columns - 1
  // The old cell of the new corner, and how far the next new row and the next new column are from there.
  const [corner, down, right] = (
    [
      [0, columns, 1],
      [columns - 1, -1, columns],
      [last, -columns, -1],
      [last - columns + 1, 1, -columns],
      [columns - 1, columns, -1],
      [last - columns + 1, -columns, 1],
      [0, 1, columns],
      [last, -1, -columns],
    ] as const
  )[symmetry]!
  const [newRows, newColumns] = dihedralTransposes(symmetry) ? [columns, rows] : [rows, columns]
  const source = new Int32Array(rows * columns)
  for (let row = 0, at = 0; row < newRows; row++) {
    for (let column = 0; column < newColumns; column++, at++) source[at] = corner + row * down + column * right
  }
  return { rows: newRows, columns: newColumns, source }
}
