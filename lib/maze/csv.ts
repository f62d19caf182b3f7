import { csvError, type CsvForm, readCsv } from '../csv.js'
import { mazeCharacters, mazeSide, mazeTokens } from './cells.js'
import type { Maze } from './generator.js'
import { findEnds, followPath, shortestPath } from './paths.js'

/** A row of a maze CSV. */
export interface MazeRow extends Maze {
  /** Line of the file on which the row ends, from 1. */
  line: number
  side: number
  /** Whether the answer is a shortest path, and whether it is the only one. */
  shortest: boolean
  unique: boolean
}

const form: CsvForm = {
  header: 'source,question,answer,rating',
  required: ['question', 'answer'],
  optional: [],
  maxRowBytes: 2 ** 17,
}

/** Longest side: token sequences of examples stay below 2^15. */
export const maxMazeSide = 180

function readMaze(path: string, line: number, column: string, text: string): Uint8Array {
  const tokens = mazeTokens(text)
  if (tokens !== undefined) return tokens
  const wrong = [...text].find((character) => !mazeCharacters.includes(character))
  throw csvError(
    path,
    line,
    `only the characters ${JSON.stringify(mazeCharacters)} as ${column}`,
    JSON.stringify(wrong),
  )
}

/**
 * The rows of a CSV with the columns source, question, answer, rating, in the form of sapientinc/maze-30x30-hard-1k:
 * square mazes row by row, `#` wall, space open, S, G, and in the answer `o` on the path. Spaces at the ends of fields
 * are cells. Read as a stream; every answer is checked to be a path through its question.
 *
 * @param onBytes - called with the bytes read so far when there are more
 * @throws HRMError ERR_HRM_DATASET naming file, line and field; ERR_HRM_IO
 */
export async function* readMazeCsv(
  path: string,
  onBytes?: (bytes: number) => void,
): AsyncGenerator<MazeRow, void, undefined> {
  let cells = 0
  for await (const { line, fields } of readCsv(path, form, onBytes)) {
    const [questionText, answerText] = fields as [string, string]
    const side = mazeSide(questionText.length)
    if (side === undefined || side > maxMazeSide) {
      const expected = `a square maze of at most ${maxMazeSide} × ${maxMazeSide} cells as question`
      throw csvError(path, line, expected, `${questionText.length} characters`)
    }
    cells ||= questionText.length
    if (questionText.length !== cells)
      throw csvError(path, line, `${cells} characters as question, as in the first row`, `${questionText.length}`)
    if (answerText.length !== cells) throw csvError(path, line, `${cells} characters as answer`, `${answerText.length}`)
    const question = readMaze(path, line, 'question', questionText)
    const answer = readMaze(path, line, 'answer', answerText)
    const ends = findEnds(question)
    if ('reason' in ends) throw csvError(path, line, 'a question with one S, one G and no o', ends.reason)
    const walked = followPath(side, question, ends, answer)
    if ('reason' in walked) throw csvError(path, line, 'an answer that solves the question', walked.reason)
    const { steps, unique } = shortestPath(side, question, ends)!
    yield { line, side, question, answer, shortest: walked.steps === steps, unique }
  }
}
