import { extname } from 'node:path'
import { Command, Option } from 'commander'
import { argumentError } from '../errors.js'
import type { Weights } from '../evaluate.js'
import { exportOnnx } from '../onnx/export.js'
import { loading } from './exit.js'
import { formatCount, print, printJson } from './output.js'

interface ConvertOptions {
  json?: boolean
  weights?: Weights
}

/** What a conversion reports: for programs as values, for people as lines. */
interface Conversion {
  values: Record<string, unknown>
  lines: string[]
}

interface Target {
  /** What is written, for the help and for errors. */
  summary: string
  convert: (input: string, output: string, options: ConvertOptions) => Promise<Conversion>
}

/** Formats by the extension of the output. */
const targets: Readonly<Record<string, Target>> = {
  '.onnx': {
    summary: 'one segment as an ONNX model',
    convert: async (input, output, { weights }) => {
      const { sizeBytes, opset, ...used } = await exportOnnx(input, output, { weights })
      const line = `${output}: one segment, ${used.weights} weights, opset ${opset}, ${formatCount(sizeBytes)} bytes`
      return { lines: [line], values: { ...used, opset, sizeBytes } }
    },
  },
}

const summaries = Object.entries(targets).map(([extension, { summary }]) => `${extension} (${summary})`)

async function convert(input: string, output: string, options: ConvertOptions): Promise<void> {
  const target = targets[extname(output)]
  if (!target) throw argumentError(`[convert] expected an output that ends in ${summaries.join(', ')}, got ${output}`)
  const { lines, values } = await loading(target.convert(input, output, options))
  if (options.json) printJson({ type: 'result', input, output, ...values })
  else print(...lines)
}

/** `hrm convert` */
export function convertCommand(): Command {
  return new Command('convert')
    .description('Converts a checkpoint into another format, chosen by the extension of the output.')
    .argument('<input>', 'checkpoint folder, or run folder for its latest')
    .argument('<output>', `file to write: ${summaries.join(', ')}`)
    .addOption(
      new Option(
        '--weights <kind>',
        'trained weights or their moving averages (default: ema where there is one)',
      ).choices(['raw', 'ema']),
    )
    .option('--json', 'print one JSON line')
    .action(convert)
}
