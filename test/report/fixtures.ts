import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Test } from 'tap'
import { ThinnedCurves } from '#dist/report/curves.js'
import type { ReportData, ReportRun } from '#dist/report/data.js'
import { small, sudokuFolder } from '../cli/fixtures.js'
import { hrm } from '../cli/process.js'

/** A line of metrics.jsonl. */
export function stepLine(step: number, metrics: object = {}, event: object = {}): string {
  const scores = { count: 1, accuracy: 0.5, exact_accuracy: 0, steps: 2, ...metrics }
  return JSON.stringify({ type: 'step', step, lr: 0.1, loss: 1 / step, gradNorm: step, ...event, metrics: scores })
}

/** A folder with the dataset `data` and the finished run `run` of 12 steps, which was evaluated thrice. */
export async function trainedFolder(t: Test, overrides: readonly string[] = []): Promise<string> {
  const cwd = sudokuFolder(t)
  const options = ['--preset', 'tiny', '--max-steps', '12', '--eval-every', '4', '--out', 'run']
  const trained = await hrm(['train', ...small, ...options, ...overrides], { cwd })
  if (trained.code !== 0) throw new Error(trained.stderr)
  return cwd
}

/** A run without anything in its metrics. */
export function emptyRun(name: string, change: Partial<ReportRun> = {}): ReportRun {
  return {
    name,
    path: `/runs/${name}`,
    metrics: {
      train: new ThinnedCurves().curves(),
      evals: [],
      evaluated: 0,
      best: null,
      step: 0,
      lastStep: null,
      itPerSecond: null,
      end: null,
      nonFinite: 0,
      saveErrors: 0,
      starts: [],
      unreadable: 0,
    },
    config: null,
    parameters: null,
    validation: false,
    paper: null,
    puzzles: { reason: 'none' },
    ...change,
  }
}

export function reportData(...runs: ReportRun[]): ReportData {
  return { version: '1.2.3', live: false, runs }
}

/** Writes lines as the metrics of a run folder. */
export function writeMetrics(dir: string, lines: readonly string[]): void {
  writeFileSync(join(dir, 'metrics.jsonl'), lines.map((line) => `${line}\n`).join(''))
}
