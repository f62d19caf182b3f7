import { hash } from 'node:crypto'
import type { ArcGrid, ArcPair } from './grid.js'

function gridHash({ height, width, cells }: ArcGrid): string {
  return hash('sha256', Buffer.concat([Uint8Array.of(height, width), cells]))
}

/**
 * SHA-256 of a puzzle, the same for any order of its pairs: of the sorted `<hash of input>|<hash of output>`, joined by
 * `|`, where the hash of a grid is that of height, width and colours in a byte each; '' stands for a missing output.
 */
export function puzzleHash(pairs: readonly ArcPair[]): string {
  const hashes = pairs.map(({ input, output }) => `${gridHash(input)}|${output ? gridHash(output) : ''}`)
  return hash('sha256', hashes.sort().join('|'))
}
