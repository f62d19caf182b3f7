import { Command, Option } from 'commander'
import { Dataset } from '../dataset.js'
import type { EvalSets } from '../evaluate.js'
import { HRM } from '../model.js'
import { table } from '../render/text.js'
import { beginTask, type EvalTaskName, evalTaskNames } from './eval-tasks.js'
import { Exit, exitCodes, loading } from './exit.js'
import {
  addDeviceOptions,
  type DeviceOptions,
  deviceOptions,
  integerOption,
  precisionOption,
  shareOption,
} from './options.js'
import { formatCount, formatDuration, formatPercent, note, print, printJson } from './output.js'
import { Interrupts } from './signals.js'
import { addVoteOptions, openVoting, type VoteFlags, type Voting } from './votes.js'
import { wilsonInterval } from '../wilson.js'

interface EvalOptions extends DeviceOptions, VoteFlags {
  json?: boolean
  weights?: 'raw' | 'ema'
  batch?: number
  maxExamples?: number
  halting: 'max' | 'q'
  maxSegments?: number
  minExact?: number
  split: 'train' | 'test'
  task?: EvalTaskName
  submission?: string
}

/** 95 % intervals of the exact accuracy of each set; null where nothing was counted. */
function intervals(sets: EvalSets): Record<string, [number, number] | null> {
  return Object.fromEntries(
    Object.entries(sets).map(([name, { count, exact_accuracy }]) => [
      name,
      exact_accuracy === null ? null : wilsonInterval(exact_accuracy, count),
    ]),
  )
}

/** The scores as an aligned table. */
export function scoreTable(sets: EvalSets): string[] {
  const bounds = intervals(sets)
  const loss = (value: number | null) => (value === null ? '-' : value.toFixed(4))
  const rows = Object.entries(sets).map(([name, metrics]) => {
    const interval = bounds[name]
    return [
      name,
      formatCount(metrics.count),
      formatPercent(metrics.exact_accuracy),
      interval ? `${formatPercent(interval[0])} … ${formatPercent(interval[1])}` : '-',
      formatPercent(metrics.accuracy),
      formatPercent(metrics.q_halt_accuracy),
      metrics.steps === null ? '-' : metrics.steps.toFixed(2),
      loss(metrics.lm_loss),
    ]
  })
  const headers = ['set', 'n', 'exact accuracy', '95 % interval', 'token accuracy', 'q_halt accuracy', 'segments']
  return table([...headers, 'lm_loss'], rows)
}

async function evaluate(checkpoint: string, folder: string, options: EvalOptions): Promise<void> {
  const interrupts = new Interrupts()
  const begin = performance.now()
  const dataset = await Dataset.open(folder)
  const { weights } = options
  const loadOptions = {
    ...deviceOptions(options),
    ...(weights ? { weights } : {}),
    ...(options.batch === undefined ? {} : { maxBatch: options.batch }),
    signal: interrupts.signal,
  }
  const model = await loading(HRM.load(checkpoint, loadOptions))
  let voting: Voting | undefined
  try {
    voting = await openVoting(options, model, options.task, loadOptions)
    const { votes, segmentGflop } = voting
    note(`${checkpoint} on ${model.device}, ${folder}/${options.split}`)
    const task = beginTask(dataset, options.task, options)
    const loaded = performance.now()
    const { sets } = await model.evaluate(dataset, {
      ...(votes ? { votes } : {}),
      split: options.split,
      halting: options.halting,
      ...(task ? { onPrediction: task.add } : {}),
      signal: interrupts.signal,
      ...(options.batch === undefined ? {} : { batchSize: options.batch }),
      ...(options.maxExamples === undefined ? {} : { maxExamples: options.maxExamples }),
      ...(options.maxSegments === undefined ? {} : { maxSegments: options.maxSegments }),
    })
    const end = performance.now()
    const score = await task?.finish()
    const gflop = Object.fromEntries(
      Object.entries(sets).map(([name, { steps }]) => [
        name,
        steps === null || segmentGflop === undefined ? null : steps * segmentGflop,
      ]),
    )
    const seconds = (end - begin) / 1000
    const examples = Object.values(sets).reduce((sum, { count }) => sum + count, 0)
    const perSecond = (1000 * examples) / (end - loaded)
    if (options.json) {
      const exact_accuracy_interval = intervals(sets)
      const { split, halting } = options
      printJson({
        type: 'result',
        checkpoint,
        dataset: folder,
        split,
        ...(weights ? { weights } : {}),
        halting,
        sets,
        exact_accuracy_interval,
        ...score?.json,
        gflop_per_example: gflop,
        examples_per_second: perSecond,
        seconds,
      })
    } else {
      const arithmetic = Object.entries(gflop).map(
        ([name, each]) => `${name}: ${each?.toPrecision(3) ?? '-'} GFLOP each`,
      )
      print(...scoreTable(sets), ...(score?.lines ?? []), ...(votes ? arithmetic : []))
      note(`${formatDuration(seconds)}, ${perSecond.toPrecision(3)} examples a second`)
    }
    const { minExact } = options
    if (minExact === undefined) return
    for (const [name, { exact_accuracy }] of Object.entries(sets)) {
      if ((exact_accuracy ?? 0) >= minExact) continue
      throw new Exit(
        exitCodes.belowMinimum,
        `exact accuracy of ${name} is ${formatPercent(exact_accuracy)}, below ${formatPercent(minExact)}`,
      )
    }
  } finally {
    voting?.dispose()
    model.dispose()
    dataset.close()
    interrupts.release()
  }
}

/** `hrm eval` */
export function evalCommand(): Command {
  const command = new Command('eval')
    .description(
      'Scores a checkpoint on a dataset as the official evaluation does: all segments, metrics of the last one; ' +
        'with --halting q each example ends where the Q head says so, with --votes it is answered several times.',
    )
    .argument('<checkpoint>', 'checkpoint folder, or run folder for its latest')
    .argument('<dataset>', 'dataset folder')
    .addOption(new Option('--split <name>', 'split to score').choices(['train', 'test']).default('test'))
    .addOption(
      new Option(
        '--weights <kind>',
        'trained weights or their moving averages (default: ema where there is one)',
      ).choices(['raw', 'ema']),
    )
    .addOption(precisionOption())
    .addOption(integerOption('--batch <n>', 'rows of a batch'))
    .addOption(integerOption('--max-examples <n>', 'examples of each set at most'))
    .addOption(
      new Option('--halting <rule>', 'max: all segments, q: until q_halt > q_continue (halt-only models: > 0)')
        .choices(['max', 'q'])
        .default('max'),
    )
    .addOption(integerOption('--max-segments <n>', 'segments at most (default: as trained)'))
    .addOption(
      new Option('--task <name>', 'what is scored besides the metrics (default: as the dataset says)').choices(
        evalTaskNames,
      ),
    )
    .option('--submission <file>', 'ARC: writes the two best answers to each test input, as ARC Prize takes them')
    .addOption(shareOption('--min-exact <share>', 'exit 6 where the exact accuracy of a set is below, 0 to 1'))
    .option('--json', 'print one JSON line')
    .action(evaluate)
  return addDeviceOptions(addVoteOptions(command))
}
