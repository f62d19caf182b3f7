import type { Split } from '../dataset-files.js'
import { lineError } from '../text-blocks.js'
import { maxTokens, type Value, type Vocabulary } from '../vocabulary.js'
import type { GridPair } from './read.js'

/** A pair with where it comes from and where it goes to. */
export interface PlacedPair extends GridPair {
  path: string
  place: Split
  /** Whether the pair or its file names the split. */
  named: boolean
}

/** What a reading of all pairs finds. */
export interface GridSurvey {
  form: Vocabulary['form']
  /** The most of any input or output. */
  rows: number
  columns: number
  values: Set<Value>
  /** Size of all outputs, where they are alike. */
  outputSize: readonly [number, number] | undefined
  /** Whether every output has the size of its input. */
  sameSize: boolean
  /** Pairs that go to a split, and of those for training how many do not name it. */
  pairs: Record<Split, number>
  unnamed: number
}

/**
 * Reads all pairs; undefined where there are none.
 *
 * @throws HRMError ERR_HRM_DATASET naming file and line where forms are mixed or there are too many values
 */
export async function surveyPairs(op: string, all: AsyncIterable<PlacedPair>): Promise<GridSurvey | undefined> {
  let found: GridSurvey | undefined
  for await (const { path, line, input, output, place, named } of all) {
    const size = [output.rows.length, output.rows[0]!.length] as const
    found ??= {
      form: input.form,
      rows: 0,
      columns: 0,
      values: new Set(),
      outputSize: size,
      sameSize: true,
      pairs: { train: 0, test: 0 },
      unnamed: 0,
    }
    if (input.form !== found.form)
      throw lineError(op, path, line, `a ${found.form} as in the first pair`, `a ${input.form}`)
    if (found.outputSize?.some((extent, axis) => extent !== size[axis])) found.outputSize = undefined
    found.sameSize &&= input.rows.length === size[0] && input.rows[0]!.length === size[1]
    for (const { rows } of [input, output]) {
      found.rows = Math.max(found.rows, rows.length)
      found.columns = Math.max(found.columns, rows[0]!.length)
      for (const row of rows) for (const value of row) found.values.add(value)
    }
    if (found.values.size >= maxTokens)
      throw lineError(op, path, line, `fewer than ${maxTokens} different values`, `${found.values.size} up to here`)
    found.pairs[place]++
    if (!named) found.unnamed++
  }
  return found
}
