import type { RandomStream } from '../random.js'
import { arcColours, type ArcGrid } from './grid.js'

/** Dihedral transforms, by number; the names of augmented puzzles hold the number. */
export const arcTransforms = 8

/** The transform that undoes each: turns by a quarter undo each other, all others undo themselves. */
export const arcInverseTransforms = [0, 3, 2, 1, 4, 5, 6, 7] as const

/**
 * A grid turned or mirrored: 0 as it is, 1 to 3 turned counterclockwise by so many quarters, 4 mirrored left-right,
 * 5 top-bottom, 6 along the main diagonal, 7 along the other one.
 */
export function transformGrid(grid: ArcGrid, transform: number): ArcGrid {
  const { height, width, cells } = grid
  const swapped = transform === 1 || transform === 3 || transform >= 6
  const last = height * width - 1
  // Where row 0, column 0 of the result is read, and how far the next row and the next column are from there.
  const [start, down, right] = (
    [
      [0, width, 1],
      [width - 1, -1, width],
      [last, -width, -1],
      [last - width + 1, 1, -width],
      [width - 1, width, -1],
      [last - width + 1, -width, 1],
      [0, 1, width],
      [last, -1, -width],
    ] as const
  )[transform]!
  const rows = swapped ? width : height
  const columns = swapped ? height : width
  const out = new Uint8Array(cells.length)
  for (let row = 0, at = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++, at++) out[at] = cells[start + row * down + column * right]!
  }
  return { height: rows, width: columns, cells: out }
}

/** A permutation of colours, then a transform. */
export interface ArcAugmentation {
  /** 0 … 7. */
  transform: number
  /** [10]: colour c becomes colours[c]; black (0) stays. */
  colours: Uint8Array
}

/** Every transform and every permutation that keeps black is as likely. */
export function randomAugmentation(random: RandomStream): ArcAugmentation {
  const transform = random.nextBelow(arcTransforms)
  const colours = Uint8Array.from({ length: arcColours }, (_, colour) => colour)
  random.shuffle(colours.subarray(1))
  return { transform, colours }
}

export function augmentGrid(grid: ArcGrid, { transform, colours }: ArcAugmentation): ArcGrid {
  const turned = transformGrid(grid, transform)
  const { cells } = turned
  for (let cell = 0; cell < cells.length; cell++) cells[cell] = colours[cells[cell]!]!
  return turned
}

/** The grid that became this one by the augmentation. */
export function undoAugmentation(grid: ArcGrid, { transform, colours }: ArcAugmentation): ArcGrid {
  const before = new Uint8Array(arcColours)
  for (let colour = 0; colour < arcColours; colour++) before[colours[colour]!] = colour
  return augmentGrid(grid, { transform: arcInverseTransforms[transform]!, colours: before })
}

/** Identifier of an augmented puzzle: `<task>_t<transform>_<the ten colours>`. */
export function augmentedName(task: string, { transform, colours }: ArcAugmentation): string {
  return `${task}_t${transform}_${colours.join('')}`
}

const namePattern = /^(.*)_t([0-7])_([0-9]{10})$/s

/** Reads an identifier; one without the suffix of an augmentation, or with colours that are no permutation, is a task. */
export function parseAugmentedName(name: string): { task: string; augmentation: ArcAugmentation | undefined } {
  const [, task, transform, digits] = namePattern.exec(name) ?? []
  if (digits === undefined || new Set(digits).size !== arcColours) return { task: name, augmentation: undefined }
  return { task: task!, augmentation: { transform: Number(transform), colours: Uint8Array.from(digits, Number) } }
}
