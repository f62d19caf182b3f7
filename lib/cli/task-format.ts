import { arcSeqLen, arcVocabSize, cropGrid, encodeGrid, gridCorner, isBordered } from '../arc/encode.js'
import { gridRows } from '../arc/grid.js'
import { parseArcGrid } from '../arc/read.js'
import { decodeAnswer, decodeInput, gridFromJson, gridToTokens, tokensByValue, valuesToJson } from '../grid/index.js'
import { mazeText, mazeTokens } from '../maze/cells.js'
import { verifyMaze } from '../maze/paths.js'
import { drawArc } from '../render/arc.js'
import { drawGrid } from '../render/grid.js'
import { drawMaze } from '../render/maze.js'
import { drawSudoku } from '../render/sudoku.js'
import { filmstrip, type RenderOptions } from '../render/text.js'
import type { SegmentState } from '../solver.js'
import { parseStrictJson, type StrictJson } from '../strict-json.js'
import { tokensToDigits, verifySudoku } from '../sudoku/index.js'
import { knownTask, type TaskSizes } from '../task.js'
import type { Vocabulary } from '../vocabulary.js'
import { type SudokuFormat, sudokuFormat, sudokuText, sudokuTokens } from './sudoku-format.js'

type Tokens = ArrayLike<number>

/** A line of input as tokens, or what is wrong with it. */
export type ReadLine = readonly number[] | { expected: string; got: string }

/** How the examples of a task are read, written, drawn and checked. */
export interface TaskFormat {
  task: 'sudoku' | 'maze' | 'arc' | 'grid'
  /** Reads a line without its end. */
  read: (line: string) => ReadLine
  /** An answer as one line. */
  text: (input: Tokens, answer: Tokens) => string
  /** An answer in JSON output. @default its text */
  json?: (input: Tokens, answer: Tokens) => unknown
  /** What a valid answer is, and what is said of one and of several: `solved`, `obey the rules`. */
  valid: (input: Tokens, answer: Tokens) => boolean
  words: { valid: string; invalid: string; several: string; share: string }
  /** Draws an input, or an answer to it; `previous` is the answer one segment earlier. */
  draw: (render: RenderOptions, input: Tokens, answer?: Tokens, previous?: Tokens) => string[]
}

const rules = {
  valid: 'solved',
  invalid: 'breaks the rules',
  several: 'solutions obey the rules',
  share: 'obey the rules',
}

/** A JSON array of tokens, or what was expected instead. */
export function readTokenList(line: string, { seqLen, vocabSize }: TaskSizes): ReadLine {
  const isToken = (token: unknown) => Number.isInteger(token) && (token as number) >= 0 && (token as number) < vocabSize
  try {
    const tokens: unknown = JSON.parse(line)
    if (Array.isArray(tokens) && tokens.length === seqLen && tokens.every(isToken)) return tokens as number[]
  } catch (cause) {
    if (!(cause instanceof SyntaxError)) throw cause
  }
  return { expected: `a JSON array of ${seqLen} tokens from 0 to ${vocabSize - 1}`, got: line.trim() }
}

function formatSudoku(sizes: TaskSizes, sudoku: SudokuFormat): TaskFormat {
  const { size, digits } = sudoku
  return {
    task: 'sudoku',
    words: rules,
    read(line) {
      const text = line.trim()
      if (text.startsWith('[')) return readTokenList(text, sizes)
      const expected = `${sizes.seqLen} digits of 1 to ${size} with . or 0 for empty cells`
      return sudokuTokens(text, sudoku) ?? { expected, got: JSON.stringify(text) }
    },
    text: (_, answer) => sudokuText(sudoku, answer),
    valid: (input, answer) => verifySudoku(size, tokensToDigits(input), digits(answer)).valid,
    draw(render, input, answer, previous) {
      const givens = tokensToDigits(input)
      const shown = { size, digits: answer ? digits(answer) : givens, givens }
      return drawSudoku(previous ? { ...shown, previous: digits(previous) } : shown, render)
    },
  }
}

function formatMaze(sizes: TaskSizes): TaskFormat {
  const side = Math.sqrt(sizes.seqLen)
  return {
    task: 'maze',
    words: rules,
    read(line) {
      if (line.trim().startsWith('[')) return readTokenList(line, sizes)
      const tokens = line.length === sizes.seqLen ? mazeTokens(line) : undefined
      const expected = `${sizes.seqLen} characters of "# SG", spaces at the ends too`
      return tokens ? [...tokens] : { expected, got: `${line.length}: ${JSON.stringify(line.slice(0, 60))}` }
    },
    text: (_, answer) => mazeText(answer),
    valid: (input, answer) => verifyMaze(side, input, answer).valid,
    draw: (render, question, answer, previous) => drawMaze({ side, question, answer, previous }, render),
  }
}

