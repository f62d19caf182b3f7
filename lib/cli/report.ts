import { basename, join, resolve } from 'node:path'
import { Command, Option } from 'commander'
import { replaceFile } from '../durable-folder.js'
import { packageVersion } from '../environment.js'
import { argumentError, HRMError } from '../errors.js'
import type { ReportRun } from '../report/data.js'
import { exportPictures, type ImageFormat } from '../report/export.js'
import { reportPage } from '../report/page.js'
import { paperFigures, type PaperTask } from '../report/paper.js'
import { type CollectOptions, RunSource } from '../report/run.js'
import { ReportServer } from '../report/watch.js'
import { describeError, loading } from './exit.js'
import { addDeviceOptions, type DeviceOptions, deviceOptions, integerOption, precisionOption } from './options.js'
import { formatCount, formatPercent, note, print, printJson } from './output.js'
import { Progress } from './progress.js'
import { Interrupts } from './signals.js'

interface ReportOptions extends DeviceOptions {
  output?: string
  export?: string
  format: ImageFormat
  watch?: boolean
  port?: number
  puzzles: number
  data?: string
  paper?: PaperTask | 'none'
  json?: boolean
}

function checkCombination({ watch, port, output, export: exported }: ReportOptions): void {
  if (port !== undefined && !watch) throw argumentError('[report] expected --port with --watch; add --watch')
  if (watch && (output !== undefined || exported !== undefined))
    throw argumentError('[report] expected --watch alone, got it with -o or --export; leave one out')
}

/** What was found of a run, on stderr. */
function noteRun({ name, metrics, puzzles }: ReportRun): void {
  const { train, best } = metrics
  const score = best ? `, best exact ${formatPercent(best.exact)} at step ${formatCount(best.step)}` : ''
  note(`${name}: ${formatCount(train.logged)} logged steps${score}`)
  if ('reason' in puzzles) note(`no puzzles: ${puzzles.reason}`)
  else note(`${formatCount(puzzles.exact)} of ${formatCount(puzzles.tried)} test examples tried are exact`)
}

async function writeReport(sources: readonly RunSource[], options: ReportOptions, collect: CollectOptions) {
  const runs: ReportRun[] = []
  for (const source of sources) {
    let progress: Progress | undefined
    const onProgress = (done: number, total: number) => {
      progress ??= new Progress(`solving (${basename(source.path)})`, total)
      progress.update(done)
    }
    try {
      runs.push(await loading(source.collect({ ...collect, onProgress })))
    } finally {
      progress?.stop()
    }
    noteRun(runs.at(-1)!)
  }
  const pictures: string[] = []
  if (options.export !== undefined) {
    for (const [at, { name, puzzles }] of runs.entries()) {
      if ('reason' in puzzles) {
        throw new HRMError(
          'ERR_HRM_DATASET',
          `[report] expected puzzles of ${name} to export, got none: ${puzzles.reason}`,
          { run: name },
        )
      }
      const dir = runs.length > 1 ? join(options.export, `run-${at + 1}`) : options.export
      pictures.push(...(await exportPictures(puzzles, resolve(dir), options.format)))
    }
  }
  const path = resolve(options.output ?? join(sources[0]!.path, 'report.html'))
  const page = await reportPage({ version: packageVersion(), live: false, runs })
  await replaceFile('report', path, (handle) => handle.writeFile(page))
  if (options.json) {
    const result = runs.map(({ name, metrics, puzzles }) => ({
      name,
      step: metrics.step,
      best: metrics.best,
      puzzles:
        'reason' in puzzles ? puzzles : { tried: puzzles.tried, exact: puzzles.exact, interval: puzzles.interval },
    }))
    printJson({ type: 'result', path, bytes: Buffer.byteLength(page), runs: result, pictures })
  } else print(path, ...pictures)
}

async function watchRuns(
  sources: readonly RunSource[],
  options: ReportOptions,
  collect: CollectOptions & { signal: AbortSignal },
) {
  const server = await ReportServer.start(sources, {
    ...collect,
    port: options.port ?? 0,
    onError: (error) => note(describeError(error)),
  })
  if (options.json) printJson({ type: 'watch', url: server.url })
  else print(server.url)
  note('follows the run; end it with Ctrl-C')
  await server.follow()
}

async function report(dirs: string[], options: ReportOptions): Promise<void> {
  checkCombination(options)
  const interrupts = new Interrupts()
  try {
    const sources: RunSource[] = []
    for (const dir of dirs) sources.push(await RunSource.open(dir))
    const { puzzles, data, paper } = options
    const collect = { ...deviceOptions(options), puzzles, data, paper, signal: interrupts.signal }
    if (options.watch) await watchRuns(sources, options, collect)
    else await writeReport(sources, options, collect)
  } finally {
    interrupts.release()
  }
}

/** `hrm report` */
export function reportCommand(): Command {
  const command = new Command('report')
    .description(
      'Writes a report of training runs as one HTML file that loads nothing: learning curves, configuration, and test ' +
        'examples solved segment by segment, failures first. With --watch a page on this machine follows the runs.',
    )
    .argument('<run...>', 'run folders; the curves of several are drawn together')
    .option('-o, --output <file>', 'the file to write (default: report.html in the first run)')
    .addOption(integerOption('--puzzles <n>', 'test examples shown of each run', 0).default(12))
    .option('--data <folder>', "dataset folder (default: the run's data_path)")
    .addOption(
      new Option('--paper <task>', "the paper's figure to compare with (default: where the data is that task)").choices(
        [...Object.keys(paperFigures), 'none'],
      ),
    )
    .option('--export <folder>', 'also write pictures of the puzzles, each with its segments and its answer')
    .addOption(new Option('--format <name>', 'of the pictures').choices(['svg', 'png']).default('svg'))
    .option('--watch', 'serve the page on 127.0.0.1 and follow the runs until Ctrl-C')
    .addOption(integerOption('--port <n>', 'port of --watch (default: a free one)', 0))
    .addOption(precisionOption())
    .option('--json', 'print one JSON line')
    .action(report)
  return addDeviceOptions(command)
}
