import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Command } from 'commander'
import { resolveTrainOptions } from '../config.js'
import { Dataset } from '../dataset.js'
import type { EvalMetrics } from '../metrics.js'
import { HRM } from '../model.js'
import { renderOptions } from '../render/text.js'
import type { SegmentState } from '../solver.js'
import type { EvalEvent } from '../train-run.js'
import { makeDemoData } from './demo-data.js'
import { Exit, exitCodes } from './exit.js'
import { followRun } from './follow-run.js'
import { addDeviceOptions, type DeviceOptions, deviceOptions, integerOption } from './options.js'
import { formatCount, formatPercent, note, print, printJson } from './output.js'
import { Interrupts } from './signals.js'
import { drawSegments, taskFormat } from './task-format.js'
import { wilsonInterval } from '../wilson.js'

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
  seed: number
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
  const run = model.train(data, { ...recipe, finalWeights: 'ema' })
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
  else print(`exact accuracy ${formatPercent(exact)} on ${count} held-out puzzles in ${Math.round(seconds)} s`)
  if (exact < WANTED_EXACT)
    throw new Exit(
      exitCodes.belowMinimum,
      `exact accuracy is ${formatPercent(exact)}, below ${formatPercent(WANTED_EXACT)}`,
    )
}

async function demo(options: DemoOptions): Promise<void> {
  const begin = performance.now()
  const json = options.json === true
  const interrupts = new Interrupts()
  const dir = await mkdtemp(join(tmpdir(), 'hrm-demo-'))
  try {
    if (!options.train) note('no trained model is packed, so this trains one (as with --train)')
    note('4x4 Sudoku: 8 of 16 cells are empty; the held-out puzzles have solutions that training never sees')
    const folders = await makeDemoData(dir, options.seed, interrupts.signal)
    using data = await Dataset.open(folders.training)
    using heldOut = await Dataset.open(folders.heldOut)
    using model = await HRM.create(
      { preset: 'tiny', vocabSize: data.vocabSize, seqLen: data.seqLen },
      { ...deviceOptions(options), seed: options.seed },
    )
    note(`${formatCount(model.numParameters)} parameters on ${model.device}; training takes at most ${MAX_STEPS} steps`)
    await trainDemo(model, data, options.seed, json, interrupts)
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
    .description('Trains a small model on 4x4 Sudoku, scores it on held-out puzzles and draws how it solves some.')
    .option('--train', 'train the model here and now')
    .addOption(integerOption('--seed <n>', 'seed of puzzles and training', 0).default(0))
    .option('--out <folder>', 'keep the trained model as a checkpoint folder')
    .option('--json', 'print events as JSON lines, the result last')
    .action(demo)
  return addDeviceOptions(command)
}
