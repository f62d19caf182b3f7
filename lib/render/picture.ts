import { arcFirstColour, cropGrid, gridCorner } from '../arc/encode.js'
import { arcMaxSide } from '../arc/grid.js'
import { decodeAnswer, decodeInput } from '../grid/tokens.js'
import { cell, isAllowedCell, mazeText } from '../maze/cells.js'
import { brokenCells } from '../sudoku/broken-cells.js'
import { sudokuGeometry, tokensToDigits } from '../sudoku/geometry.js'
import { knownTask, type KnownTask, type TaskSizes } from '../task.js'
import type { Value, Vocabulary } from '../vocabulary.js'
import { hues, type Tone } from './palette.js'

/** One cell of a picture. */
export interface PictureCell {
  tone: Tone
  text: string
  /** Part of the question: drawn bold. */
  given?: boolean
  /** Differs from the picture before: drawn with a corner. */
  changed?: boolean
  /** Differs from the right answer or, where that is not known, breaks a rule: drawn with a frame. */
  wrong?: boolean
}

/** A grid to be drawn, as SVG or as pixels; without cells where there is no grid to see. */
export interface Picture {
  rows: number
  columns: number
  /** [rows · columns], row by row. */
  cells: PictureCell[]
  /** Cells between the thick lines of a Sudoku. */
  box?: { rows: number; columns: number }
}

type Tokens = ArrayLike<number>

/** What an answer is compared with, [seqLen] tokens each. */
export interface Beside {
  /** The answer one segment earlier: cells that differ from it are changed. */
  previous?: Tokens | undefined
  /** The right answer, < 0 where every token is right. */
  labels?: Tokens | undefined
}

/** Draws an input, or an answer to it. */
export type DrawPicture = (input: Tokens, answer?: Tokens, beside?: Beside) => Picture

function marks(at: number, token: number, { previous, labels }: Beside): Pick<PictureCell, 'changed' | 'wrong'> {
  const label = labels?.[at] ?? -1
  return {
    ...(previous !== undefined && previous[at] !== token ? { changed: true } : {}),
    ...(label >= 0 && label !== token ? { wrong: true } : {}),
  }
}

function sudokuPicture(size: number): DrawPicture {
  const { cells, boxRows, boxColumns } = sudokuGeometry(size)
  return (input, answer = input, beside = {}) => {
    const givens = tokensToDigits(input)
    const digits = Array.from(answer, (token) => token - 1)
    const broken = beside.labels || answer === input ? undefined : brokenCells({ size, digits, givens })
    return {
      rows: size,
      columns: size,
      box: { rows: boxRows, columns: boxColumns },
      cells: Array.from({ length: cells }, (_, at) => {
        const digit = digits[at]!
        return {
          tone: 'plain',
          text: digit === 0 ? '' : digit > 0 && digit <= size ? String(digit) : '?',
          ...(givens[at] === 0 ? {} : { given: true }),
          ...(broken?.[at] ? { wrong: true } : {}),
          ...marks(at, answer[at]!, beside),
        }
      }),
    }
  }
}

const mazeTones: Readonly<Record<number, Tone>> = { [cell.wall]: 'wall', [cell.path]: 'path', [cell.pad]: 'pad' }

function mazePicture(side: number): DrawPicture {
  return (input, answer = input, beside = {}) => ({
    rows: side,
    columns: side,
    cells: Array.from({ length: side * side }, (_, at) => {
      const token = answer[at]!
      const end = token === cell.start || token === cell.goal
      const breaks = beside.labels === undefined && !isAllowedCell(input[at]!, token)
      return {
        tone: end ? 'end' : (mazeTones[token] ?? 'plain'),
        text: end ? mazeText([token]) : token === cell.path ? '•' : '',
        ...(end ? { given: true } : {}),
        ...(breaks ? { wrong: true } : {}),
        ...marks(at, token, beside),
      }
    }),
  })
}

