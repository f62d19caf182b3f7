import { readFileSync } from 'node:fs'
import { extname } from 'node:path'
import { Command, Option } from 'commander'
import { type ConvertOptions, type ConvertSummary, convertToFolder, convertToPyTorch } from '../convert.js'
import { fileError } from '../durable-folder.js'
import { argumentError } from '../errors.js'
import { loading } from './exit.js'
import { integerOption } from './options.js'
import { formatCount, print, printJson } from './output.js'

interface CommandOptions extends Omit<ConvertOptions, 'card'> {
  json?: boolean
  /** Of what the folder gets as README.md. */
  card?: string
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
  const lines = [`${output}: ${what}, ${weights} weights`]
  if (seqLenFrom !== undefined) lines.push(`tokens per sequence: from ${seqLenFrom}`)
  if (ignoredKeys.length > 0) lines.push(`left out of the configuration: ${ignoredKeys.join(', ')}`)
  if (puzzles !== undefined) {
    const [matched, added, dropped] = [puzzles.matched, puzzles.new, puzzles.dropped].map(formatCount)
    lines.push(`puzzles: ${matched} matched by name, ${added} new (at zero), ${dropped} dropped`)
  }
  return { values: { ...summary }, lines }
}

function readCard({ card }: CommandOptions): string | undefined {
  if (card === undefined) return undefined
  try {
    return readFileSync(card, 'utf8')
  } catch (error) {
    throw fileError('convert', card, error)
  }
}

/** Formats by the extension of the output; without one a folder. */
const targets: Readonly<Record<string, Target>> = {
  '': {
    summary: 'no extension (checkpoint folder)',
    convert: async (input, output, options) =>
      report(
        output,
        'checkpoint folder',
        await convertToFolder(input, output, { ...options, card: readCard(options) }),
      ),
  },
  '.pt': {
    summary: '.pt (state dict for the official PyTorch code, with all_config.yaml beside it)',
    convert: async (input, output, options) =>
      report(output, 'PyTorch state dict', await convertToPyTorch(input, output, options)),
  },
  '.onnx': {
    summary: '.onnx (one segment as an ONNX model)',
    convert: async (input, output, options) => {
      const { weights } = options
      const unfit = Object.keys(options).find((name) => name !== 'weights' && name !== 'json')
      if (unfit !== undefined)
        throw argumentError(
          `[convert] expected no option but weights for ${output}, got ${unfit}; convert to a folder first`,
        )
      const { exportOnnx } = await import('../onnx/export.js')
      const { sizeBytes, opset, ...used } = await exportOnnx(input, output, { weights })
      const line = `${output}: one segment, ${used.weights} weights, opset ${opset}, ${formatCount(sizeBytes)} bytes`
      return { lines: [line], values: { ...used, opset, sizeBytes } }
    },
  },
}

const summaries = Object.values(targets).map(({ summary }) => summary)

async function convert(input: string, output: string, options: CommandOptions): Promise<void> {
  const target = targets[extname(output)]
  if (!target) throw argumentError(`[convert] expected an output that ends in ${summaries.join(', ')}, got ${output}`)
  const { lines, values } = await loading(target.convert(input, output, options))
  if (options.json) printJson({ type: 'result', input, output, ...values })
  else print(...lines)
}

/** `hrm convert` */
export function convertCommand(): Command {
  return new Command('convert')
    .description(
      'Converts a checkpoint into another format, chosen by the extension of the output. Reads those of the official PyTorch training too.',
    )
    .argument('<input>', 'checkpoint folder, run folder for its latest, or PyTorch file with all_config.yaml beside it')
    .argument('<output>', `what to write: ${summaries.join(', ')}`)
    .addOption(
      new Option(
        '--weights <kind>',
        'trained weights or their moving averages (default: ema where there is one)',
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
    .addOption(
      new Option('--dtype <name>', 'of a checkpoint folder: how its values are stored (default: fp32)').choices([
        'fp32',
        'bf16',
      ]),
    )
    .option('--card <file>', 'of a checkpoint folder: the text of its README.md, the model card')
    .option('--json', 'print one JSON line')
    .action(convert)
}
