import fc from 'fast-check'
import type { ArcAugmentation } from '#dist/arc/augment.js'
import type { ArcGrid } from '#dist/arc/grid.js'

export function gridOf(rows: number[][]): ArcGrid {
  return { height: rows.length, width: rows[0]?.length ?? 0, cells: Uint8Array.from(rows.flat()) }
}

/** Grids of any size and colours. */
export const grid: fc.Arbitrary<ArcGrid> = fc
  .tuple(fc.integer({ min: 1, max: 30 }), fc.integer({ min: 1, max: 30 }), fc.infiniteStream(fc.nat(9)))
  .map(([height, width, colours]) => ({ height, width, cells: Uint8Array.from(colours.take(height * width)) }))

/** Augmentations as they are drawn: black stays. */
export const augmentation: fc.Arbitrary<ArcAugmentation> = fc.record({
  transform: fc.nat(7),
  colours: fc
    .shuffledSubarray([1, 2, 3, 4, 5, 6, 7, 8, 9], { minLength: 9 })
    .map((others) => Uint8Array.from([0, ...others])),
})

/** A small task as in JSON: the output is the colour of the input that comes most often. */
export const task = {
  train: [
    { input: [[1, 2, 1]], output: [[1]] },
    {
      input: [
        [0, 3],
        [3, 3],
      ],
      output: [[3]],
    },
  ],
  test: [{ input: [[7, 0, 7, 7]], output: [[7]] }],
}
