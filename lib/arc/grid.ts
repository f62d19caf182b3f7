/** Longest side of an ARC grid. */
export const arcMaxSide = 30

/** Colours of ARC: 0 (black) to 9. */
export const arcColours = 10

/** A grid of colours. */
export interface ArcGrid {
  /** Rows, 1…30; 0 only for a prediction without a rectangle of colours. */
  readonly height: number
  /** Columns, 1…30, or 0 likewise. */
  readonly width: number
  /** [height · width] colours from 0 to 9, row by row. */
  readonly cells: Uint8Array
}

/** An input with its output; test pairs of a competition come without one. */
export interface ArcPair {
  /** What is shown. */
  readonly input: ArcGrid
  /** What it becomes. */
  readonly output?: ArcGrid
}

/** A task: demonstrations, and tests to be solved. */
export interface ArcTask {
  /** Name of the file or key in the collection; keys of submissions. */
  readonly id: string
  /** Demonstrations. */
  readonly train: readonly ArcPair[]
  /** Tests. */
  readonly test: readonly ArcPair[]
}

/** The grid as a list of rows, as in JSON. */
export function gridRows({ height, width, cells }: ArcGrid): number[][] {
  return Array.from({ length: height }, (_, row) => [...cells.subarray(row * width, (row + 1) * width)])
}

/** Equal grids, and no others, have equal keys: `<height>x<width>:<colours>`. */
export function gridKey({ height, width, cells }: ArcGrid): string {
  return `${height}x${width}:${cells.join('')}`
}
