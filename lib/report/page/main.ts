import 'uplot/dist/uPlot.min.css'
import { pictureStyle } from '../../render/svg.js'
import type { ReportData, ReportRun, RunMetrics } from '../data.js'
import { Curves } from './curves.js'
import { el } from './dom.js'
import { facts, figures } from './facts.js'
import { Puzzles } from './puzzles.js'

/** What the server of `hrm report --watch` sends. */
type Update = { run: number; metrics?: RunMetrics; puzzles?: ReportRun['puzzles'] }

const { runs, version, live } = JSON.parse(document.getElementById('report-data')!.textContent!) as ReportData
document.head.append(el('style', {}, pictureStyle))
document.title = `${runs.map(({ name }) => name).join(', ')} – HRM report`

const curves = new Curves(runs)
const puzzles = new Puzzles(runs)
const chosen = new Set(runs.keys())
const heads = runs.map(() => el('div'))
const state = el('p', { class: 'live', role: 'status' })

function drawCurves(): void {
  curves.draw(runs.flatMap((run, number) => (chosen.has(number) ? [{ run, number }] : [])))
}

/** The name of a run, with several a switch for its curves. */
function heading(run: ReportRun, number: number): HTMLElement {
  if (runs.length === 1) return el('h1', {}, run.name)
  const toggle = el('input', {
    type: 'checkbox',
    checked: true,
    change: () => {
      if (toggle.checked) chosen.add(number)
      else chosen.delete(number)
      drawCurves()
    },
  })
  const swatch = el('span', { class: `swatch run-${number % 6}` }, String(number + 1))
  return el('h2', { class: 'run' }, el('label', {}, toggle, swatch, ` ${run.name}`))
}

function drawHeads(): void {
  heads.forEach((head, number) => head.replaceChildren(figures(runs[number]!)))
}

document
  .getElementById('report')!
  .append(
    el(
      'header',
      {},
      el('p', { class: 'kind' }, 'Hierarchical Reasoning Model · training report'),
      runs.length > 1 && el('h1', {}, `${runs.length} runs`),
      live && state,
      ...runs.map((run, number) => el('div', { class: 'run-head' }, heading(run, number), heads[number]!)),
      el(
        'nav',
        { 'aria-label': 'Sections' },
        el('a', { href: '#curves' }, 'Curves'),
        el('a', { href: '#puzzles' }, 'Puzzles'),
        el('a', { href: '#facts' }, 'Configuration'),
      ),
    ),
    curves.element,
    puzzles.element,
  )
const footer = el(
  'footer',
  {},
  `Written by hrm report, hrm-native ${version}. This page is one file and loads nothing.`,
)
let factsNow = facts(runs)
document.getElementById('report')!.append(factsNow, footer)

drawHeads()
drawCurves()
puzzles.draw()
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => curves.redraw())

if (live) {
  state.textContent = '● following the run'
  const events = new EventSource('events')
  events.addEventListener('message', ({ data }) => {
    const { run, ...update } = JSON.parse(data as string) as Update
    Object.assign(runs[run]!, update)
    if (update.metrics) {
      drawHeads()
      drawCurves()
      const next = facts(runs)
      factsNow.replaceWith(next)
      factsNow = next
    }
    if (update.puzzles) puzzles.draw()
  })
  events.addEventListener('open', () => (state.textContent = '● following the run'))
  events.addEventListener('error', () => (state.textContent = '○ not connected: has hrm report --watch ended?'))
}
