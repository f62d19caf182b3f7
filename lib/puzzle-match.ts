import { datasetError } from './dataset-files.js'
import { HRMError } from './errors.js'
import type { ModelSource } from './model-source.js'
import { puzzleTable } from './model-tensors.js'

/** Which rows of a puzzle embedding table serve a dataset that numbers its puzzles otherwise. */
export interface PuzzleMatch {
  /** [N] by new identifier: the old row, or -1 where the puzzle is new. */
  rows: Int32Array
  matched: number
  /** Puzzles that the old dataset did not have; their row starts at zero, as in a new model. */
  added: number
  /** Old puzzles that the new dataset does not have. */
  dropped: number
}

function numbersOf(names: readonly string[], path: string): Map<string, number> {
  const numbers = new Map<string, number>()
  names.forEach((name, number) => {
    if (numbers.has(name))
      throw datasetError(
        path,
        'each name once',
        `${JSON.stringify(name.slice(0, 80))} at ${numbers.get(name)} and ${number}`,
      )
    numbers.set(name, number)
  })
  return numbers
}

/**
 * Matches the puzzles of two datasets by name.
 *
 * @param oldPath - and `newPath`: where the names are from, for messages
 * @throws HRMError ERR_HRM_DATASET where a name repeats
 */
export function matchPuzzles(
  oldNames: readonly string[],
  oldPath: string,
  newNames: readonly string[],
  newPath: string,
): PuzzleMatch {
  const old = numbersOf(oldNames, oldPath)
  numbersOf(newNames, newPath)
  const rows = Int32Array.from(newNames, (name) => old.get(name) ?? -1)
  const matched = rows.reduce((count, row) => count + (row < 0 ? 0 : 1), 0)
  return { rows, matched, added: rows.length - matched, dropped: oldNames.length - matched }
}

/**
 * The same model with its puzzle embeddings in the order of another dataset.
 *
 * @param oldPath - where the names of the old puzzles are from
 * @throws HRMError ERR_HRM_DATASET where the table does not have one row per old name; ERR_HRM_CHECKPOINT without a table
 */
export function withPuzzles(
  source: ModelSource,
  oldNames: readonly string[],
  oldPath: string,
  match: PuzzleMatch,
): ModelSource {
  const { model } = source.config
  const width = model.puzzleEmbNdim
  if (width === 0)
    throw new HRMError('ERR_HRM_CHECKPOINT', `[identifiers] expected puzzle embeddings in ${source.path}, got none`, {
      path: source.path,
    })
  if (oldNames.length !== model.numPuzzleIdentifiers)
    throw datasetError(
      oldPath,
      `${model.numPuzzleIdentifiers} names, one for each row of the table`,
      `${oldNames.length}`,
    )
  return {
    path: source.path,
    config: { ...source.config, model: { ...model, numPuzzleIdentifiers: match.rows.length } },
    async read(name, begin, end) {
      if (name !== puzzleTable) return source.read(name, begin, end)
      const values = new Float32Array(end - begin)
      for (let at = begin; at < end;) {
        const row = Math.floor(at / width)
        const next = Math.min((row + 1) * width, end)
        const old = match.rows[row]!
        if (old >= 0) {
          const shift = (old - row) * width
          values.set(await source.read(name, at + shift, next + shift), at - begin)
        }
        at = next
      }
      return values
    },
    close: () => source.close(),
  }
}
