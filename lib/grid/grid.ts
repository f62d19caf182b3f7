import type { StrictJson } from '../strict-json.js'
import type { Value } from '../vocabulary.js'
import { maxTokens } from '../vocabulary.js'

/** A rectangle of values; a sequence is one row. */
export interface Grid {
  form: 'grid' | 'sequence'
  /** At least one row, all of the same length of at least one value. */
  rows: readonly (readonly Value[])[]
}

/** Longest text of one value. */
const MAX_VALUE_CHARACTERS = 64

function isValue(value: StrictJson): value is Value {
  if (typeof value === 'string') return value.length <= MAX_VALUE_CHARACTERS
  return typeof value === 'number' && Number.isFinite(value)
}

/** A grid of what a file says, or what is wrong: expected and got. */
export type GridResult = Grid | { expected: string; got: string }

function describe(value: StrictJson): string {
  if (value instanceof Map) return 'an object'
  return Array.isArray(value) ? `a list of ${value.length}` : JSON.stringify(value).slice(0, 80)
}

/** Characters as values; line feeds part rows. */
function fromText(text: string): GridResult {
  const lines = text.split(/\r?\n/)
  return fromRows(
    lines.length > 1 ? 'grid' : 'sequence',
    lines.map((line) => [...line]),
  )
}

function fromRows(form: Grid['form'], rows: readonly (readonly StrictJson[])[]): GridResult {
  const columns = rows[0]?.length ?? 0
  if (columns === 0) return { expected: 'at least one value', got: 'none' }
  if (rows.length * columns > maxTokens)
    return { expected: `at most ${maxTokens} values`, got: `${rows.length} x ${columns}` }
  for (const [index, row] of rows.entries()) {
    if (row.length !== columns)
      return { expected: `rows of ${columns} values as the first`, got: `${row.length} in row ${index + 1}` }
    for (const value of row) {
      if (!isValue(value)) {
        const expected = `numbers or strings of at most ${MAX_VALUE_CHARACTERS} characters as values`
        return { expected, got: `${describe(value)} in row ${index + 1}` }
      }
    }
  }
  return { form, rows: rows as Value[][] }
}

/**
 * A grid as a list of rows, a sequence as a list of values, either as a text of one character per value; each value a
 * number or a string.
 */
export function gridFromJson(json: StrictJson | undefined): GridResult {
  if (typeof json === 'string') return fromText(json)
  const shapes = 'a grid [[…], …], a sequence […] or a text'
  if (!Array.isArray(json)) return { expected: shapes, got: json === undefined ? 'nothing' : describe(json) }
  if (!Array.isArray(json[0])) return fromRows('sequence', [json])
  const flat = json.findIndex((row) => !Array.isArray(row))
  if (flat >= 0) return { expected: 'a list as every row', got: `${describe(json[flat]!)} as row ${flat + 1}` }
  return fromRows('grid', json as StrictJson[][])
}