/** Grids stand on a canvas, answers where their inputs do; only the grid is drawn. */
const arcPicture: DrawPicture = (input, answer = input, beside = {}) => {
  const { row, column } = gridCorner(input)
  const { height, width } = cropGrid(answer, row, column)
  return {
    rows: height,
    columns: width,
    cells: Array.from({ length: height * width }, (_, index) => {
      const at = (row + Math.floor(index / width)) * arcMaxSide + column + (index % width)
      const colour = answer[at]! - arcFirstColour
      return {
        tone: `arc${colour}` as Tone,
        text: colour === 0 ? '' : String(colour),
        ...marks(at, answer[at]!, beside),
      }
    }),
  }
}

/** Control characters have no shape; long values are cut. */
function shownValue(value: Value | null): string {
  if (value === null) return ''
  const text = String(value).replace(/\p{C}/gu, '?')
  return text.length > 4 ? `${text.slice(0, 3)}…` : text
}

function gridPicture(vocabulary: Vocabulary): DrawPicture {
  const { columns: stride, values } = vocabulary
  const colored = values.length - 1 <= hues
  return (input, answer, beside = {}) => {
    const { rows } = answer ? decodeAnswer(vocabulary, input, answer) : decodeInput(vocabulary, input)
    const tokens = answer ?? input
    const width = rows[0]?.length ?? 0
    return {
      rows: width === 0 ? 0 : rows.length,
      columns: width,
      cells: rows.flatMap((values, y) =>
        values.map((value, x) => {
          const at = y * stride + x
          const tone = value === null ? 'pad' : colored ? (`hue${tokens[at]! - 1}` as Tone) : 'plain'
          return { tone, text: shownValue(value), ...marks(at, tokens[at]!, beside) }
        }),
      ),
    }
  }
}

/** Tokens as numbers, in a square where their count is one, else in rows of 32. */
function tokensPicture(seqLen: number): DrawPicture {
  const side = Math.sqrt(seqLen)
  const columns = Number.isInteger(side) ? side : Math.min(32, seqLen)
  const rows = Math.ceil(seqLen / columns)
  return (_, answer = _, beside = {}) => ({
    rows,
    columns,
    cells: Array.from({ length: rows * columns }, (_, at) => {
      const token = answer[at]
      return token === undefined || token < 0
        ? { tone: 'pad', text: '' }
        : { tone: 'plain', text: String(token), ...marks(at, token, beside) }
    }),
  })
}

function drawingOf(known: KnownTask | undefined, seqLen: number): DrawPicture {
  switch (known?.task) {
    case 'sudoku':
      return sudokuPicture(known.size)
    case 'maze':
      return mazePicture(known.side)
    case 'arc':
      return arcPicture
    case 'grid':
      return gridPicture(known.vocabulary)
    default:
      return tokensPicture(seqLen)
  }
}

/**
 * How the examples of a model or dataset are drawn: Sudokus, mazes, ARC grids, grids of a vocabulary, and anything else
 * as its tokens. Needs nothing of Node, so that pages in the browser draw the same.
 *
 * @example
 * const draw = pictures(model.config, model.vocabulary)
 * const svg = svgOf(draw(puzzle, tokens, { labels }))
 */
export function pictures(sizes: TaskSizes, vocabulary?: Vocabulary): DrawPicture {
  return drawingOf(knownTask(sizes, vocabulary), sizes.seqLen)
}

/** A picture of a filmstrip. */
export interface PictureFrame {
  /** `puzzle`, `segment 1`, …, `answer`. */
  title: string
  picture: Picture
}

/** A puzzle, what each segment answered, and the right answer where it is known. */
export function segmentFrames(
  draw: DrawPicture,
  input: Tokens,
  segments: readonly Tokens[],
  labels?: ArrayLike<number>,
): PictureFrame[] {
  const frames = segments.map((tokens, at) => ({
    title: `segment ${at + 1}`,
    picture: draw(input, tokens, { previous: segments[at - 1] ?? input, labels }),
  }))
  const right = labels && Array.from(labels, (label, at) => (label < 0 ? input[at]! : label))
  return [
    { title: 'puzzle', picture: draw(input) },
    ...frames,
    ...(right ? [{ title: 'answer', picture: draw(input, right, { labels }) }] : []),
  ]
}
