import { Command, Option } from 'commander'
import type { GridBuildResult } from '../grid/build.js'
import { addBuildOptions, type BuildCommandOptions, Phases, reportBuild } from './build-report.js'
import { integerOption, shareOption } from './options.js'
import { formatCount, print } from './output.js'
import { Interrupts } from './signals.js'

interface GridOptions extends BuildCommandOptions {
  val?: number
  augment?: 'none' | 'dihedral'
  permute?: string
  numAug?: number
}

async function runBuild(sources: string[], options: GridOptions, signal: AbortSignal): Promise<GridBuildResult> {
  const { buildGrids } = await import('../grid/build.js')
  const { out, seed, force = false, val, augment, permute, numAug } = options
  const phases = new Phases()
  try {
    return await buildGrids({
      sources,
      outDir: out,
      seed,
      force,
      signal,
      onProgress: phases.show,
      dihedral: augment === 'dihedral',
      ...(val === undefined ? {} : { val }),
      ...(permute === undefined ? {} : { permute: permute === 'all' ? 'all' : permute.split(',') }),
      ...(numAug === undefined ? {} : { numAug }),
    })
  } finally {
    phases.stop()
  }
}

async function build(sources: string[], options: GridOptions): Promise<void> {
  const interrupts = new Interrupts()
  try {
    const result = await runBuild(sources, options, interrupts.signal)
    const { form, rows, columns, answer, values } = result.vocabulary
    if (!options.json) {
      const size = form === 'sequence' ? `sequences of ${columns} values` : `grids of ${rows} x ${columns} cells`
      print(`${size} at most, ${formatCount(values.length - 1)} different values`)
    }
    reportBuild(options, result, { form, rows, columns, answer, values: values.length - 1 })
  } finally {
    interrupts.release()
  }
}

/** `hrm data grid` */
export function gridCommand(): Command {
  const command = new Command('grid')
    .description(
      'Builds a dataset of your own pairs of grids or sequences. Files are JSON lines {"input": …, "output": …, "split": …} ' +
        'or CSV with the columns input, output and perhaps split (train, test, val). A grid is [[1,2],[3,4]], a sequence ' +
        '[1,2,3], of numbers or strings; a text like "AB C" is a sequence of characters, with line feeds a grid. ' +
        'The vocabulary and the padding follow from the data. Pairs of a file called test… are for the test split.',
    )
    .argument('<files...>', 'files of pairs: .csv, any other name is read as JSON lines')
    .addOption(shareOption('--val <share>', 'share of the training pairs to test on instead, as 0.1', true))
    .addOption(
      new Option('--augment <how>', 'dihedral: rotate and reflect training grids (default: none)').choices([
        'none',
        'dihedral',
      ]),
    )
    .option('--permute <values>', 'exchange these values among each other in training pairs, as 1,2,3, or all')
    .addOption(integerOption('--num-aug <n>', 'augmented versions of each training pair (default: 7, if any)', 0))
    .action(build)
  return addBuildOptions(command)
}
