import { createReadStream } from 'node:fs'
import { createInterface } from 'node:readline'
import { Command, Option } from 'commander'
import { HRMError } from '../errors.js'
import { HRM } from '../model.js'
import { drawSudoku, filmstrip } from '../render/sudoku.js'
import { type RenderOptions, renderOptions, sideBySide } from '../render/text.js'
import { drawTokens } from '../render/tokens.js'
import { tokensToDigits, verifySudoku } from '../sudoku/index.js'
import { loading } from './exit.js'
import { addDeviceOptions, type DeviceOptions, deviceOptions, integerOption, precisionOption } from './options.js'
import { note, print, printJson } from './output.js'
import type { SegmentState } from '../solver.js'
import { Interrupts } from './signals.js'
import { segmentFrames, type SudokuFormat, sudokuFormat, sudokuText, sudokuTokens } from './sudoku-format.js'

interface SolveOptions extends DeviceOptions {
  json?: boolean
  puzzle?: string
  watch?: boolean
  weights?: 'raw' | 'ema'
  halting: 'max' | 'q'
  maxSegments?: number
  puzzleId?: number
}

/** A puzzle with its place in the input. */
interface Puzzle {
  where: string
  tokens: number[]
}

function badPuzzle(where: string, expected: string, got: string): HRMError {
  return new HRMError('ERR_HRM_DATASET', `[solve] expected ${expected} in ${where}, got ${got}; correct the line`, {
    where,
  })
}

function readPuzzle(where: string, line: string, model: HRM, sudoku: SudokuFormat | undefined): Puzzle {
  const { seqLen, vocabSize } = model.config
  if (!line.startsWith('[')) {
    if (!sudoku) throw badPuzzle(where, `a JSON array of ${seqLen} tokens`, JSON.stringify(line.slice(0, 40)))
    const tokens = sudokuTokens(line, sudoku)
    if (tokens) return { where, tokens }
    throw badPuzzle(
      where,
      `${seqLen} digits of 1 to ${sudoku.size} with . or 0 for empty cells`,
      JSON.stringify(line.slice(0, 100)),
    )
  }
  const isToken = (token: unknown) => Number.isInteger(token) && (token as number) >= 0 && (token as number) < vocabSize
  try {
    const tokens: unknown = JSON.parse(line)
    if (Array.isArray(tokens) && tokens.length === seqLen && tokens.every(isToken))
      return { where, tokens: tokens as number[] }
  } catch (cause) {
    if (!(cause instanceof SyntaxError)) throw cause
  }
  throw badPuzzle(where, `a JSON array of ${seqLen} tokens from 0 to ${vocabSize - 1}`, line.slice(0, 100))
}

/** Lines of a file, of stdin (`-`), or the one given puzzle, with their places. */
async function* readLines(file: string | undefined, puzzle: string | undefined): AsyncGenerator<[string, string]> {
  if (puzzle !== undefined) {
    yield ['--puzzle', puzzle.trim()]
    return
  }
  const name = file === undefined || file === '-' ? 'stdin' : file
  const input = name === 'stdin' ? process.stdin : createReadStream(name)
  let number = 0
  try {
    for await (const line of createInterface({ input, crlfDelay: Infinity })) {
      number++
      if (line.trim() !== '') yield [`${name} line ${number}`, line.trim().replace(/^\ufeff/, '')]
    }
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException
    throw new HRMError(
      'ERR_HRM_DATASET',
      `[solve] expected a readable file ${name}, got ${code}; check the path`,
      { path: name },
      { cause },
    )
  }
}

/** What became of one puzzle. */
interface Answer {
  puzzle: Puzzle
  tokens: Int32Array
  qHalt: number
  segments: number
  /** By the rules of Sudoku; null where the task has no checker. */
  valid: boolean | null
}

/** One grid, or the filmstrip of all segments. */
function drawAnswer(
  answer: Answer,
  states: readonly SegmentState[],
  sudoku: SudokuFormat | undefined,
  render: RenderOptions,
): string[] {
  if (!sudoku) return sideBySide([drawTokens(answer.puzzle.tokens), ['->'], drawTokens(answer.tokens)], render.columns)
  const { size, digits } = sudoku
  const givens = tokensToDigits(answer.puzzle.tokens)
  if (states.length === 0) {
    const solved = { size, digits: digits(answer.tokens), givens }
    return sideBySide(
      [drawSudoku({ size, digits: givens, givens }, render), drawSudoku(solved, render)],
      render.columns,
    )
  }
  return filmstrip(segmentFrames(sudoku, givens, states), render)
}

