import { dihedralCount } from '../dihedral.js'
import { transformGrid } from './augment.js'
import type { LeakReport } from '../leaks.js'
import { arcColours, type ArcPair } from './grid.js'

/** Pairs listed in a report. */
const MAX_LISTED = 10

/** Colours other than black renumbered in the order in which they come. */
function relabelled(cells: Uint8Array): string {
  const names = new Uint8Array(arcColours)
  let next = 1
  const digits = Buffer.from(cells)
  for (let cell = 0; cell < digits.length; cell++) {
    const colour = cells[cell]!
    if (colour !== 0 && names[colour] === 0) names[colour] = next++
    digits[cell] = 0x30 + names[colour]!
  }
  return digits.toString('latin1')
}

/** The same text for pairs, or inputs without output, that augmentations turn into each other, and for no others. */
export function canonicalPair({ input, output }: ArcPair): string {
  const forms = Array.from({ length: dihedralCount }, (_, transform) => {
    const grids = (output ? [input, output] : [input]).map((grid) => transformGrid(grid, transform))
    const sizes = grids.map(({ height, width }) => `${height}x${width}`).join()
    return `${sizes}:${relabelled(Buffer.concat(grids.map(({ cells }) => cells)))}`
  })
  return forms.sort()[0]!
}

/**
 * Looks for test pairs, before augmentation, that occur in training in any augmentation; those without output are compared by
 * their input.
 */
export function findArcLeaks(train: readonly ArcPair[], test: readonly { name: string; pair: ArcPair }[]): LeakReport {
  const unlabelled = test.some(({ pair }) => pair.output === undefined)
  const known = new Set<string>()
  for (const pair of train) {
    known.add(canonicalPair(pair))
    if (unlabelled) known.add(canonicalPair({ input: pair.input }))
  }
  const leaked = test.filter(({ pair }) => known.has(canonicalPair(pair))).map(({ name }) => name)
  return {
    compared: 'pairs up to colours and symmetry',
    testExamples: test.length,
    leaked: leaked.length,
    firstLeaked: leaked.slice(0, MAX_LISTED),
  }
}
