import { argumentError, HRMError, rangeError } from './errors.js'
import { show } from './options.js'
import { mazeSide, mazeVocabSize } from './maze/cells.js'
import { verifyMaze } from './maze/paths.js'
import { sudokuSizeOfCells, sudokuVocabSize, tokensToDigits } from './sudoku/geometry.js'
import { verifySudoku } from './sudoku/solver.js'
import { type Example, readTokens } from './tokens.js'

/** What the verifier says of an answer. */
export type Verdict =
  | {
      /** The answer obeys all rules of the task. */
      valid: true
    }
  | {
      /** It breaks one. */
      valid: false
      /** Which rule, and where. */
      reason: string
    }

/** Checkers by the name of the task; both arguments are token ids of one example. */
const verifiers = {
  sudoku(input: Example, answer: Example): Verdict {
    const size = sudokuSizeOfCells(input.length)
    if (!size) {
      throw new HRMError('ERR_HRM_SHAPE', `[verify] expected 16, 36 or 81 tokens for a Sudoku, got ${input.length}`)
    }
    const limits = { seqLen: input.length, vocabSize: sudokuVocabSize(size) }
    const puzzle = readTokens('verify', input, limits).tokens
    return verifySudoku(size, tokensToDigits(puzzle), tokensToDigits(readTokens('verify', answer, limits).tokens))
  },
  maze(input: Example, answer: Example): Verdict {
    const side = mazeSide(input.length)
    if (!side) {
      throw new HRMError(
        'ERR_HRM_SHAPE',
        `[verify] expected the cells of a square for a maze, as 900, got ${input.length}`,
      )
    }
    const limits = { seqLen: input.length, vocabSize: mazeVocabSize }
    const maze = readTokens('verify', input, limits).tokens
    return verifyMaze(side, maze, readTokens('verify', answer, limits).tokens)
  },
}

/**
 * Tasks whose rules are known.
 * @useDeclaredType
 */
export type Task = keyof typeof verifiers

export const verifiableTasks = Object.keys(verifiers) as Task[]

/**
 * Whether an answer obeys the rules of its task: the word of a checker, never of the model.
 *
 * @param task - `sudoku`: 4x4, 6x6 (boxes of 2 rows x 3 columns) or 9x9; tokens are 0 for padding, 1 for a blank cell,
 * digit + 1. `maze`: a square of 1 wall, 2 open, 3 start, 4 goal, 5 path; valid where the path is a shortest one
 * @param input - the example, as given to solve()
 * @param tokens - the answer, as solve() returned it
 * @throws ERR_HRM_ARGUMENT for an unknown task or tokens outside the vocabulary, ERR_HRM_SHAPE for a wrong length
 *
 * @example
 * const { tokens } = await model.solve(puzzle)
 * if (verify('sudoku', puzzle, tokens).valid) console.log('solved')
 */
export function verify(task: Task, input: Example, tokens: Example): Verdict {
  if (typeof task !== 'string') throw argumentError(`[verify] expected the name of a task, got ${show(task)}`)
  if (!Object.hasOwn(verifiers, task)) {
    throw rangeError(`[verify] expected a task of ${Object.keys(verifiers).join(', ')}, got ${show(task)}`)
  }
  for (const [name, value] of Object.entries({ input, tokens })) {
    if (Array.isArray(value) || ArrayBuffer.isView(value)) continue
    throw argumentError(`[verify] expected ${name} to be an array of token ids, got ${show(value)}`)
  }
  return verifiers[task](input, tokens)
}
