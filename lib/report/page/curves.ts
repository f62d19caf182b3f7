import type { EvalPoint, ReportRun } from '../data.js'
import { Chart, type Line, paperSpread } from './chart.js'
import { el, formatCount, formatInterval, formatNumber, formatPercent, plural, scrolling, table } from './dom.js'

/** Mean over a window around each value, weighted by the rows counted. */
export function smoothed(values: readonly (number | null)[], counts: readonly number[]): (number | null)[] {
  const half = Math.floor(values.length / 100)
  const sums = [0]
  const weights = [0]
  values.forEach((value, at) => {
    sums.push(sums[at]! + (value ?? 0) * counts[at]!)
    weights.push(weights[at]! + counts[at]!)
  })
  return values.map((_, at) => {
    const [from, to] = [Math.max(0, at - half), Math.min(values.length, at + half + 1)]
    const weight = weights[to]! - weights[from]!
    return weight > 0 ? (sums[to]! - sums[from]!) / weight : null
  })
}

type Runs = readonly { run: ReportRun; number: number }[]

/** The name of a run where there are several, and a label. */
const labelled = (runs: Runs, { run, number }: Runs[number], label: string) =>
  runs.length > 1 ? `${number + 1} ${run.name}${label && ` ${label}`}` : label

function trainLine(name: 'loss' | 'gradNorm' | 'lr'): (runs: Runs) => Line[] {
  return (runs) =>
    runs.map((entry) => {
      const { train } = entry.run.metrics
      const banded = name !== 'lr' && train.per > 1
      const bounds = banded ? { low: train[`${name}Low`], high: train[`${name}High`] } : {}
      return {
        run: entry.number,
        label: labelled(runs, entry, ''),
        x: train.step,
        y: train[name],
        ...bounds,
        style: 'solid',
      }
    })
}

/** The evaluations of the first set, by their weights. */
function evaluations({ metrics }: ReportRun, weights: EvalPoint['weights']): EvalPoint[] {
  const [first] = metrics.evals
  return metrics.evals.filter((point) => point.set === first?.set && point.weights === weights)
}

/** The weights that `best` is chosen by come first. */
function scoredWeights(run: ReportRun): EvalPoint['weights'][] {
  return evaluations(run, 'ema').length > 0 ? ['ema', 'raw'] : ['raw']
}

const weightNames = { ema: 'averaged weights', raw: 'trained weights' }

function exactLines(runs: Runs): Line[] {
  return runs.flatMap((entry) => {
    const { run, number } = entry
    const scored = scoredWeights(run).map((weights, at): Line => {
      const points = evaluations(run, weights)
      const bounds = {
        low: points.map(({ interval }) => interval?.[0] ?? null),
        high: points.map(({ interval }) => interval?.[1] ?? null),
      }
      return {
        run: number,
        label: labelled(runs, entry, weightNames[weights]),
        x: points.map(({ step }) => step),
        y: points.map(({ exact }) => exact),
        ...(at === 0 ? bounds : {}),
        style: at === 0 ? 'solid' : 'dashed',
        dots: at === 0,
      }
    })
    const { step, exact, count } = run.metrics.train
    const label = labelled(runs, entry, 'training')
    return [...scored, { run: number, label, x: step, y: smoothed(exact, count), style: 'dotted', joined: true }]
  })
}

function segmentLines(runs: Runs): Line[] {
  return runs.map((entry) => {
    const { step, steps, count } = entry.run.metrics.train
    const y = smoothed(steps, count)
    return { run: entry.number, label: labelled(runs, entry, ''), x: step, y, style: 'solid', joined: true }
  })
}

/** What is said of thinned curves. */
function thinningNote(runs: Runs): string {
  const thinned = runs.filter(({ run }) => run.metrics.train.per > 1)
  if (thinned.length === 0) return 'Every logged step is drawn.'
  const notes = thinned.map(({ run }) => {
    const { per, logged, step } = run.metrics.train
    return `${runs.length > 1 ? `${run.name}: ` : ''}${formatCount(logged)} logged steps are drawn as ${formatCount(step.length)} points, each the mean of ${per}; bands reach from the least to the greatest.`
  })
  return notes.join(' ')
}

