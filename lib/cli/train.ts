import { existsSync } from 'node:fs'
import { basename, dirname, join, resolve } from 'node:path'
import { Command, Option } from 'commander'
import { openCheckpoint } from '../checkpoint.js'
import {
  type Config,
  loadPreset,
  type ModelConfig,
  type PresetName,
  presetNames,
  resolveRunConfig,
  resolveTrainOptions,
  type RunConfig,
  type TrainConfig,
} from '../config.js'
import { Dataset } from '../dataset.js'
import { argumentError } from '../errors.js'
import { HRM } from '../model.js'
import type { TrainOptions } from '../trainer.js'
import { estimateStepSeconds } from './estimate.js'
import { addDeviceOptions, type DeviceOptions, deviceOptions, integerOption, shareOption } from './options.js'
import { formatCount, formatDuration, note } from './output.js'
import { parseOverrides } from './overrides.js'
import { followRun } from './follow-run.js'
import { Interrupts } from './signals.js'

interface CommandOptions extends DeviceOptions {
  json?: boolean
  preset?: PresetName
  out?: string
  save: boolean
  resume?: string
  maxSteps?: number
  evalEvery?: number
  checkpointEvery?: number
  keep?: number
  ema?: number
  seed?: number
}

/** All that a run is started with. */
interface Plan {
  dataset: Dataset
  model: HRM
  train: TrainConfig
  run: RunConfig
  /** Run folder, undefined where nothing is saved. */
  dir: string | undefined
  /** Checkpoint or run folder to go on from. */
  resume: string | undefined
}

/** Options that stand for a key of the recipe; they win over key=value. */
function recipeOptions(options: CommandOptions): Partial<TrainConfig> {
  const { maxSteps, evalEvery, ema, seed } = options
  return {
    ...(maxSteps === undefined ? {} : { maxSteps }),
    ...(evalEvery === undefined ? {} : { evalEverySteps: evalEvery }),
    ...(ema === undefined ? {} : { ema }),
    ...(seed === undefined ? {} : { seed }),
  }
}

function runOptions(options: CommandOptions): Partial<RunConfig> {
  const { checkpointEvery, keep } = options
  return {
    ...(checkpointEvery === undefined ? {} : { checkpointEverySteps: checkpointEvery }),
    ...(keep === undefined ? {} : { checkpointKeep: keep }),
  }
}

/** The first of `runs/name`, `runs/name-2`, … that does not exist. */
function freeRunName(name: string): string {
  const candidate = (count: number) => (count === 1 ? name : `${name}-${count}`)
  let count = 1
  while (existsSync(join('runs', candidate(count)))) count++
  return candidate(count)
}

async function startFresh(overrides: Config, options: CommandOptions): Promise<Plan> {
  const preset = options.preset ?? 'paper'
  const given = loadPreset(preset)
  const train = resolveTrainOptions({ ...given.train, ...overrides.train, ...recipeOptions(options) })
  const asked = resolveRunConfig({ ...given.run, ...overrides.run, ...runOptions(options) })
  const dataset = await Dataset.open(asked.dataPath)
  const data = basename(resolve(asked.dataPath))
  const out = options.out ?? asked.checkpointPath
  const runName = asked.runName || (out === '' ? freeRunName(`${data}-${preset}`) : basename(resolve(out)))
  const dir = options.save ? out || join('runs', runName) : undefined
  const projectName = asked.projectName || `${data.charAt(0).toUpperCase()}${data.slice(1)} HRM`
  const { vocabSize, seqLen, numPuzzleIdentifiers } = dataset
  const sizes: Partial<ModelConfig> = { vocabSize, seqLen, numPuzzleIdentifiers }
  try {
    const config = { preset, ...sizes, ...overrides.model }
    const model = await HRM.create(config, { ...deviceOptions(options), seed: train.seed })
    return { dataset, model, train, run: { ...asked, runName, projectName }, dir, resume: undefined }
  } catch (error) {
    dataset.close()
    throw error
  }
}

