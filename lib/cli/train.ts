import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { Command, Option } from 'commander'
import { openCheckpoint } from '../checkpoint.js'
import {
  type Config,
  fromOfficial,
  loadPreset,
  type ModelConfig,
  type PresetName,
  presetNames,
  resolveRunConfig,
  resolveTrainOptions,
  type RunConfig,
  toOfficial,
  type TrainConfig,
} from '../config.js'
import { Dataset } from '../dataset.js'
import { replaceFile } from '../durable-folder.js'
import { argumentError } from '../errors.js'
import { HRM } from '../model.js'
import { readPointer } from '../run-folder.js'
import type { TrainOptions } from '../trainer.js'
import { estimateStepSeconds } from './estimate.js'
import { scoreTable } from './eval.js'
import { loading } from './exit.js'
import { type Followed, followRun } from './follow-run.js'
import { addDeviceOptions, type DeviceOptions, deviceOptions, integerOption, shareOption } from './options.js'
import { formatCount, formatDuration, note, print, printJson } from './output.js'
import { parseOverrides } from './overrides.js'
import { type Interruption, Interrupts } from './signals.js'

/** A kill costs about so much work where --checkpoint-every is not given. */
const CHECKPOINT_INTERVAL_S = 600

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
  tensorboard?: string
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

/** What a run was started with; read by --resume where the run was killed before its first checkpoint. */
const runFile = 'run.json'

async function writeRunFile(dir: string, config: Config): Promise<void> {
  const text = `${JSON.stringify(toOfficial(config), null, 2)}\n`
  await replaceFile('train', join(dir, runFile), (handle) => handle.writeFile(text))
}

/** The configuration to go on with, and the checkpoint where there is one already. */
async function readRun(path: string): Promise<{ config: Config; checkpoint: string | undefined; dir: string }> {
  const file = join(path, runFile)
  if (existsSync(file) && (await readPointer(path, 'latest')) === undefined) {
    const config = fromOfficial(JSON.parse(await readFile(file, 'utf8')), file)
    return { config, checkpoint: undefined, dir: path }
  }
  const { dir: checkpoint, config } = await openCheckpoint(path)
  return { config, checkpoint, dir: dirname(checkpoint) }
}

/** Goes on as the run's configuration says; only what does not change the numbers may be given anew. */
async function startResumed(path: string, overrides: Config, options: CommandOptions): Promise<Plan> {
  const { config, checkpoint, dir } = await loading(readRun(path))
  const train = resolveTrainOptions({ ...config.train, ...recipeOptions(options) })
  const run = resolveRunConfig({ ...config.run, ...overrides.run, ...runOptions(options) })
  const dataset = await Dataset.open(run.dataPath)
  try {
    const device = deviceOptions(options)
    const model = await (checkpoint === undefined
      ? HRM.create(config.model, { ...device, seed: train.seed })
      : HRM.load(checkpoint, { ...device, weights: 'raw' }))
    return { dataset, model, train, run, dir: options.save ? dir : undefined, resume: checkpoint }
  } catch (error) {
    dataset.close()
    throw error
  }
}

/** What goes on from a checkpoint is fixed by it, but for the place of the dataset. */
function refuseChanges(overrides: readonly string[], options: CommandOptions): void {
  const given = Object.entries({
    '--preset': options.preset,
    '--out': options.out,
    '--ema': options.ema,
    '--seed': options.seed,
  })
  const flag =
    given.find(([, value]) => value !== undefined)?.[0] ??
    overrides.find((override) => !override.startsWith('data_path='))
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
    : startResumed(options.resume, config, options))
  const { dataset, model, run, dir } = plan
  try {
    interrupts.signal.throwIfAborted()
    note(
      `${run.runName}: ${formatCount(model.numParameters)} parameters on ${model.device}, data ${dataset.dir}`,
      dir === undefined ? 'nothing is saved (--no-save)' : `checkpoints go to ${dir}`,
    )
    const stepSeconds = await estimateStepSeconds(model, dataset, plan.train.globalBatchSize)
    interrupts.signal.throwIfAborted()
    const { tensorboard } = options
    const trainOptions: TrainOptions = {
      ...plan.train,
      run,
      resume: plan.resume ?? false,
      ...(tensorboard === undefined ? {} : { tensorboard }),
    }
    if (dir !== undefined) {
      const { checkpointEverySteps, checkpointKeep } = run
      trainOptions.checkpoint = {
        dir,
        keep: checkpointKeep,
        everySteps: checkpointEverySteps || Math.ceil(CHECKPOINT_INTERVAL_S / stepSeconds),
      }
    }
    const followed = await followRun(model.train(dataset, trainOptions), {
      json: options.json === true,
      interrupts,
      logEvery: plan.train.logEvery,
      onStart: async ({ step, lastStep, resumed }) => {
        if (resumed !== null) note(`resumed from ${resumed} at step ${step}`)
        else if (dir !== undefined) await writeRunFile(dir, { model: model.config, train: plan.train, run })
        note(
          `${formatCount(lastStep - step)} steps to go, about ${formatDuration((lastStep - step) * stepSeconds)} ` +
            `(${stepSeconds.toPrecision(2)} s a step, estimated from two segments)`,
        )
      },
    })
    printResult(followed, dir, interrupts.reason, options.json === true)
    if (interrupts.reason) throw interrupts.reason
  } finally {
    model.dispose()
    dataset.close()
    interrupts.release()
  }
}

function printResult(
  followed: Followed,
  dir: string | undefined,
  reason: Interruption | undefined,
  json: boolean,
): void {
  const { end, evaluation, seconds } = followed
  const { step, checkpoint } = end
  if (json) {
    const sets = evaluation
      ? { sets: evaluation.sets, ...(evaluation.emaSets ? { emaSets: evaluation.emaSets } : {}) }
      : {}
    printJson({
      type: 'result',
      step,
      reason: reason?.signal ?? end.reason,
      run: dir ?? null,
      checkpoint,
      seconds,
      ...sets,
    })
  } else if (evaluation) {
    print(...scoreTable(evaluation.sets))
    if (evaluation.emaSets) print('averaged weights:', ...scoreTable(evaluation.emaSets))
  }
  note(dir === undefined ? `ended at step ${step}; nothing was saved` : `step ${step}, checkpoint ${checkpoint}`)
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
    .option('--tensorboard <folder>', 'write the metrics for TensorBoard, too')
    .option('--json', 'print events as JSON lines, the result last')
    .action(train)
  return addDeviceOptions(command)
}
