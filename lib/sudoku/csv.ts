import { csvError, type CsvForm, readCsv } from '../csv.js'
import type { SudokuPuzzle } from './generator.js'
import { verifySudoku } from './solver.js'

/** A row of a Sudoku CSV: a 9×9 puzzle with its solution. */
export interface SudokuRow extends SudokuPuzzle {
  /** Line of the file on which the row ends, from 1. */
  line: number
  /** Difficulty, e.g. guesses a solver needed; undefined where the file has no such column. */
  rating: number | undefined
}

const form: CsvForm = {
  header: 'source,question,answer,rating',
  required: ['question', 'answer'],
  optional: ['rating'],
  maxRowBytes: 2 ** 16,
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
  for await (const { line, fields } of readCsv(path, form, onBytes)) {
    const [question, answer, rating] = fields
    const puzzle = digits(path, line, 'question', question!, /^[.0-9]*$/)
    const solution = digits(path, line, 'answer', answer!, /^[1-9]*$/)
    const verdict = verifySudoku(9, puzzle, solution)
    if (!verdict.valid) throw csvError(path, line, 'an answer that solves the question', verdict.reason)
    if (rating !== undefined && !/^[0-9]{1,15}$/.test(rating))
      throw csvError(path, line, 'a whole number as rating', JSON.stringify(rating))
    yield { line, puzzle, solution, rating: rating === undefined ? undefined : Number(rating) }
  }
}
