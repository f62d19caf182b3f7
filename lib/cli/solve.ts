import { createReadStream } from 'node:fs'
import { createInterface } from 'node:readline'
import { Command, Option } from 'commander'
import { Dataset } from '../dataset.js'
import { argumentError, HRMError } from '../errors.js'
import { checkDataset } from '../evaluate.js'
import { HRM } from '../model.js'
import { type RenderOptions, renderOptions, sideBySide } from '../render/text.js'
import { drawTokens } from '../render/tokens.js'
import { loading } from './exit.js'
import { addDeviceOptions, type DeviceOptions, deviceOptions, integerOption, precisionOption } from './options.js'
import { note, print, printJson } from './output.js'
import type { SegmentState } from '../solver.js'
import { type ViewTask, viewTasks } from '../views.js'
import type { VoteSummary } from '../votes.js'
import type { Vocabulary } from '../vocabulary.js'
import { Interrupts } from './signals.js'
import { drawSegments, readTokenList, type TaskFormat, taskFormat } from './task-format.js'
import { addVoteOptions, openVoting, type VoteFlags, type Voting } from './votes.js'

interface SolveOptions extends DeviceOptions, VoteFlags {
  task?: ViewTask
  json?: boolean
  puzzle?: string
  watch?: boolean
  weights?: 'raw' | 'ema'
  halting: 'max' | 'q'
  maxSegments?: number
  puzzleId?: number
  vocab?: string
}

/** A puzzle with its place in the input. */
interface Puzzle {
  where: string
  tokens: readonly number[]
}

function badPuzzle(where: string, expected: string, got: string): HRMError {
  return new HRMError('ERR_HRM_DATASET', `[solve] expected ${expected} in ${where}, got ${got}; correct the line`, {
    where,
  })
}

function readPuzzle(where: string, line: string, model: HRM, format: TaskFormat | undefined): Puzzle {
  const tokens = format ? format.read(line) : readTokenList(line, model.config)
  if (!('expected' in tokens)) return { where, tokens }
  throw badPuzzle(where, tokens.expected, tokens.got.slice(0, 100))
}

/** What tokens stand for: as a dataset says, or as the model learnt. */
async function readVocabulary(model: HRM, folder: string | undefined): Promise<Vocabulary | undefined> {
  if (folder === undefined) return model.vocabulary
  using dataset = await Dataset.open(folder)
  checkDataset('solve', dataset, model.config)
  const vocabulary = dataset.vocabulary()
  if (vocabulary !== undefined) return vocabulary
  throw new HRMError(
    'ERR_HRM_DATASET',
    `[solve] expected a dataset with vocabulary.json, got none in ${folder}; do leave --vocab out`,
    { path: folder },
  )
}

