import { readFile, stat } from 'node:fs/promises'
import { basename, join, resolve } from 'node:path'
import {
  type Config,
  fromOfficial,
  type ModelConfig,
  type OfficialConfig,
  parameterCount,
  toOfficial,
} from '../config.js'
import { Dataset } from '../dataset.js'
import { exists, fileError } from '../durable-folder.js'
import { HRMError } from '../errors.js'
import { readPointer } from '../run-folder.js'
import type { PaperFigure, ReportRun } from './data.js'
import { MetricsFile } from './metrics-file.js'
import { paperFigures, paperTask, type PaperTask } from './paper.js'
import { type PuzzleOptions, solvePuzzles } from './puzzles.js'

export interface CollectOptions extends Omit<PuzzleOptions, 'puzzles'> {
  /** Puzzles to show of each run; 0 = none. */
  puzzles: number
  /** The dataset, where it is not at the run's `data_path`. */
  data?: string | undefined
  /** The figure of the paper to compare with. @default the one for the data of the run, if any */
  paper?: PaperTask | 'none' | undefined
}

function missing(path: string, got: string): HRMError {
  return new HRMError(
    'ERR_HRM_CHECKPOINT',
    `[report] expected a run folder with metrics.jsonl or run.json, got ${got} at ${path}; give the folder that hrm train --out wrote`,
    { path },
  )
}

/** A run folder that may still grow. */
export class RunSource {
  readonly path: string
  readonly #metrics: MetricsFile

  private constructor(path: string) {
    this.path = path
    this.#metrics = new MetricsFile(join(path, 'metrics.jsonl'))
  }

  /** @throws ERR_HRM_CHECKPOINT where there is no run, ERR_HRM_IO */
  static async open(dir: string): Promise<RunSource> {
    const path = resolve(dir)
    try {
      if (!(await exists(path))) throw missing(path, 'nothing')
      if (!(await stat(path)).isDirectory()) throw missing(path, 'a file')
      const found = await Promise.all(['metrics.jsonl', 'run.json'].map((name) => exists(join(path, name))))
      if (!found.includes(true) && (await readPointer(path, 'latest')) === undefined) throw missing(path, 'neither')
    } catch (error) {
      throw fileError('report', path, error)
    }
    const source = new RunSource(path)
    await source.read()
    return source
  }

  /** Reads what is new in metrics.jsonl; returns whether anything was. */
  read(signal?: AbortSignal): Promise<boolean> {
    return this.#metrics.read(signal)
  }

  metrics() {
    return this.#metrics.metrics()
  }

  /** The checkpoint to solve puzzles with, the best one where there is one. */
  async checkpoint(): Promise<string | undefined> {
    return (await readPointer(this.path, 'best')) ?? (await readPointer(this.path, 'latest'))
  }

  /** The configuration: that of the newest checkpoint, which has the hash of the data, else what the run began with. */
  async #config(): Promise<Config | undefined> {
    const latest = await readPointer(this.path, 'latest')
    const files = [...(latest === undefined ? [] : [join(latest, 'config.json')]), join(this.path, 'run.json')]
    for (const file of files) {
      try {
        return fromOfficial(JSON.parse(await readFile(file, 'utf8')), file)
      } catch (error) {
        // A running training may prune the checkpoint meanwhile.
        if ((error as NodeJS.ErrnoException).code === 'ENOENT') continue
        if (!(error instanceof SyntaxError)) throw fileError('report', file, error)
        throw new HRMError('ERR_HRM_CORRUPT', `[report] expected JSON in ${file}, got ${error.message}; restore it`, {
          path: file,
        })
      }
    }
    return undefined
  }

  /** All there is to report of the run. @throws ERR_HRM_CORRUPT, ERR_HRM_CONFIG, ERR_HRM_IO; `signal.reason` */
  async collect(options: CollectOptions): Promise<ReportRun> {
    const config = await this.#config()
    const found = await this.#ofDataset(config, options)
    return {
      name: config?.run.runName || basename(this.path),
      path: this.path,
      metrics: this.metrics(),
      config: config ? (toOfficial(config) as OfficialConfig) : null,
      parameters: config ? parameterCount(config.model as ModelConfig) : null,
      validation: (config?.train.validationGroups ?? 0) > 0,
      ...found,
    }
  }

  async #ofDataset(config: Config | undefined, options: CollectOptions): Promise<Pick<ReportRun, 'puzzles' | 'paper'>> {
    const named = options.paper
    const chosen = named === undefined || named === 'none' ? null : paperFigures[named]
    const without = (reason: string, paper: PaperFigure | null = chosen) => ({ puzzles: { reason }, paper })
    const path = options.data ?? config?.run.dataPath
    if (path === undefined) return without('the run has no configuration that names its data; give it with --data')
    let dataset: Dataset
    try {
      dataset = await Dataset.open(path)
    } catch (error) {
      if (!(error instanceof HRMError)) throw error
      return without(`the dataset cannot be read: ${error.message}`)
    }
    try {
      const hash = config?.run.dataHash
      if (hash && hash !== (await dataset.hash()))
        return without(`the data at ${path} is not what the run was trained on: its hash differs`)
      const task = named === undefined ? paperTask(dataset) : undefined
      const paper = task ? paperFigures[task] : chosen
      const checkpoint = await this.checkpoint()
      if (checkpoint === undefined) return without('the run has saved no checkpoint yet', paper)
      const { puzzles } = options
      if (puzzles === 0) return without('none were asked for (--puzzles 0)', paper)
      if (!dataset.splits.includes('test')) return without(`the data at ${path} has no test split`, paper)
      const { data: _, paper: __, ...rest } = options
      try {
        return { puzzles: await solvePuzzles(checkpoint, dataset, { ...rest, puzzles }), paper }
      } catch (error) {
        options.signal?.throwIfAborted()
        // A device that was asked for and is missing is the caller's mistake; a checkpoint that is gone is the run's life.
        if (!(error instanceof HRMError) || error.code === 'ERR_HRM_NO_DEVICE') throw error
        return without(`they could not be solved: ${error.message}`, paper)
      }
    } finally {
      dataset.close()
    }
  }
}