async function solve(file: string | undefined, checkpoint: string, options: SolveOptions): Promise<void> {
  const interrupts = new Interrupts()
  const model = await loading(
    HRM.load(checkpoint, {
      ...deviceOptions(options),
      ...(options.weights ? { weights: options.weights } : {}),
      signal: interrupts.signal,
    }),
  )
  try {
    const sudoku = sudokuFormat(model.config)
    const puzzles: Puzzle[] = []
    for await (const [where, line] of readLines(file, options.puzzle)) {
      interrupts.signal.throwIfAborted()
      puzzles.push(readPuzzle(where, line, model, sudoku))
    }
    const solveOptions = {
      halting: options.halting,
      signal: interrupts.signal,
      ...(options.maxSegments === undefined ? {} : { maxSegments: options.maxSegments }),
      ...(options.puzzleId === undefined ? {} : { puzzleId: options.puzzleId }),
    }
    const check = ({ tokens: input }: Puzzle, tokens: Int32Array) =>
      sudoku ? verifySudoku(sudoku.size, tokensToDigits(input), sudoku.digits(tokens)).valid : null
    const render = renderOptions(process.stdout)
    let valid = 0
    const report = (answer: Answer, states: readonly SegmentState[]) => {
      const { puzzle, tokens, qHalt, segments } = answer
      if (answer.valid) valid++
      const text = sudoku ? sudokuText(sudoku, tokens) : JSON.stringify([...tokens])
      if (options.json) {
        printJson({
          type: 'solution',
          where: puzzle.where,
          solution: text,
          tokens: [...tokens],
          qHalt,
          segments,
          valid: answer.valid,
        })
      } else if (process.stdout.isTTY || options.watch) {
        const verdict = answer.valid === null ? '' : answer.valid ? ': solved' : ': breaks the rules'
        print(...drawAnswer(answer, states, sudoku, render), `${puzzle.where}${verdict}, ${segments} segments`, '')
      } else print(text)
    }
    if (options.watch) {
      for (const puzzle of puzzles) {
        const states: SegmentState[] = []
        for await (const state of model.segments(puzzle.tokens, solveOptions)) states.push(state)
        const { tokens, qHalt, segment } = states.at(-1)!
        report({ puzzle, tokens, qHalt, segments: segment, valid: check(puzzle, tokens) }, states)
      }
    } else if (puzzles.length > 0) {
      const results = await model.solve(
        puzzles.map(({ tokens }) => tokens),
        solveOptions,
      )
      results.forEach((result, at) => {
        const puzzle = puzzles[at]!
        report({ puzzle, ...result, valid: check(puzzle, result.tokens) }, [])
      })
    }
    if (options.json) printJson({ type: 'result', count: puzzles.length, valid: sudoku ? valid : null })
    else if (sudoku) note(`${valid} of ${puzzles.length} solutions obey the rules`)
  } finally {
    model.dispose()
    interrupts.release()
  }
}

/** `hrm solve` */
export function solveCommand(): Command {
  const command = new Command('solve')
    .description(
      'Solves puzzles, one per line: Sudokus as digits with . or 0 for empty cells, other tasks as JSON arrays of tokens.',
    )
    .argument('<checkpoint>', 'checkpoint folder, or run folder for its latest')
    .argument('[file]', 'file of puzzles, - for stdin', '-')
    .option('--puzzle <text>', 'one puzzle, instead of a file')
    .option('--watch', 'draw the answer of every segment')
    .addOption(
      new Option(
        '--weights <kind>',
        'trained weights or their moving averages (default: ema where there is one)',
      ).choices(['raw', 'ema']),
    )
    .addOption(
      new Option('--halting <rule>', 'max: all segments, q: until q_halt > q_continue')
        .choices(['max', 'q'])
        .default('max'),
    )
    .addOption(integerOption('--max-segments <n>', 'segments at most (default: as trained)'))
    .addOption(precisionOption())
    .addOption(integerOption('--puzzle-id <n>', 'row of the puzzle embedding (default: 0)', 0))
    .option('--json', 'print one JSON line per puzzle, then the result')
    .action((checkpoint: string, file: string, options: SolveOptions) => solve(file, checkpoint, options))
  return addDeviceOptions(command)
}
