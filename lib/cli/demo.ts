import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Command } from 'commander'
import { resolveTrainOptions } from '../config.js'
import { Dataset } from '../dataset.js'
import type { EvalMetrics } from '../metrics.js'
import { argumentError } from '../errors.js'
import { HRM } from '../model.js'
import { renderOptions } from '../render/text.js'
import type { SegmentState } from '../solver.js'
import type { EvalEvent } from '../train-run.js'
import { makeDemoData, makeHeldOutData } from './demo-data.js'
import { Exit, exitCodes } from './exit.js'
import { followRun } from './follow-run.js'
import { addDeviceOptions, type DeviceOptions, deviceOptions, integerOption } from './options.js'
import { formatCount, formatPercent, note, print, printJson } from './output.js'
import { Interrupts } from './signals.js'
import { drawSegments, taskFormat } from './task-format.js'
import { wilsonInterval } from '../wilson.js'

/** The trained model of the package, by scripts/pack-model.mjs. */
export const packedModel = fileURLToPath(new URL('../../models/sudoku-4x4', import.meta.url))
/** Of the packed model, whose held-out puzzles are those of this seed. */
export const DEFAULT_SEED = 0

/** Exact accuracy on the held-out puzzles that counts as a success. */
const WANTED_EXACT = 0.95
/** Exact accuracy of the averaged weights on the validation puzzles at which training ends. */
const ENOUGH_EXACT = 0.99
const EVAL_EVERY_STEPS = 200
/** More than twice what the default seed needs; others learn more slowly. */
const MAX_STEPS = 6000
/** Held-out puzzles that are drawn. */
const DRAWN_PUZZLES = 3

interface DemoOptions extends DeviceOptions {
  json?: boolean
  train?: boolean
  seed?: number
  out?: string
}

async function trainDemo(
  model: HRM,
  data: Dataset,
  seed: number,
  json: boolean,
  interrupts: Interrupts,
): Promise<void> {
  const recipe = resolveTrainOptions({ preset: 'tiny', seed, evalEverySteps: EVAL_EVERY_STEPS, maxSteps: MAX_STEPS })
  // The folder of the data is gone soon: what is recorded says how to make it again.
  const origin = { dataPath: `hrm demo --train --seed ${seed}` }
  const run = model.train(data, { ...recipe, finalWeights: 'ema', run: origin })
  const onEval = ({ emaSets }: EvalEvent) => {
    if ((emaSets!['all']!.exact_accuracy ?? 0) >= ENOUGH_EXACT) run.stop()
  }
  await followRun(run, { json, interrupts, logEvery: recipe.logEvery, onEval })
  interrupts.signal.throwIfAborted()
}

/** Solves the first held-out puzzles and draws what every segment answers. */
async function drawSolutions(model: HRM, data: Dataset): Promise<void> {
  const format = taskFormat(model.config, undefined)!
  const render = renderOptions(process.stdout)
  const legend = render.color ? 'bold: given, inverse: changed, red: breaks a rule' : '*: changed, !: breaks a rule'
  print(`held-out puzzles, segment by segment (${legend})`, '')
  for (let at = 0; at < DRAWN_PUZZLES; at++) {
    const { inputs } = data.example('test', 'all', at)
    const states: SegmentState[] = []
    for await (const state of model.segments(inputs)) states.push(state)
    const valid = format.valid(inputs, states.at(-1)!.tokens)
    print(...drawSegments(format, inputs, states, render), valid ? 'solved' : 'not solved', '')
  }
}

function report({ count, exact_accuracy }: EvalMetrics, seconds: number, json: boolean): void {
  const exact = exact_accuracy ?? 0
  if (json) printJson({ type: 'result', count, exact_accuracy: exact, interval: wilsonInterval(exact, count), seconds })
  else
    print(
      `exact accuracy ${formatPercent(exact)} on ${count} held-out puzzles in ${seconds.toFixed(seconds < 10 ? 1 : 0)} s`,
    )
  if (exact < WANTED_EXACT)
    throw new Exit(
      exitCodes.belowMinimum,
      `exact accuracy is ${formatPercent(exact)}, below ${formatPercent(WANTED_EXACT)}`,
    )
}

/** Trains a model on puzzles made for it. */
async function makeModel(
  dir: string,
  options: DemoOptions,
  json: boolean,
  interrupts: Interrupts,
): Promise<{ model: HRM; heldOut: Dataset }> {
  const seed = options.seed ?? DEFAULT_SEED
  const folders = await makeDemoData(dir, seed, interrupts.signal)
  using data = await Dataset.open(folders.training)
  const model = await HRM.create(
    { preset: 'tiny', vocabSize: data.vocabSize, seqLen: data.seqLen },
    { ...deviceOptions(options), seed },
  )
  try {
    note(`${formatCount(model.numParameters)} parameters on ${model.device}; training takes at most ${MAX_STEPS} steps`)
    await trainDemo(model, data, seed, json, interrupts)
    return { model, heldOut: await Dataset.open(folders.heldOut) }
  } catch (error) {
    model.dispose()
    throw error
  }
}

/** Loads the packed model, and makes the puzzles that were held out from its training. */
async function loadModel(dir: string, options: DemoOptions, { signal }: Interrupts) {
  for (const name of ['seed', 'out'] as const) {
    if (options[name] !== undefined)
      throw argumentError(`[demo] expected --${name} with --train only, got it for the packed model; do add --train`)
  }
  const model = await HRM.load(packedModel, { ...deviceOptions(options), signal })
  try {
    note(`${formatCount(model.numParameters)} parameters on ${model.device}, trained as by hrm demo --train`)
    await makeHeldOutData(dir, DEFAULT_SEED, signal)
    return { model, heldOut: await Dataset.open(dir) }
  } catch (error) {
    model.dispose()
    throw error
  }
}

async function demo(options: DemoOptions): Promise<void> {
  const begin = performance.now()
  const json = options.json === true
  const interrupts = new Interrupts()
  const dir = await mkdtemp(join(tmpdir(), 'hrm-demo-'))
  try {
    note('4x4 Sudoku: 8 of 16 cells are empty; the held-out puzzles have solutions that training never sees')
    const made = await (options.train
      ? makeModel(dir, options, json, interrupts)
      : loadModel(join(dir, 'held-out'), options, interrupts))
    using model = made.model
    using heldOut = made.heldOut
    const { sets } = await model.evaluate(heldOut, { signal: interrupts.signal })
    const seconds = (performance.now() - begin) / 1000
    if (options.out !== undefined) await model.save(options.out)
    if (!json) await drawSolutions(model, heldOut)
    report(sets['all']!, seconds, json)
  } finally {
    await rm(dir, { recursive: true, force: true })
    interrupts.release()
  }
}

/** `hrm demo` */
export function demoCommand(): Command {
  const command = new Command('demo')
    .description(
      'Scores a small model on held-out 4x4 Sudokus and draws how it solves some: the packed one, or one trained now.',
    )
    .option('--train', 'train the model here and now, in about a minute')
    .addOption(integerOption('--seed <n>', `with --train: seed of puzzles and training (default: ${DEFAULT_SEED})`, 0))
    .option('--out <folder>', 'with --train: keep the trained model as a checkpoint folder')
    .option('--json', 'print events as JSON lines, the result last')
    .action(demo)
  return addDeviceOptions(command)
}