function evaluationTable(runs: Runs): HTMLElement {
  const rows = runs.flatMap(({ run }) =>
    run.metrics.evals.map((point) => [
      formatCount(point.step),
      ...(runs.length > 1 ? [run.name] : []),
      point.set,
      weightNames[point.weights],
      formatCount(point.count),
      formatPercent(point.exact),
      point.interval ? formatInterval(point.interval) : '–',
      formatPercent(point.accuracy),
      formatPercent(point.qHaltAccuracy),
      formatNumber(point.steps),
      formatNumber(point.loss),
    ]),
  )
  const names = ['set', 'weights', 'n', 'exact', '95 % interval', 'tokens', 'q_halt right', 'segments', 'loss']
  const head = ['step', ...(runs.length > 1 ? ['run'] : []), ...names]
  const total = runs.reduce((sum, { run }) => sum + run.metrics.evaluated, 0)
  const shown = new Set(runs.flatMap(({ run, number }) => run.metrics.evals.map(({ step }) => `${number} ${step}`)))
    .size
  const caption =
    shown < total
      ? `${formatCount(shown)} of ${plural(total, 'evaluation')}, evenly spread`
      : plural(total, 'evaluation')
  return el(
    'details',
    {},
    el('summary', {}, 'Evaluations as a table'),
    scrolling('Evaluations', table(caption, [head, ...rows])),
  )
}

/** The section of the learning curves. */
export class Curves {
  readonly element: HTMLElement
  readonly #charts: { chart: Chart; lines: (runs: Runs) => Line[] }[]
  readonly #note = el('p', { class: 'note' })
  readonly #table = el('div')

  constructor(runs: readonly ReportRun[]) {
    const papers = new Set(runs.flatMap(({ paper, validation }) => (paper && !validation ? [paper.task] : [])))
    const paper = papers.size === 1 ? runs.find((run) => run.paper)!.paper : null
    const scored = runs.some(({ validation }) => validation) ? 'groups held out of training' : 'the test split'
    const averaged = runs.some((run) => run.metrics.evals.some(({ weights }) => weights === 'ema'))
    const weights = averaged ? 'averaged weights solid, trained weights dashed' : 'solid'
    const band = paper
      ? ` Hatched: the paper's ${formatPercent(paper.exact)} on ${paper.task} ± ${100 * paperSpread} points${paper.measure ? `, which counts ${paper.measure}: another measure than these curves` : ''}.`
      : ''
    this.#charts = [
      {
        chart: new Chart({
          title: 'Exact accuracy',
          legend: `Examples with every token right. Evaluations on ${scored}: ${weights}, with 95 % intervals; training rows dotted, mean over 2 % of the run.${band}`,
          format: formatPercent,
          axisFormat: (share) => `${Number((100 * share).toFixed(1))} %`,
          fromZero: true,
          most: 1,
          paper,
        }),
        lines: exactLines,
      },
      {
        chart: new Chart({
          title: 'Loss',
          legend: 'Mean over the rows of a training batch.',
          format: formatNumber,
          fromZero: true,
          logarithmic: true,
        }),
        lines: trainLine('loss'),
      },
      {
        chart: new Chart({
          title: 'Segments',
          legend: 'Segments until a training row halts, mean over 2 % of the run.',
          format: formatNumber,
          fromZero: true,
        }),
        lines: segmentLines,
      },
      {
        chart: new Chart({
          title: 'Gradient norm',
          legend: 'L2 norm of all dense gradients.',
          format: formatNumber,
          fromZero: true,
          logarithmic: true,
        }),
        lines: trainLine('gradNorm'),
      },
      {
        chart: new Chart({
          title: 'Learning rate',
          legend: 'As the schedule has it.',
          format: formatNumber,
          fromZero: true,
        }),
        lines: trainLine('lr'),
      },
    ]
    this.element = el(
      'section',
      { id: 'curves', 'aria-labelledby': 'curves-title' },
      el('h2', { id: 'curves-title' }, 'Learning curves'),
      el(
        'p',
        { class: 'hint' },
        'Arrow keys or the pointer read values; dragging zooms all charts, a double click shows everything again.',
      ),
      el('div', { class: 'charts' }, ...this.#charts.map(({ chart }) => chart.element)),
      this.#note,
      this.#table,
    )
  }

  /** Draws the runs that are chosen. */
  draw(runs: Runs): void {
    for (const { chart, lines } of this.#charts) chart.draw(lines(runs))
    this.#note.textContent = thinningNote(runs)
    const open = this.#table.querySelector('details')?.open ?? false
    const details = evaluationTable(runs)
    if (open) details.setAttribute('open', '')
    this.#table.replaceChildren(details)
  }

  redraw(): void {
    for (const { chart } of this.#charts) chart.redraw()
  }
}