/** Goes on as the checkpoint says; only what does not change the model may be given anew. */
async function startResumed(path: string, options: CommandOptions): Promise<Plan> {
  const { dir: checkpoint, config } = await openCheckpoint(path)
  const train = resolveTrainOptions({ ...config.train, ...recipeOptions(options) })
  const run = resolveRunConfig({ ...config.run, ...runOptions(options) })
  const dataset = await Dataset.open(run.dataPath)
  try {
    const model = await HRM.load(checkpoint, { ...deviceOptions(options), weights: 'raw' })
    return { dataset, model, train, run, dir: options.save ? dirname(checkpoint) : undefined, resume: checkpoint }
  } catch (error) {
    dataset.close()
    throw error
  }
}

/** What goes on from a checkpoint is fixed by it. */
function refuseChanges(overrides: readonly string[], options: CommandOptions): void {
  const given = Object.entries({
    '--preset': options.preset,
    '--out': options.out,
    '--ema': options.ema,
    '--seed': options.seed,
  })
  const flag = given.find(([, value]) => value !== undefined)?.[0] ?? overrides[0]
  if (flag !== undefined)
    throw argumentError(`[train] expected no ${flag} with --resume, which reads it from config.json; leave it out`)
}

async function train(overrides: string[], options: CommandOptions): Promise<void> {
  if (options.resume !== undefined) refuseChanges(overrides, options)
  const config = parseOverrides(overrides)
  const outputs = config.run.evalSaveOutputs ?? []
  if (outputs.length > 0)
    throw argumentError(`[train] expected eval_save_outputs=[], got [${outputs}]; outputs are not saved`)
  const interrupts = new Interrupts()
  const plan = await (options.resume === undefined
    ? startFresh(config, options)
    : startResumed(options.resume, options))
  const { dataset, model, run, dir } = plan
  try {
    interrupts.signal.throwIfAborted()
    note(
      `${run.runName}: ${formatCount(model.numParameters)} parameters on ${model.device}, data ${dataset.dir}`,
      dir === undefined ? 'nothing is saved (--no-save)' : `checkpoints go to ${dir}`,
    )
    const stepSeconds = await estimateStepSeconds(model, dataset, plan.train.globalBatchSize)
    interrupts.signal.throwIfAborted()
    const trainOptions: TrainOptions = { ...plan.train, run, resume: plan.resume ?? false }
    if (dir !== undefined) {
      const { checkpointEverySteps, checkpointKeep } = run
      trainOptions.checkpoint = {
        dir,
        keep: checkpointKeep,
        ...(checkpointEverySteps > 0 ? { everySteps: checkpointEverySteps } : {}),
      }
    }
    await followRun(model.train(dataset, trainOptions), {
      json: options.json === true,
      dir,
      interrupts,
      logEvery: plan.train.logEvery,
      onStart: ({ step, lastStep, resumed }) => {
        if (resumed !== null) note(`resumed from ${resumed} at step ${step}`)
        note(
          `${formatCount(lastStep - step)} steps to go, about ${formatDuration((lastStep - step) * stepSeconds)} ` +
            `(${stepSeconds.toPrecision(2)} s a step, estimated from two segments)`,
        )
      },
    })
  } finally {
    model.dispose()
    dataset.close()
    interrupts.release()
  }
}

/** `hrm train` */
export function trainCommand(): Command {
  const command = new Command('train')
    .description(
      'Trains a model. Keys are the official ones, as in: hrm train data_path=data/sudoku epochs=20000 arch.L_cycles=2 lr=7e-5. ' +
        'Defaults are those of the preset.',
    )
    .argument('[key=value...]', 'keys over the preset')
    .addOption(new Option('--preset <name>', 'recipe to start from (default: paper)').choices(presetNames))
    .option('--out <folder>', 'run folder (default: runs/<run_name>)')
    .option('--no-save', 'save no checkpoints')
    .option('--resume <run>', 'go on from a run folder or checkpoint; everything is read from its config.json')
    .addOption(integerOption('--max-steps <n>', 'steps after which the run ends'))
    .addOption(integerOption('--eval-every <steps>', 'steps between evaluations (default: by eval_interval)'))
    .addOption(integerOption('--checkpoint-every <steps>', 'steps between checkpoints, besides those at evaluations'))
    .addOption(integerOption('--keep <n>', 'checkpoints kept besides latest and best (default: 3)'))
    .addOption(shareOption('--ema <decay>', 'decay of the moving average of the weights, 0 = none', true))
    .addOption(integerOption('--seed <n>', 'seed of everything random', 0))
    .option('--json', 'print events as JSON lines, the result last')
    .action(train)
  return addDeviceOptions(command)
}
