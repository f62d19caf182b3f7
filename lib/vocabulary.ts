import type { StrictJson } from './strict-json.js'

/** A value of the user's data. */
export type Value = number | string

/**
 * What the tokens of a dataset stand for; the content of `vocabulary.json`, which checkpoints take along. An example is a
 * rectangle in the upper left corner of `rows` × `columns` cells; what lies outside is padding (token 0).
 */
export interface Vocabulary {
  /** What the examples are. */
  task: 'maze' | 'grid'
  /** Grids of values, or sequences, which are grids of one row. */
  form: 'grid' | 'sequence'
  /** Rows of the canvas, >= 1; sequences have one. */
  rows: number
  /** Columns of the canvas, >= 1; rows * columns = seqLen. */
  columns: number
  /** Size of answers: that of their input, always the same (rows, columns), or told by their padding. */
  answer: 'input' | 'padding' | readonly [number, number]
  /** The value of each token; that of token 0, padding, is null. */
  values: readonly (Value | null)[]
}

/** Most tokens of an example, and most values of a vocabulary. */
export const maxTokens = 2 ** 16

export const vocabularyFile = 'vocabulary.json'

/** The text of `vocabulary.json`. */
export function encodeVocabulary({ task, form, rows, columns, answer, values }: Vocabulary): string {
  return `${JSON.stringify({ task, form, rows, columns, answer, values })}\n`
}

/** @param fail - throws an error that names the file */
export function parseVocabulary(json: StrictJson, fail: (expected: string) => never): Vocabulary {
  if (!(json instanceof Map)) return fail('an object')
  const isCount = (value: unknown): value is number =>
    Number.isInteger(value) && (value as number) >= 1 && (value as number) <= maxTokens
  const task = json.get('task')
  if (task !== 'maze' && task !== 'grid') return fail('task to be maze or grid')
  const form = json.get('form')
  if (form !== 'grid' && form !== 'sequence') return fail('form to be grid or sequence')
  const [rows, columns] = [json.get('rows'), json.get('columns')]
  if (!isCount(rows) || !isCount(columns)) return fail(`rows and columns to be integers from 1 to ${maxTokens}`)
  const answer = json.get('answer')
  const isSize = Array.isArray(answer) && answer.length === 2 && answer.every(isCount)
  if (!isSize && answer !== 'input' && answer !== 'padding') return fail('answer to be input, padding or two sizes')
  const values = json.get('values')
  const isValue = (value: StrictJson) => typeof value === 'string' || typeof value === 'number'
  if (!Array.isArray(values) || values[0] !== null || !values.slice(1).every(isValue))
    return fail('values to be a list of null and then numbers or strings')
  return {
    task,
    form,
    rows,
    columns,
    answer: isSize ? [answer[0] as number, answer[1] as number] : (answer as 'input' | 'padding'),
    values: values as (Value | null)[],
  }
}
