import { Command, Option } from 'commander'
import { argumentError } from '../errors.js'
import type { BuildProgress, BuildResult } from '../sudoku/build.js'
import { arcCommand } from './data-arc.js'
import { integerOption } from './options.js'
import { formatCount, note, print, printJson } from './output.js'
import { Progress } from './progress.js'
import { Interrupts } from './signals.js'

interface SudokuOptions {
  out: string
  seed: number
  numAug: number
  force?: boolean
  json?: boolean
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

function flag(name: string): string {
  return `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`
}

function refuse(options: SudokuOptions, names: readonly (keyof SudokuOptions)[], without: string): void {
  const given = names.find((name) => options[name] !== undefined)
  if (given !== undefined)
    throw argumentError(`[data] expected ${flag(given)} only with ${without}, got it without; do leave it out`)
}

function kilobytes(bytes: number): number {
  return Math.ceil(bytes / 1000)
}

/** Shows each phase on a bar of its own. */
class Phases {
  #phase = ''
  #bar: Progress | undefined

  readonly show = ({ phase, unit, done, total }: BuildProgress): void => {
    if (phase !== this.#phase) {
      this.stop()
      this.#phase = phase
      this.#bar = new Progress(phase, unit === 'bytes' ? kilobytes(total) : total, {
        unit: unit === 'bytes' ? 'kB' : unit,
      })
    }
    this.#bar!.update(unit === 'bytes' ? kilobytes(done) : done)
  }

  stop(): void {
    this.#bar?.stop()
    this.#bar = undefined
  }
}

async function runBuild(source: string | undefined, options: SudokuOptions, signal: AbortSignal): Promise<BuildResult> {
  const { buildGeneratedSudoku, buildSudokuFromCsv } = await import('../sudoku/build.js')
  const { out, seed, numAug, force, subsampleSize, minDifficulty, generate, grids } = options
  const phases = new Phases()
  const common = { outDir: out, seed, numAug, force: force ?? false, signal, onProgress: phases.show }
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

function reportLeaks({ leaks }: BuildResult): void {
  if (leaks === undefined || leaks.leaked === 0) return
  const { leaked, testExamples, compared, firstLeaked } = leaks
  note(
    `hrm: warning: ${formatCount(leaked)} of ${formatCount(testExamples)} test puzzles also occur in train ` +
      `(${compared}); scores on them measure memory. First test examples: ${firstLeaked.join(', ')}`,
  )
}

async function buildSudoku(source: string | undefined, options: SudokuOptions): Promise<void> {
  if ((source === undefined) === (options.generate === undefined)) {
    throw argumentError(
      '[data] expected either a CSV file or folder, or --generate N, got ' +
        (source === undefined ? 'neither' : 'both') +
        '; do pass one',
    )
  }
  if (source === undefined) refuse(options, csvOnly, 'a CSV file or folder')
  else refuse(options, generatedOnly, '--generate')
  const interrupts = new Interrupts()
  try {
    const result = await runBuild(source, options, interrupts.signal)
    reportLeaks(result)
    const { splits, leaks, hash, files, size } = result
    if (options.json) {
      printJson({
        type: 'result',
        dir: options.out,
        size,
        seed: options.seed,
        splits,
        leaks: leaks ?? null,
        hash,
        sha256: Object.fromEntries(files),
      })
      return
    }
    for (const [split, { groups, examples }] of Object.entries(splits)) {
      print(`${options.out}/${split}: ${formatCount(groups)} puzzles, ${formatCount(examples)} examples`)
    }
    print(`sha256 ${hash}`)
  } finally {
    interrupts.release()
  }
}

function sudokuCommand(): Command {
  return new Command('sudoku')
    .description(
      'Builds a Sudoku dataset from CSV files (source,question,answer,rating) or of random puzzles with one solution each. ' +
        'A CSV called test… makes the test split, any other the training split, a folder both. The same seed gives the same bytes.',
    )
    .argument('[csv]', 'CSV file, or folder with train.csv and test.csv')
    .requiredOption('-o, --out <dir>', 'dataset folder; splits already there stay')
    .addOption(integerOption('--seed <n>', 'decides what is drawn', 0).default(0))
    .addOption(integerOption('--num-aug <n>', 'augmented versions of each training puzzle', 0).default(0))
    .addOption(integerOption('--subsample-size <n>', 'training puzzles to draw (default: all)'))
    .addOption(integerOption('--min-difficulty <n>', 'least rating of the puzzles taken (default: all)', 0))
    .addOption(integerOption('--generate <n>', 'random training puzzles to make instead of reading a CSV'))
    .addOption(integerOption('--test <n>', 'random test puzzles (default: none)', 0))
    .addOption(integerOption('--holes <n>', 'empty cells of each random puzzle (default: half of the cells)'))
    .addOption(new Option('--size <n>', 'size of random puzzles (default: 9)').choices(['4', '6', '9']))
    .addOption(
      integerOption('--grids <n>', 'size 4: solutions that training uses, of 288; test puzzles have the others'),
    )
    .option('--force', 'replace splits that exist')
    .option('--json', 'print the result as JSON')
    .action(buildSudoku)
}

/** `hrm data`: builds dataset folders. */
export function dataCommand(): Command {
  return new Command('data')
    .description('Builds dataset folders in the official layout.')
    .addCommand(sudokuCommand())
    .addCommand(arcCommand())
}
