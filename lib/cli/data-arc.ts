import { Command } from 'commander'
import { integerOption } from './options.js'
import { formatCount, note, print, printJson } from './output.js'
import { Progress } from './progress.js'
import { Interrupts } from './signals.js'
import type { ArcBuildResult, ArcProgress } from '../arc/build.js'

interface ArcOptions {
  out: string
  seed: number
  numAug: number
  force?: boolean
  json?: boolean
}

async function runBuild(sources: string[], options: ArcOptions, signal: AbortSignal): Promise<ArcBuildResult> {
  const { buildArc } = await import('../arc/build.js')
  const { out: outDir, seed, numAug, force = false } = options
  let phase = ''
  let bar: Progress | undefined
  const onProgress = (progress: ArcProgress) => {
    if (progress.phase !== phase) {
      bar?.stop()
      bar = new Progress(progress.phase, progress.total, { unit: progress.unit })
    }
    phase = progress.phase
    bar?.update(progress.done)
  }
  try {
    return await buildArc({ sources, outDir, seed, numAug, force, signal, onProgress })
  } finally {
    bar?.stop()
  }
}

/** On stderr, what is to be known of a dataset. */
function warn({ leaks, repeated, short }: ArcBuildResult, numAug: number): void {
  if (repeated > 0) note(`${formatCount(repeated)} tasks came more than once and were taken once`)
  if (short > 0) note(`${formatCount(short)} tasks have fewer than ${numAug} different augmentations`)
  if (leaks === undefined || leaks.leaked === 0) return
  const { leaked, testExamples, compared, firstLeaked } = leaks
  note(
    `hrm: warning: ${formatCount(leaked)} of ${formatCount(testExamples)} test pairs also occur in train (${compared}); ` +
      `scores on them measure memory. First: ${firstLeaked.join(', ')}`,
  )
}

async function build(sources: string[], options: ArcOptions): Promise<void> {
  const interrupts = new Interrupts()
  try {
    const result = await runBuild(sources, options, interrupts.signal)
    warn(result, options.numAug)
    const { tasks, repeated, short, splits, leaks, hash, files } = result
    const { out, seed } = options
    if (options.json) {
      const sha256 = Object.fromEntries(files)
      const facts = { tasks, repeated, short, seed, splits, leaks: leaks ?? null, hash, sha256 }
      printJson({ type: 'result', dir: out, ...facts })
      return
    }
    for (const [split, { groups, puzzles, examples }] of Object.entries(splits)) {
      const counts = [groups, puzzles, examples].map(formatCount)
      print(`${out}/${split}: ${counts[0]} tasks, ${counts[1]} puzzles, ${counts[2]} examples`)
    }
    print(`sha256 ${hash}`)
  } finally {
    interrupts.release()
  }
}

/** `hrm data arc` */
export function arcCommand(): Command {
  return new Command('arc')
    .description(
      'Builds a dataset of ARC tasks from JSON: folders with a file for each task, or collections of tasks by their ids, ' +
        'also gzip. Test pairs go to the test split where the name of the file or of its folder holds "evaluation", or ' +
        'where they have no output; all other pairs are for training. The same seed gives the same bytes.',
    )
    .argument('<paths...>', 'files and folders, as ARC-AGI/data ConceptARC/corpus')
    .requiredOption('-o, --out <dir>', 'dataset folder')
    .addOption(integerOption('--seed <n>', 'decides what is drawn', 0).default(0))
    .addOption(integerOption('--num-aug <n>', 'augmented versions of each task', 0).default(1000))
    .option('--force', 'replace splits that exist')
    .option('--json', 'print the result as JSON')
    .action(build)
}
