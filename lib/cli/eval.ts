import { Command, Option } from 'commander'
import { Dataset } from '../dataset.js'
import type { EvalSets } from '../evaluate.js'
import { HRM } from '../model.js'
import { table } from '../render/text.js'
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
import { wilsonInterval } from './wilson.js'

interface EvalOptions extends DeviceOptions {
  json?: boolean
  weights?: 'raw' | 'ema'
  batch?: number
  maxExamples?: number
  minExact?: number
  split: 'train' | 'test'
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
      loss(metrics.lm_loss),
    ]
  })
  return table(['set', 'n', 'exact accuracy', '95 % interval', 'token accuracy', 'q_halt accuracy', 'lm_loss'], rows)
}

async function evaluate(checkpoint: string, folder: string, options: EvalOptions): Promise<void> {
  const interrupts = new Interrupts()
  const begin = performance.now()
  const dataset = await Dataset.open(folder)
  const { weights } = options
  const model = await loading(
    HRM.load(checkpoint, {
      ...deviceOptions(options),
      ...(weights ? { weights } : {}),
      signal: interrupts.signal,
    }),
  )
  try {
    note(`${checkpoint} on ${model.device}, ${folder}/${options.split}`)
    const { sets } = await model.evaluate(dataset, {
      split: options.split,
      signal: interrupts.signal,
      ...(options.batch === undefined ? {} : { batchSize: options.batch }),
      ...(options.maxExamples === undefined ? {} : { maxExamples: options.maxExamples }),
    })
    const seconds = (performance.now() - begin) / 1000
    if (options.json) {
      const exact_accuracy_interval = intervals(sets)
      const { split } = options
      printJson({
        type: 'result',
        checkpoint,
        dataset: folder,
        split,
        ...(weights ? { weights } : {}),
        sets,
        exact_accuracy_interval,
        seconds,
      })
    } else {
      print(...scoreTable(sets))
      note(formatDuration(seconds))
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
    model.dispose()
    dataset.close()
    interrupts.release()
  }
}

/** `hrm eval` */
export function evalCommand(): Command {
  const command = new Command('eval')
    .description(
      'Scores a checkpoint on a dataset as the official evaluation does: all segments, metrics of the last one.',
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
    .addOption(shareOption('--min-exact <share>', 'exit 6 where the exact accuracy of a set is below, 0 to 1'))
    .option('--json', 'print one JSON line')
    .action(evaluate)
  return addDeviceOptions(command)
}
