import type { ReportRun } from '../data.js'
import { el, formatCount, formatInterval, formatNumber, formatPercent, plural, scrolling, table } from './dom.js'

/** `arch.H_cycles` and its value for every leaf of a configuration. */
function leaves(node: Record<string, unknown>, prefix = ''): [string, string][] {
  return Object.entries(node).flatMap(([key, value]): [string, string][] =>
    typeof value === 'object' && value !== null && !Array.isArray(value)
      ? leaves(value as Record<string, unknown>, `${prefix}${key}.`)
      : [[prefix + key, typeof value === 'string' ? value : JSON.stringify(value)]],
  )
}

/** Keys in their order, with the value of each run; keys whose values differ come first and are marked. */
function comparison(runs: readonly ReportRun[], values: readonly (readonly [string, string])[][]): (string | Node)[][] {
  const maps = values.map((pairs) => new Map(pairs))
  const keys = [...new Set(values.flat().map(([key]) => key))]
  const rows = keys.map((key) => ({ key, cells: maps.map((map) => map.get(key) ?? '–') }))
  const differs = ({ cells }: (typeof rows)[number]) => new Set(cells).size > 1
  return [
    ['', ...runs.map(({ name }) => name)],
    ...[...rows.filter(differs), ...rows.filter((row) => !differs(row))].map((row) => [
      differs(row) ? el('strong', {}, `≠ ${row.key}`) : row.key,
      ...row.cells,
    ]),
  ]
}

/** What a run was computed with: of each start that changed it. */
function environments({ metrics }: ReportRun): [string, string][] {
  const { starts, itPerSecond } = metrics
  const known = starts.flatMap(({ step, environment }) => (environment ? [{ step, environment }] : []))
  const last = known.at(-1)?.environment
  const resumed = starts.slice(1).map(({ step }) => formatCount(step))
  const others = known.filter(({ environment }) => JSON.stringify(environment) !== JSON.stringify(last))
  return [
    ...(last
      ? ([
          ['hrm-native', last.version],
          ['device', last.device],
          ['processor', last.cpu],
          ['system', last.platform],
          ['Node', last.node],
        ] as [string, string][])
      : ([['recorded', 'no: the run was begun by a version before 0.2']] as [string, string][])),
    ['steps a second', formatNumber(itPerSecond)],
    ['resumed at step', resumed.length > 0 ? resumed.join(', ') : 'never'],
    ...others.map(({ step, environment }): [string, string] => [
      `from step ${formatCount(step)}`,
      Object.values(environment).join(', '),
    ]),
  ]
}

/** Configuration and environment of all runs. */
export function facts(runs: readonly ReportRun[]): HTMLElement {
  const configs = runs.map(({ config }) => (config ? leaves(config) : []))
  return el(
    'section',
    { id: 'facts', 'aria-labelledby': 'facts-title' },
    el('h2', { id: 'facts-title' }, 'Configuration and environment'),
    el(
      'div',
      { class: 'facts' },
      scrolling('Environment', table('Environment', comparison(runs, runs.map(environments)))),
      configs.some((config) => config.length > 0)
        ? scrolling('Configuration', table('Configuration', comparison(runs, configs)))
        : el('p', { class: 'note' }, 'The run folder holds no configuration.'),
    ),
  )
}

function status({ metrics, config }: ReportRun): string {
  const { step, lastStep, end } = metrics
  const planned = lastStep ?? (config?.['max_steps'] as number | undefined) ?? 0
  const of = planned > 0 ? ` of ${formatCount(planned)}` : ''
  const how = end === null ? 'no end logged: it runs, or was killed' : end.replace('_', ' ')
  return `step ${formatCount(step)}${of}, ${how}`
}

/** The figures of a run that come first. */
export function figures(run: ReportRun): HTMLElement {
  const { metrics, parameters } = run
  const { best } = metrics
  const figure = (value: string, label: string, note: string) =>
    el('div', { class: 'figure' }, el('dt', {}, label), el('dd', {}, el('b', {}, value), el('span', {}, note)))
  const where = run.validation ? 'groups held out of training' : 'test examples'
  const weights = best?.weights === 'ema' ? ', averaged weights' : ''
  const interval = best?.interval
    ? `95 % interval ${formatInterval(best.interval)}, n = ${formatCount(best.count)} ${where}`
    : ''
  const dropped = metrics.nonFinite > 0 ? `${plural(metrics.nonFinite, 'update')} dropped, not finite. ` : ''
  const unsaved = metrics.saveErrors > 0 ? `${plural(metrics.saveErrors, 'save')} failed. ` : ''
  const unreadable =
    metrics.unreadable > 0 ? `${plural(metrics.unreadable, 'line')} of metrics.jsonl could not be read. ` : ''
  const loss = metrics.train.loss.findLast((value) => value !== null) ?? null
  const warnings = dropped + unsaved + unreadable
  return el(
    'div',
    {},
    el(
      'dl',
      { class: 'figures' },
      figure(
        formatPercent(best?.exact ?? null),
        'exact, best evaluation',
        best ? `step ${formatCount(best.step)}${weights}. ${interval}` : 'no evaluation yet',
      ),
      figure(formatNumber(loss), 'loss, last', status(run)),
      figure(
        parameters === null ? '–' : formatCount(parameters),
        'parameters',
        metrics.starts.at(-1)?.environment?.device ?? '',
      ),
      run.paper
        ? figure(
            formatPercent(run.paper.exact),
            `the paper, ${run.paper.task}`,
            run.paper.measure ? `${run.paper.measure}: another measure` : 'exact accuracy from 1,000 training examples',
          )
        : null,
    ),
    warnings && el('p', { class: 'warning' }, `⚠ ${warnings}`),
  )
}
