import { dihedral, dihedralCount, dihedralInverse } from '../dihedral.js'
import type { RandomStream } from '../random.js'
import { arcColours, type ArcGrid } from './grid.js'

/** A grid after one of the eight symmetries of the plane. */
export function transformGrid({ height, width, cells }: ArcGrid, symmetry: number): ArcGrid {
  const { rows, columns, source } = dihedral(symmetry, height, width)
  const turned = new Uint8Array(cells.length)
  for (let cell = 0; cell < turned.length; cell++) turned[cell] = cells[source[cell]!]!
  return { height: rows, width: columns, cells: turned }
}

/** A permutation of colours, and a symmetry. */
export interface ArcAugmentation {
  /** 0 … 7, as in `dihedral`; the names of augmented puzzles hold it. */
  transform: number
  /** 10 colours: colour c becomes `colours[c]`; black (0) stays. */
  colours: Uint8Array
}

/** Every transform and every permutation that keeps black is as likely. */
export function randomAugmentation(random: RandomStream): ArcAugmentation {
  const transform = random.nextBelow(dihedralCount)
  const colours = Uint8Array.from({ length: arcColours }, (_, colour) => colour)
  random.shuffle(colours.subarray(1))
  return { transform, colours }
}

/** The grid turned or mirrored, then recoloured. */
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
  return augmentGrid(grid, { transform: dihedralInverse[transform]!, colours: before })
}

/** Identifier of an augmented puzzle: `<task>_t<transform>_<the ten colours>`. */
export function augmentedName(task: string, { transform, colours }: ArcAugmentation): string {
  return `${task}_t${transform}_${colours.join('')}`
}

const namePattern = /^(.*)_t([0-7])_([0-9]{10})$/s

/** A task in one augmentation, as an identifier names it. */
export interface ArcVersion {
  /** Identifier of the task. */
  task: string
  /** undefined for the task itself. */
  augmentation: ArcAugmentation | undefined
}

/** Reads an identifier; one without the suffix of an augmentation, or with colours that are no permutation, is a task. */
export function parseAugmentedName(name: string): ArcVersion {
  const [, task, transform, digits] = namePattern.exec(name) ?? []
  if (digits === undefined || new Set(digits).size !== arcColours) return { task: name, augmentation: undefined }
  return { task: task!, augmentation: { transform: Number(transform), colours: Uint8Array.from(digits, Number) } }
}
