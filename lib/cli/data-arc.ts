import { Command } from 'commander'
import { addBuildOptions, type BuildCommandOptions, Phases, reportBuild } from './build-report.js'
import { integerOption } from './options.js'
import { formatCount, note } from './output.js'
import { Interrupts } from './signals.js'

interface ArcOptions extends BuildCommandOptions {
  numAug: number
}

async function build(sources: string[], options: ArcOptions): Promise<void> {
  const { buildArc } = await import('../arc/build.js')
  const { out, seed, numAug, force = false } = options
  const phases = new Phases()
  const interrupts = new Interrupts()
  try {
    const common = { outDir: out, seed, force, signal: interrupts.signal, onProgress: phases.show }
    const result = await buildArc({ ...common, sources, numAug })
    phases.stop()
    const { tasks, repeated, short } = result
    if (repeated > 0) note(`${formatCount(repeated)} tasks came more than once and were taken once`)
    if (short > 0) note(`${formatCount(short)} tasks have fewer than ${formatCount(numAug)} different augmentations`)
    reportBuild(options, result, { tasks, repeated, short })
  } finally {
    phases.stop()
    interrupts.release()
  }
}

/** `hrm data arc` */
export function arcCommand(): Command {
  const command = new Command('arc')
    .description(
      'Builds a dataset of ARC tasks from JSON: folders with a file for each task, or collections of tasks by their ids, ' +
        'also gzip. Test pairs go to the test split where the name of the file or of its folder holds "evaluation", or ' +
        'where they have no output; all other pairs are for training. The same seed gives the same bytes.',
    )
    .argument('<paths...>', 'files and folders, as ARC-AGI/data ConceptARC/corpus')
    .addOption(integerOption('--num-aug <n>', 'augmented versions of each task', 0).default(1000))
    .action(build)
  return addBuildOptions(command)
}
