import type { Command } from 'commander'
import type { BuildProgress, BuildResult } from '../dataset-build.js'
import { argumentError } from '../errors.js'
import { integerOption } from './options.js'
import { formatCount, note, print, printJson } from './output.js'
import { Progress } from './progress.js'

/** Options of every builder. */
export interface BuildCommandOptions {
  out: string
  seed: number
  force?: boolean
  json?: boolean
}

/** Adds the options of every builder. */
export function addBuildOptions(command: Command): Command {
  return command
    .requiredOption('-o, --out <dir>', 'dataset folder; splits already there stay')
    .addOption(integerOption('--seed <n>', 'decides what is drawn', 0).default(0))
    .option('--force', 'replace splits that exist')
    .option('--json', 'print the result as JSON')
}

function flag(name: string): string {
  return `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`
}

/** Refuses options that need another one. */
export function refuseOptions<Options extends object>(
  options: Options,
  names: readonly (keyof Options & string)[],
  without: string,
): void {
  const given = names.find((name) => options[name] !== undefined)
  if (given !== undefined)
    throw argumentError(`[data] expected ${flag(given)} only with ${without}, got it without; do leave it out`)
}

function kilobytes(bytes: number): number {
  return Math.ceil(bytes / 1000)
}

/** Shows each phase on a bar of its own. */
export class Phases {
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

function reportLeaks({ leaks }: BuildResult): void {
  if (leaks === undefined || leaks.leaked === 0) return
  const { leaked, testExamples, compared, firstLeaked } = leaks
  note(
    `hrm: warning: ${formatCount(leaked)} of ${formatCount(testExamples)} test puzzles also occur in train ` +
      `(${compared}); scores on them measure memory. First test examples: ${firstLeaked.join(', ')}`,
  )
}

/** Prints what was built, on stderr what is to be known of it; `facts` are added to the JSON result. */
export function reportBuild(options: BuildCommandOptions, result: BuildResult, facts: Record<string, unknown>): void {
  reportLeaks(result)
  const { splits, leaks, hash, files } = result
  const { out: dir, seed } = options
  if (options.json) {
    const sha256 = Object.fromEntries(files)
    printJson({ type: 'result', dir, ...facts, seed, splits, leaks: leaks ?? null, hash, sha256 })
    return
  }
  for (const [split, { groups, puzzles, examples }] of Object.entries(splits)) {
    const versions = puzzles > groups ? ` in ${formatCount(puzzles)} versions` : ''
    print(`${dir}/${split}: ${formatCount(groups)} puzzles${versions}, ${formatCount(examples)} examples`)
  }
  print(`sha256 ${hash}`)
}
