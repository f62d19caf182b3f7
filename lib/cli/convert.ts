import { extname } from 'node:path'
import { Command, Option } from 'commander'
import { argumentError } from '../errors.js'
import { type ConvertOptions, type ConvertSummary, convertToFolder, convertToPyTorch } from '../convert.js'
import { exportOnnx } from '../onnx/export.js'
import { loading } from './exit.js'
import { integerOption } from './options.js'
import { formatCount, print, printJson } from './output.js'

interface CommandOptions extends ConvertOptions {
  json?: boolean
}

/** What a conversion reports: for programs as values, for people as lines. */
interface Conversion {
  values: Record<string, unknown>
  lines: string[]
}

interface Target {
  /** What is written, for the help and for errors. */
  summary: string
  convert: (input: string, output: string, options: CommandOptions) => Promise<Conversion>
}

function report(output: string, what: string, summary: ConvertSummary): Conversion {
  const { weights, seqLenFrom, ignoredKeys = [], puzzles } = summary
  return {
    values: { ...summary },
    lines: [
      `${output}: ${what}, ${weights} weights`,
      ...(seqLenFrom === undefined ? [] : [`tokens per sequence: from ${seqLenFrom}`]),
      ...(ignoredKeys.length === 0 ? [] : [`left out of the configuration: ${ignoredKeys.join(', ')}`]),
      ...(puzzles === undefined
        ? []
        : [
            `puzzles: ${formatCount(puzzles.matched)} matched by name, ${formatCount(puzzles.new)} new (at zero), ` +
              `${formatCount(puzzles.dropped)} dropped`,
          ]),
    ],
  }
}

/** Formats by the extension of the output; without one a folder. */
const targets: Readonly<Record<string, Target>> = {
  '': {
    summary: 'a folder: checkpoint for hrm solve and hrm eval',
    convert: async (input, output, options) =>
      report(output, 'checkpoint folder', await convertToFolder(input, output, options)),
  },
  '.pt': {
    summary: '.pt: state dict for the official PyTorch code, with all_config.yaml beside it',
    convert: async (input, output, options) =>
      report(output, 'PyTorch state dict', await convertToPyTorch(input, output, options)),
  },
  '.onnx': {
    summary: '.onnx: one segment as an ONNX model',
    convert: async (input, output, { weights }) => {
      const { sizeBytes, opset, ...used } = await exportOnnx(input, output, { weights })
      const line = `${output}: one segment, ${used.weights} weights, opset ${opset}, ${formatCount(sizeBytes)} bytes`
      return { lines: [line], values: { ...used, opset, sizeBytes } }
    },
  },
}

const summaries = Object.values(targets).map(({ summary }) => summary)

async function convert(input: string, output: string, options: CommandOptions): Promise<void> {
  const target = targets[extname(output)]
  if (!target) throw argumentError(`[convert] expected as output ${summaries.join('; ')}, got ${output}`)
  const { lines, values } = await loading(target.convert(input, output, options))
  if (options.json) printJson({ type: 'result', input, output, ...values })
  else print(...lines)
}

/** `hrm convert` */
export function convertCommand(): Command {
  return new Command('convert')
    .description(
      'Converts checkpoints: those of the official PyTorch training into folders that hrm reads, and back. The extension of the output chooses the format.',
    )
    .argument('<input>', 'checkpoint folder, run folder for its latest, or PyTorch file with all_config.yaml beside it')
    .argument('<output>', summaries.join('; '))
    .addOption(
      new Option(
        '--weights <kind>',
        'of a folder: trained weights or their moving averages (default: ema where there is one)',
      ).choices(['raw', 'ema']),
    )
    .option('--config <file>', 'of a PyTorch file: its configuration (default: all_config.yaml beside it)')
    .addOption(
      integerOption('--seq-len <n>', 'of a PyTorch file: tokens per sequence (default: as the official task has)'),
    )
    .option('--dataset <dir>', 'dataset that the model is to serve')
    .option(
      '--identifiers-from <file>',
      'identifiers.json of the dataset it was trained on: puzzles of --dataset are matched by name',
    )
    .option('--json', 'print one JSON line')
    .action(convert)
}
