import { appendFileSync, writeFileSync } from 'node:fs'
import { cpus } from 'node:os'
import { Argument, Command, InvalidArgumentError, Option } from 'commander'
import { type BenchPreset, benchPresets } from '../bench/cases.js'
import { measure, type Row } from '../bench/measure.js'
import { overview, suite, type SuiteName, suiteNames } from '../bench/suites.js'
import { resolveDevice } from '../devices.js'
import { fileError } from '../durable-folder.js'
import { argumentError } from '../errors.js'
import { native } from '../native.js'
import { addDeviceOptions, type DeviceOptions, deviceOptions, precisionOption } from './options.js'
import { print, printJson } from './output.js'
import { Interrupts } from './signals.js'

interface BenchOptions extends DeviceOptions {
  isa?: string
  preset?: BenchPreset[]
  batch?: number[]
  seconds?: number
  filter: string
  json?: boolean
  out?: string
}

/** Parses `a,b,c`; `each` throws on a wrong item. */
function listOption<T>(flags: string, description: string, each: (text: string) => T): Option {
  return new Option(flags, description).argParser((text) => text.split(',').map((item) => each(item.trim())))
}

function readPreset(text: string): BenchPreset {
  if (benchPresets.includes(text as BenchPreset)) return text as BenchPreset
  throw new InvalidArgumentError(`expected ${benchPresets.join(', ')}.`)
}

function readBatch(text: string): number {
  const batch = text === '' ? Number.NaN : Number(text)
  if (Number.isInteger(batch) && batch >= 1 && batch <= 2 ** 16) return batch
  throw new InvalidArgumentError('expected integers of 1 to 65536.')
}

function readSeconds(text: string): number {
  const seconds = text.trim() === '' ? Number.NaN : Number(text)
  if (seconds > 0 && seconds <= 3600) return seconds
  throw new InvalidArgumentError('expected a number above 0, at most 3600.')
}

/** Columns of the table: head, width (negative: to the left), text of a row. */
function columns(nameWidth: number): readonly [string, number, (row: Row) => string][] {
  const share = (value: number | null, digits: number) => (value === null ? '-' : value.toFixed(digits))
  return [
    ['case', -nameWidth, (row) => row.name],
    ['batch', 6, (row) => String(row.batch ?? '-')],
    ['median ms', 12, (row) => row.ms.toFixed(4)],
    ['best ms', 11, (row) => row.bestMs.toFixed(4)],
    ['spread', 8, (row) => `${(100 * row.spread).toFixed(0)} %`],
    ['runs', 7, (row) => String(row.runs)],
    ['GFLOP/s', 9, (row) => share(row.gflops, 1)],
    ['peak', 7, (row) => row.peakGflops.toFixed(0)],
    ['% of peak', 11, (row) => share(row.percentOfPeak, 1)],
    ['lag p99 / max ms', 18, (row) => `${row.lagP99Ms.toFixed(1)} / ${row.lagMaxMs.toFixed(1)}`],
  ]
}

const align = (text: string, width: number) => (width < 0 ? text.padEnd(-width) : text.padStart(width))

async function bench(what: SuiteName | undefined, options: BenchOptions): Promise<void> {
  const {
    isa: wantedIsa,
    preset: presets = ['tiny', 'small', 'paper'],
    batch: batches = [1, 8, 32],
    filter,
    json,
    out,
  } = options
  if (what === undefined && (options.preset || options.batch)) {
    throw argumentError(`[bench] expected --preset and --batch after ${suiteNames.join(', ')}, got none of these`)
  }
  const engine = resolveDevice('bench', {
    ...deviceOptions(options),
    ...(wantedIsa === undefined ? {} : { isa: wantedIsa }),
  })
  const inferenceOnly = engine.precision === 'int8'
  const all = what ? suite(what, { presets, batches, engine, inferenceOnly }) : overview(engine, inferenceOnly)
  const cases = all.filter(({ name }) => name.includes(filter))
  if (cases.length === 0) {
    const names = [...new Set(all.map(({ name }) => name))].join(', ')
    throw argumentError(`[bench] expected --filter to be part of a name among ${names}, got "${filter}"`)
  }
  const info = native.cpuInfo()
  const { device, precision } = engine
  const isa = engine.isa || info.isa
  const threads = engine.threads || info.threads
  const onGpu = device !== 'cpu'
  const ceiling = onGpu && (precision === 'bf16' || precision === 'fp32') ? { device, precision } : { threads, isa }
  const gpu = onGpu ? native.gpuInfo().devices[Number(device.split(':')[1] ?? 0)] : undefined
  const machine = {
    ...(gpu === undefined ? {} : { gpu: gpu.name }),
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    isa,
    threads,
    precision: engine.precision,
    node: process.version,
  }
  const record = (value: { type: string } & Record<string, unknown>, write = appendFileSync) => {
    if (json) printJson(value)
    if (out === undefined) return
    try {
      write(out, `${JSON.stringify(value)}\n`)
    } catch (error) {
      throw fileError('bench', out, error)
    }
  }
  const interrupts = new Interrupts()
  try {
    record({ type: 'start', suite: what ?? 'overview', machine, cases: cases.length }, writeFileSync)
    const layout = columns(Math.max(...cases.map(({ name }) => name.length)) + 1)
    if (!json) {
      print(
        `${gpu?.name ?? `${machine.cpu}, ${isa}, ${threads} thread${threads === 1 ? '' : 's'}`}, ${precision}, Node ${machine.node}`,
        '',
        layout.map(([head, width]) => align(head, width)).join(''),
      )
    }
    const budgetMs = 1000 * (options.seconds ?? (what === 'kernels' ? 1 : 6))
    const rows: Row[] = []
    for (const one of cases) {
      const row = await measure(one, ceiling, budgetMs, interrupts.signal)
      rows.push(row)
      record({ type: 'case', ...row })
      if (!json) print(layout.map(([, width, text]) => align(text(row), width)).join(''))
    }
    record({ type: 'result', suite: what ?? 'overview', machine, cases: rows })
  } finally {
    interrupts.release()
  }
}

/** `hrm bench` */
export function benchCommand(): Command {
  const command = new Command('bench')
    .description(
      'Times this machine, beside the fused multiply-add peak measured in the same run. kernels: single steps, as a ' +
        'block forward or AdamATan2; solve: segments and whole solves; train: training steps. Without one of these: ' +
        'segments and training steps at the sizes that docs/performance.md gives.',
    )
    .addArgument(new Argument('[what]', 'what to time').choices([...suiteNames]))
    .addOption(listOption('--preset <names>', `of ${benchPresets.join(', ')} (default: tiny,small,paper)`, readPreset))
    .addOption(listOption('--batch <sizes>', 'batch sizes, as 1,8,32 (default: these)', readBatch))
    .addOption(
      new Option('--seconds <s>', 'time spent on each case (default: 1 for kernels, else 6)').argParser(readSeconds),
    )
    .option('--filter <text>', 'only cases whose name contains the text', '')
  return addDeviceOptions(command)
    .option('--isa <name>', 'instruction set (default: HRM_ISA, else the best that the CPU has)')
    .addOption(precisionOption())
    .option('--json', 'print one JSON line per case, then the result')
    .option('--out <file>', 'write the JSON lines to a file, too')
    .action((what: SuiteName | undefined, options: BenchOptions) => bench(what, options))
}