/** A line is a grid `[[0, 1], …]` or its tokens; answers stand on the canvas where their inputs do. */
const arcFormat: TaskFormat = {
  task: 'arc',
  words: {
    valid: 'a whole grid',
    invalid: 'a grid without its border',
    several: 'answers are whole grids',
    share: 'whole grids',
  },
  read(line) {
    if (!/^\s*\[\s*\[/.test(line)) return readTokenList(line, { seqLen: arcSeqLen, vocabSize: arcVocabSize })
    try {
      const tokens = new Uint8Array(arcSeqLen)
      encodeGrid(parseArcGrid(line), 0, 0, tokens)
      return [...tokens]
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error
      return { expected: 'a grid of colours from 0 to 9', got: error.message.replace(/^expected /, '') }
    }
  },
  text: (input, answer) => JSON.stringify(arcFormat.json!(input, answer)),
  json(input, answer) {
    const { row, column } = gridCorner(input)
    return gridRows(cropGrid(answer, row, column))
  },
  valid(input, answer) {
    const { row, column } = gridCorner(input)
    return isBordered(answer, cropGrid(answer, row, column), row, column)
  },
  draw(render, input, answer = input, previous) {
    const { row, column } = gridCorner(input)
    const crop = (tokens: Tokens) => cropGrid(tokens, row, column)
    return drawArc({ grid: crop(answer), previous: previous && crop(previous) }, render)
  },
}

/** The input of a line: of a pair `{"input": …}`, or the input alone; a text may come without quotes. */
function gridInput(line: string): StrictJson | undefined {
  const isJson = /^\s*[[{"]/.test(line)
  const json = isJson ? parseStrictJson(line) : line
  return json instanceof Map ? json.get('input') : json
}

function formatGrid(vocabulary: Vocabulary): TaskFormat {
  const tokenOf = tokensByValue(vocabulary)
  const { values } = vocabulary
  return {
    task: 'grid',
    words: {
      valid: 'a whole answer',
      invalid: 'padding within the answer',
      several: 'answers are whole',
      share: 'whole answers',
    },
    read(line) {
      let json: StrictJson | undefined
      try {
        json = gridInput(line)
      } catch (error) {
        return { expected: 'JSON', got: (error as Error).message }
      }
      const grid = gridFromJson(json)
      if (!('rows' in grid)) return { ...grid, expected: `${grid.expected} as input` }
      const tokens = gridToTokens(grid, vocabulary, tokenOf)
      const { rows, columns } = vocabulary
      if (tokens instanceof Int32Array) return [...tokens]
      const expected = `at most ${rows} x ${columns} values of the ${values.length - 1} that the training data has`
      return { expected, got: tokens.unknown }
    },
    text: (input, answer) => JSON.stringify(valuesToJson(vocabulary, decodeAnswer(vocabulary, input, answer).rows)),
    json: (input, answer) => valuesToJson(vocabulary, decodeAnswer(vocabulary, input, answer).rows),
    valid: (input, answer) => decodeAnswer(vocabulary, input, answer).wellFormed,
    draw(render, input, answer, previous) {
      const decode = (tokens: Tokens) => decodeAnswer(vocabulary, input, tokens).rows
      const rows = answer ? decode(answer) : decodeInput(vocabulary, input).rows
      const lines = drawGrid({ rows, values, previous: previous && decode(previous) }, render)
      return lines.length > 0 ? lines : ['(empty)']
    },
  }
}

/** The format of a model or dataset; undefined where its task is unknown, or another than the one asked for. */
export function taskFormat(
  sizes: TaskSizes,
  vocabulary: Vocabulary | undefined,
  asked?: TaskFormat['task'],
): TaskFormat | undefined {
  const known = knownTask(sizes, vocabulary, asked)
  switch (known?.task) {
    case 'sudoku':
      return formatSudoku(sizes, sudokuFormat(known.size))
    case 'maze':
      return formatMaze(sizes)
    case 'arc':
      return arcFormat
    case 'grid':
      return formatGrid(known.vocabulary)
    default:
      return undefined
  }
}

/** Draws a puzzle and what each segment answered. */
export function drawSegments(
  format: TaskFormat,
  input: Tokens,
  states: readonly Pick<SegmentState, 'tokens'>[],
  render: RenderOptions,
): string[] {
  const frames = states.map(({ tokens }, at) => ({
    title: `segment ${at + 1}`,
    lines: format.draw(render, input, tokens, states[at - 1]?.tokens ?? input),
  }))
  return filmstrip([{ title: 'puzzle', lines: format.draw(render, input) }, ...frames], render)
}
