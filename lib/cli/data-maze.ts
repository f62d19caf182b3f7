import { Command } from 'commander'
import { argumentError } from '../errors.js'
import type { MazeBuildResult } from '../maze/build.js'
import { addBuildOptions, type BuildCommandOptions, Phases, refuseOptions, reportBuild } from './build-report.js'
import { integerOption } from './options.js'
import { formatCount, note } from './output.js'
import { Interrupts } from './signals.js'

interface MazeOptions extends BuildCommandOptions {
  aug?: boolean
  subsampleSize?: number
  generate?: number
  test?: number
  size?: number
  minPath?: number
}

/** Options that only make sense with `--generate`, and those that only do with a CSV. */
const generatedOnly = ['test', 'size', 'minPath'] as const
const csvOnly = ['subsampleSize'] as const

async function runBuild(
  source: string | undefined,
  options: MazeOptions,
  signal: AbortSignal,
): Promise<MazeBuildResult> {
  const { buildGeneratedMazes, buildMazesFromCsv } = await import('../maze/build.js')
  const { out, seed, aug = false, force = false, subsampleSize, generate, test = 0, size = 30 } = options
  const phases = new Phases()
  const common = { outDir: out, seed, aug, force, signal, onProgress: phases.show }
  try {
    if (source !== undefined)
      return await buildMazesFromCsv({ ...common, source, ...(subsampleSize === undefined ? {} : { subsampleSize }) })
    // Longer than 110 steps at 30 x 30, as in the official data; in proportion to the area at other sizes.
    const minPath = options.minPath ?? Math.max(1, Math.floor((110 * size * size) / 900))
    return await buildGeneratedMazes({ ...common, size, trainMazes: generate!, testMazes: test, minPath })
  } finally {
    phases.stop()
  }
}

async function buildMazes(source: string | undefined, options: MazeOptions): Promise<void> {
  if ((source === undefined) === (options.generate === undefined)) {
    const got = source === undefined ? 'neither' : 'both'
    throw argumentError(`[data] expected either a CSV file or folder, or --generate N, got ${got}; do pass one`)
  }
  if (source === undefined) refuseOptions(options, csvOnly, 'a CSV file or folder')
  else refuseOptions(options, generatedOnly, '--generate')
  const interrupts = new Interrupts()
  try {
    const result = await runBuild(source, options, interrupts.signal)
    const { size, tries, notShortest, ambiguous } = result
    const made = Object.values(result.splits).reduce((sum, { groups }) => sum + groups, 0)
    if (tries !== undefined) note(`${formatCount(made)} mazes in ${formatCount(tries)} tries`)
    if (notShortest > 0) note(`hrm: warning: ${formatCount(notShortest)} answers are not a shortest path`)
    if (ambiguous > 0)
      note(`hrm: warning: ${formatCount(ambiguous)} mazes have several shortest paths, of which the answer is one`)
    reportBuild(options, result, { size, ...(tries === undefined ? {} : { tries }), notShortest, ambiguous })
  } finally {
    interrupts.release()
  }
}

/** `hrm data maze` */
export function mazeCommand(): Command {
  const command = new Command('maze')
    .description(
      'Builds a maze dataset from CSV files (source,question,answer,rating: characters "# SGo" row by row) or of random ' +
        'mazes with one shortest path each. A CSV called test… makes the test split, any other the training split, a ' +
        'folder both. The same seed gives the same bytes.',
    )
    .argument('[csv]', 'CSV file, or folder with train.csv and test.csv')
    .option('--aug', 'all eight rotations and reflections of each training maze')
    .addOption(integerOption('--subsample-size <n>', 'training mazes to draw (default: all)'))
    .addOption(integerOption('--generate <n>', 'random training mazes to make instead of reading a CSV'))
    .addOption(integerOption('--test <n>', 'random test mazes (default: none)', 0))
    .addOption(integerOption('--size <n>', 'cells of each side of random mazes (default: 30)', 4))
    .addOption(integerOption('--min-path <n>', 'least steps from S to G (default: 110 at size 30)'))
    .action(buildMazes)
  return addBuildOptions(command)
}