/** Lines of a file, of stdin (`-`), or the one given puzzle, with their places. Ends with the signal's reason. */
async function* readLines(
  file: string | undefined,
  puzzle: string | undefined,
  signal: AbortSignal,
): AsyncGenerator<[string, string]> {
  if (puzzle !== undefined) {
    yield ['--puzzle', puzzle]
    return
  }
  const name = file === undefined || file === '-' ? 'stdin' : file
  const input = name === 'stdin' ? process.stdin : createReadStream(name)
  let number = 0
  try {
    for await (const line of createInterface({ input, crlfDelay: Infinity, signal })) {
      number++
      if (line.trim() !== '') yield [`${name} line ${number}`, line.replace(/^\ufeff/, '')]
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
  // An abort ends the lines, too: nobody knows when the next one would have come.
  signal.throwIfAborted()
}

/** What became of one puzzle. */
interface Answer {
  puzzle: Puzzle
  tokens: Int32Array
  qHalt: number
  segments: number
  votes?: VoteSummary
  /** By the rules of the task; null where it has no checker. */
  valid: boolean | null
}

/** What the JSON output says of a vote. */
function summary({ answers, agreement, chosen, segments }: VoteSummary) {
  return { runs: answers.length, chosen, agreement, segments }
}

/** One answer, or the filmstrip of all segments. */
function drawAnswer(
  { puzzle, tokens }: Answer,
  states: readonly SegmentState[],
  format: TaskFormat | undefined,
  render: RenderOptions,
): string[] {
  if (!format) return sideBySide([drawTokens(puzzle.tokens), ['->'], drawTokens(tokens)], render.columns)
  if (states.length > 0) return drawSegments(format, puzzle.tokens, states, render)
  return sideBySide([format.draw(render, puzzle.tokens), format.draw(render, puzzle.tokens, tokens)], render.columns)
}

async function solve(file: string | undefined, checkpoint: string, options: SolveOptions): Promise<void> {
  const interrupts = new Interrupts()
  const loadOptions = {
    ...deviceOptions(options),
    ...(options.weights ? { weights: options.weights } : {}),
    signal: interrupts.signal,
  }
  const model = await loading(HRM.load(checkpoint, loadOptions))
  let voting: Voting | undefined
  try {
    voting = await openVoting(options, model, options.task, loadOptions)
    const { votes } = voting
    if (votes && options.watch) throw argumentError('[solve] expected --watch or a vote, got both; do leave one out')
    const format = taskFormat(model.config, await readVocabulary(model, options.vocab))
    const puzzles: Puzzle[] = []
    for await (const [where, line] of readLines(file, options.puzzle, interrupts.signal)) {
      puzzles.push(readPuzzle(where, line, model, format))
    }
    const solveOptions = {
      halting: options.halting,
      signal: interrupts.signal,
      ...(options.maxSegments === undefined ? {} : { maxSegments: options.maxSegments }),
      ...(options.puzzleId === undefined ? {} : { puzzleId: options.puzzleId }),
    }
    const check = ({ tokens: input }: Puzzle, tokens: Int32Array) => format?.valid(input, tokens) ?? null
    const render = renderOptions(process.stdout)
    let valid = 0
    const report = (answer: Answer, states: readonly SegmentState[]) => {
      const { puzzle, tokens, qHalt, segments, votes } = answer
      if (answer.valid) valid++
      const text = format?.text(puzzle.tokens, tokens) ?? JSON.stringify([...tokens])
      if (options.json) {
        printJson({
          type: 'solution',
          where: puzzle.where,
          solution: format?.json?.(puzzle.tokens, tokens) ?? text,
          tokens: [...tokens],
          qHalt,
          segments,
          valid: answer.valid,
          ...(votes ? { votes: summary(votes) } : {}),
        })
      } else if (process.stdout.isTTY || options.watch) {
        const verdict = format ? `: ${answer.valid ? format.words.valid : format.words.invalid}` : ''
        print(...drawAnswer(answer, states, format, render), `${puzzle.where}${verdict}, ${segments} segments`, '')
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
        { ...solveOptions, ...(votes ? { votes } : {}) },
      )
      results.forEach((result, at) => {
        const puzzle = puzzles[at]!
        report({ puzzle, ...result, valid: check(puzzle, result.tokens) }, [])
      })
    }
    if (options.json) printJson({ type: 'result', count: puzzles.length, valid: format ? valid : null })
    else if (format) note(`${valid} of ${puzzles.length} ${format.words.several}`)
  } finally {
    voting?.dispose()
    model.dispose()
    interrupts.release()
  }
}

/** `hrm solve` */
export function solveCommand(): Command {
  const command = new Command('solve')
    .description(
      'Solves puzzles, one per line: Sudokus as digits with . or 0 for empty cells, mazes as characters "# SG" row by row, ' +
        'own data as in hrm data grid ({"input": …} or the input alone), other tasks as JSON arrays of tokens.',
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
      new Option('--halting <rule>', 'max: all segments, q: until q_halt > q_continue (halt-only models: > 0)')
        .choices(['max', 'q'])
        .default('max'),
    )
    .addOption(integerOption('--max-segments <n>', 'segments at most (default: as trained)'))
    .addOption(precisionOption())
    .addOption(integerOption('--puzzle-id <n>', 'row of the puzzle embedding (default: 0)', 0))
    .option('--vocab <dataset>', 'dataset that says what tokens stand for (default: as the checkpoint says)')
    .addOption(new Option('--task <name>', 'what is solved, for views and the verifier of a vote').choices(viewTasks))
    .option('--json', 'print one JSON line per puzzle, then the result')
    .action((checkpoint: string, file: string, options: SolveOptions) => solve(file, checkpoint, options))
  return addDeviceOptions(addVoteOptions(command))
}
