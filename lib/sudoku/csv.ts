import { createReadStream } from 'node:fs'
import { CsvError, parse } from 'csv-parse'
import { HRMError } from '../errors.js'
import { ioError } from '../mapped-file.js'
import type { SudokuPuzzle } from './generator.js'
import { verifySudoku } from './solver.js'

/** A row of a Sudoku CSV: a 9×9 puzzle with its solution. */
export interface SudokuRow extends SudokuPuzzle {
  /** Line of the file on which the row ends, from 1. */
  line: number
  /** Difficulty, e.g. guesses a solver needed; undefined where the file has no such column. */
  rating: number | undefined
}

/** Longest row accepted; a quote that is never closed would else take in the whole file. */
const MAX_ROW_BYTES = 2 ** 16

function csvError(path: string, line: number, expected: string, got: string): HRMError {
  const message = `[csv] expected ${expected} in line ${line}, got ${got.slice(0, 120)} in ${path}; do correct the line`
  return new HRMError('ERR_HRM_DATASET', message, { path, line })
}

/** Where each column stands; `source` is not needed. */
interface Columns {
  count: number
  question: number
  answer: number
  rating: number
}

function readHeader(path: string, line: number, header: readonly string[]): Columns {
  const names = header.map((name) => name.trim())
  const [question, answer, rating] = ['question', 'answer', 'rating'].map((name) => names.indexOf(name))
  if (question! < 0 || answer! < 0 || new Set(names).size !== names.length) {
    throw csvError(path, line, 'the header source,question,answer,rating', JSON.stringify(header.join(',')))
  }
  return { count: names.length, question: question!, answer: answer!, rating: rating! }
}

function digits(path: string, line: number, column: string, text: string, pattern: RegExp): Uint8Array {
  if (text.length !== 81) throw csvError(path, line, `81 characters as ${column}`, `${text.length}`)
  if (!pattern.test(text)) {
    const wrong = [...text].find((character) => !pattern.test(character))
    throw csvError(
      path,
      line,
      `only ${column === 'answer' ? 'digits 1 to 9' : 'digits, "." and "0"'} as ${column}`,
      JSON.stringify(wrong),
    )
  }
  return Uint8Array.from(text, (character) => (character === '.' ? 0 : Number(character)))
}

function readRow(path: string, line: number, columns: Columns, record: readonly string[]): SudokuRow {
  if (record.length !== columns.count) throw csvError(path, line, `${columns.count} fields`, `${record.length}`)
  const puzzle = digits(path, line, 'question', record[columns.question]!, /^[.0-9]*$/)
  const solution = digits(path, line, 'answer', record[columns.answer]!, /^[1-9]*$/)
  const verdict = verifySudoku(9, puzzle, solution)
  if (!verdict.valid) throw csvError(path, line, 'an answer that solves the question', verdict.reason)
  const text = columns.rating < 0 ? undefined : record[columns.rating]!
  if (text !== undefined && !/^[0-9]{1,15}$/.test(text))
    throw csvError(path, line, 'a whole number as rating', JSON.stringify(text))
  return { line, puzzle, solution, rating: text === undefined ? undefined : Number(text) }
}

/**
 * The rows of a CSV with the columns source, question, answer, rating, in the form of sapientinc/sudoku-extreme: 81
 * digits row by row, `.` or `0` for blank. Read as a stream; every answer is checked against its question.
 *
 * @param onBytes - called with the bytes read so far when there are more
 * @throws HRMError ERR_HRM_DATASET naming file, line and field; ERR_HRM_IO
 */
export async function* readSudokuCsv(
  path: string,
  onBytes?: (bytes: number) => void,
): AsyncGenerator<SudokuRow, void, undefined> {
  const file = createReadStream(path, { highWaterMark: 2 ** 18 })
  const parser = parse({
    bom: true,
    info: true,
    relax_column_count: true,
    skip_empty_lines: true,
    max_record_size: MAX_ROW_BYTES,
  })
  file.on('error', (error) => parser.destroy(error))
  file.pipe(parser)
  let columns: Columns | undefined
  let reported = 0
  try {
    for await (const { record, info } of parser as AsyncIterable<{ record: string[]; info: { lines: number } }>) {
      if (columns === undefined) columns = readHeader(path, info.lines, record)
      else yield readRow(path, info.lines, columns, record)
      if (file.bytesRead === reported) continue
      reported = file.bytesRead
      onBytes?.(reported)
    }
  } catch (error) {
    if (!(error instanceof CsvError)) throw ioError('read', path, error)
    const { lines } = error as CsvError & { lines?: number }
    throw csvError(path, lines ?? 0, 'a well-formed CSV row', error.message)
  } finally {
    file.destroy()
  }
  if (columns === undefined) throw csvError(path, 1, 'the header source,question,answer,rating', 'an empty file')
}
