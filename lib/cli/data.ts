import { Command, Option } from 'commander'
import { argumentError } from '../errors.js'
import type { SudokuBuildResult } from '../sudoku/build.js'
import { addBuildOptions, type BuildCommandOptions, Phases, refuseOptions, reportBuild } from './build-report.js'
import { arcCommand } from './data-arc.js'
import { gridCommand } from './data-grid.js'
import { mazeCommand } from './data-maze.js'
import { integerOption } from './options.js'
import { Interrupts } from './signals.js'

interface SudokuOptions extends BuildCommandOptions {
  numAug: number
  hints?: boolean
  subsampleSize?: number
  minDifficulty?: number
  generate?: number
  test?: number
  holes?: number
  size?: '4' | '6' | '9'
  grids?: number
}

/** Options that only make sense with `--generate`, and those that only do with a CSV. */
const generatedOnly = ['test', 'holes', 'size', 'grids'] as const
const csvOnly = ['subsampleSize', 'minDifficulty'] as const

async function runBuild(
  source: string | undefined,
  options: SudokuOptions,
  signal: AbortSignal,
): Promise<SudokuBuildResult> {
  const { buildGeneratedSudoku, buildSudokuFromCsv } = await import('../sudoku/build.js')
  const { out, seed, numAug, force, subsampleSize, minDifficulty, generate, grids } = options
  const phases = new Phases()
  const hints = options.hints ?? false
  const common = { outDir: out, seed, numAug, hints, force: force ?? false, signal, onProgress: phases.show }
  try {
    if (source !== undefined) {
      return await buildSudokuFromCsv({
        ...common,
        source,
        ...(subsampleSize === undefined ? {} : { subsampleSize }),
        ...(minDifficulty === undefined ? {} : { minDifficulty }),
      })
    }
    const size = Number(options.size ?? 9) as 4 | 6 | 9
    return await buildGeneratedSudoku({
      ...common,
      size,
      trainPuzzles: generate!,
      testPuzzles: options.test ?? 0,
      holes: options.holes ?? Math.floor((size * size) / 2),
      ...(grids === undefined ? {} : { grids }),
    })
  } finally {
    phases.stop()
  }
}

async function buildSudoku(source: string | undefined, options: SudokuOptions): Promise<void> {
  if ((source === undefined) === (options.generate === undefined)) {
    throw argumentError(
      '[data] expected either a CSV file or folder, or --generate N, got ' +
        (source === undefined ? 'neither' : 'both') +
        '; do pass one',
    )
  }
  if (source === undefined) refuseOptions(options, csvOnly, 'a CSV file or folder')
  else refuseOptions(options, generatedOnly, '--generate')
  const interrupts = new Interrupts()
  try {
    const result = await runBuild(source, options, interrupts.signal)
    reportBuild(options, result, { size: result.size })
  } finally {
    interrupts.release()
  }
}

function sudokuCommand(): Command {
  const command = new Command('sudoku')
    .description(
      'Builds a Sudoku dataset from CSV files (source,question,answer,rating) or of random puzzles with one solution each. ' +
        'A CSV called test… makes the test split, any other the training split, a folder both. The same seed gives the same bytes.',
    )
    .argument('[csv]', 'CSV file, or folder with train.csv and test.csv')
    .addOption(integerOption('--num-aug <n>', 'augmented versions of each training puzzle', 0).default(0))
    .option('--hints', 'add an easier twin of each training example, some of its empty cells filled in')
    .addOption(integerOption('--subsample-size <n>', 'training puzzles to draw (default: all)'))
    .addOption(integerOption('--min-difficulty <n>', 'least rating of the puzzles taken (default: all)', 0))
    .addOption(integerOption('--generate <n>', 'random training puzzles to make instead of reading a CSV'))
    .addOption(integerOption('--test <n>', 'random test puzzles (default: none)', 0))
    .addOption(integerOption('--holes <n>', 'empty cells of each random puzzle (default: half of the cells)'))
    .addOption(new Option('--size <n>', 'size of random puzzles (default: 9)').choices(['4', '6', '9']))
    .addOption(
      integerOption('--grids <n>', 'size 4: solutions that training uses, of 288; test puzzles have the others'),
    )
    .action(buildSudoku)
  return addBuildOptions(command)
}

/** `hrm data`: builds dataset folders. */
export function dataCommand(): Command {
  return new Command('data')
    .description('Builds dataset folders in the official layout.')
    .addCommand(sudokuCommand())
    .addCommand(mazeCommand())
    .addCommand(arcCommand())
    .addCommand(gridCommand())
}
