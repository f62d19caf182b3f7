import { type Command, InvalidArgumentError, Option } from 'commander'
import type { Weights } from '../evaluate.js'
import { flops } from '../flops.js'
import { HRM, type ModelRunOptions } from '../model.js'
import { type ViewKind, viewKinds, type ViewTask } from '../views.js'
import { type VotePick, picks, type VoteOptions } from '../votes.js'
import { loading } from './exit.js'
import { integerOption } from './options.js'
import { taskFormat } from './task-format.js'

/** Options by which a command answers each example several times. */
export interface VoteFlags {
  votes?: number
  views?: ViewKind[]
  noise?: number
  voteSeed?: number
  pick?: VotePick
  also?: string[]
}

function readKinds(text: string): ViewKind[] {
  return text.split(',').map((name) => {
    const kind = viewKinds.find((known) => known === name.trim())
    if (kind) return kind
    throw new InvalidArgumentError(`expected ${viewKinds.join(', ')} with commas between.`)
  })
}

function readNoise(text: string): number {
  const sigma = text.trim() === '' ? Number.NaN : Number(text)
  if (sigma >= 0 && sigma <= 1000) return sigma
  throw new InvalidArgumentError('expected a number from 0 to 1000.')
}

/** Adds `--votes` and what goes with it. */
export function addVoteOptions(command: Command): Command {
  return command
    .addOption(integerOption('--votes <n>', 'runs per example, of which one answer is picked without labels'))
    .addOption(
      new Option('--views <kinds>', 'show each run another view: relabel, dihedral, or both with a comma').argParser(
        readKinds,
      ),
    )
    .addOption(
      new Option(
        '--noise <sigma>',
        'noise on the start states of each run (default: 1, with --views or --also 0)',
      ).argParser(readNoise),
    )
    .addOption(new Option('--pick <rule>', 'which answer is picked (default: majority)').choices(picks))
    .addOption(integerOption('--vote-seed <n>', 'seed of views and noise (default: 0)', 0))
    .addOption(
      new Option('--also <checkpoint>', 'a further checkpoint for the vote; may be given again').argParser(
        (path: string, before: string[] | undefined) => [...(before ?? []), path],
      ),
    )
}

/** A vote as asked for, with the models that only it needs. */
export interface Voting {
  /** Undefined where no option asks for a vote. */
  votes: VoteOptions | undefined
  /** Arithmetic of one segment in GFLOP; undefined where the models' differ. */
  segmentGflop: number | undefined
  dispose: () => void
}

/** Reads the options and loads the further checkpoints. */
export async function openVoting(
  flags: VoteFlags,
  model: HRM,
  task: ViewTask | undefined,
  load: ModelRunOptions & { weights?: Weights; signal: AbortSignal },
): Promise<Voting> {
  const { votes: count, views, noise, voteSeed: seed, pick, also = [] } = flags
  const models: HRM[] = []
  const dispose = () => models.forEach((other) => other.dispose())
  try {
    for (const path of also) models.push(await loading(HRM.load(path, load)))
  } catch (error) {
    dispose()
    throw error
  }
  const known = task ?? taskFormat(model.config, model.vocabulary)?.task
  const given: VoteOptions = {
    ...(count === undefined ? {} : { count }),
    ...(views === undefined ? {} : { views }),
    ...(noise === undefined ? {} : { noise }),
    ...(seed === undefined ? {} : { seed }),
    ...(pick === undefined ? {} : { pick }),
    ...(models.length === 0 ? {} : { models }),
  }
  const gflop = flops(model.config).segment / 1e9
  return {
    votes: Object.keys(given).length === 0 ? undefined : { ...given, ...(known ? { task: known } : {}) },
    segmentGflop: models.every(({ config }) => flops(config).segment / 1e9 === gflop) ? gflop : undefined,
    dispose,
  }
}
