import uPlot from 'uplot'
import type { PaperFigure } from '../data.js'
import { el, formatCount } from './dom.js'

/** One line of a chart. */
export interface Line {
  /** Number of its run, which gives its colour. */
  run: number
  /** What it shows, for the readout. */
  label: string
  x: number[]
  y: (number | null)[]
  /** Bounds drawn as a band. */
  low?: (number | null)[]
  high?: (number | null)[]
  style: 'solid' | 'dashed' | 'dotted'
  /** Drawn with a dot at each value. */
  dots?: boolean
  /** Joined where values are missing. */
  joined?: boolean
}

export interface ChartOptions {
  title: string
  /** What the lines are, in words. */
  legend: string
  format: (value: number | null) => string
  /** For the axis, where there is less room. @default format */
  axisFormat?: (value: number) => string
  /** Whether the vertical axis begins at 0. */
  fromZero?: boolean
  /** Greatest value there can be. */
  most?: number
  /** Whether the reader may choose a logarithmic axis. */
  logarithmic?: boolean
  paper?: PaperFigure | null
}

/** Half the width of the paper's band: what the official README calls the spread of small-sample runs. */
export const paperSpread = 0.02

const dashes = { solid: [], dashed: [6, 4], dotted: [2, 3] }
const HEIGHT = 220

/** A colour of the page's style, as it is now. */
const colour = (name: string) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim()
const runColour = (run: number) => colour(`run-${run % 6}`)

function bandOf(name: string): string {
  return `color-mix(in srgb, ${name} 18%, transparent)`
}

/** A chart over the steps of training, with a readout of the values under the pointer or chosen by the arrow keys. */
export class Chart {
  readonly element: HTMLElement
  readonly #options: ChartOptions
  readonly #holder = el('div', { class: 'plot' })
  readonly #readout = el('output', { class: 'readout', 'aria-live': 'polite' })
  #plot: uPlot | undefined
  #lines: Line[] = []
  #shape = ''
  #logarithmic = false

  constructor(options: ChartOptions) {
    this.#options = options
    const { title, legend, logarithmic = false } = options
    this.#holder.tabIndex = 0
    this.#holder.setAttribute('role', 'img')
    this.#holder.addEventListener('keydown', (event) => this.#move(event))
    const choice = el('label', { class: 'choice' }, el('input', { type: 'checkbox', change: (e) => this.#scale(e) }))
    choice.append(' logarithmic')
    this.element = el(
      'figure',
      { class: 'chart' },
      el('figcaption', {}, el('h3', {}, title), logarithmic && choice),
      this.#holder,
      this.#readout,
      el('p', { class: 'legend' }, legend),
    )
    new ResizeObserver(() => this.#fit()).observe(this.#holder)
  }

  #scale(event: Event): void {
    this.#logarithmic = (event.target as HTMLInputElement).checked
    this.#shape = ''
    this.draw(this.#lines)
  }

  #fit(): void {
    const width = this.#holder.clientWidth
    if (this.#plot && width > 0 && width !== this.#plot.width) this.#plot.setSize({ width, height: HEIGHT })
  }

  /** Shows these lines, in the same zoom where they are of the same kinds as before. */
  draw(lines: Line[]): void {
    this.#lines = lines
    const tables = lines.map(({ x, y, low, high }) => [x, y, ...(low && high ? [low, high] : [])])
    const data = uPlot.join(tables as uPlot.AlignedData[])
    const shape = JSON.stringify(lines.map(({ run, label, low }) => [run, label, low !== undefined]))
    const zoomed = this.#plot && this.#shape === shape && this.#isZoomed(this.#plot)
    if (this.#plot && this.#shape === shape) this.#plot.setData(data, !zoomed)
    else {
      this.#plot?.destroy()
      this.#plot = new uPlot(this.#uplotOptions(lines), data, this.#holder)
      this.#shape = shape
    }
    this.#holder.setAttribute('aria-label', this.#describe())
    this.#read(null)
  }

  /** After the colours of the page have changed. */
  redraw(): void {
    this.#shape = ''
    this.draw(this.#lines)
  }

  #isZoomed(plot: uPlot): boolean {
    const [x] = plot.data
    const { min, max } = plot.scales['x']!
    return x.length > 1 && (min! > x[0]! || max! < x.at(-1)!)
  }

  #describe(): string {
    const { title, format } = this.#options
    const parts = this.#lines.map(({ label, x, y }) => {
      const known = y.flatMap((value, at) => (value === null ? [] : [{ value, step: x[at]! }]))
      if (known.length === 0) return `${label}: no values`
      const values = known.map(({ value }) => value)
      const last = known.at(-1)!
      const [low, high] = [Math.min(...values), Math.max(...values)].map(format)
      return `${label}: ${format(last.value)} at step ${formatCount(last.step)}, from ${low} to ${high}`
    })
    return `${title}. ${parts.join('. ')}`
  }

  #uplotOptions(lines: Line[]): uPlot.Options {
    const { format, axisFormat = format, fromZero = false, most = Infinity, paper } = this.#options
    const series: uPlot.Series[] = [{}]
    const bands: uPlot.Band[] = []
    for (const { run, style, low, dots = false, joined = false } of lines) {
      const stroke = runColour(run)
      const faint = style === 'dotted'
      series.push({
        stroke: faint ? bandOf(stroke).replace('18%', '75%') : stroke,
        width: style === 'solid' ? 2 : 1.25,
        dash: dashes[style],
        points: { show: dots, size: 5, fill: stroke },
        spanGaps: joined,
      })
      if (low === undefined) continue
      const at = series.length
      bands.push({ series: [at + 1, at], fill: bandOf(stroke) })
      const edge: uPlot.Series = { stroke: bandOf(stroke), width: 0, points: { show: false } }
      series.push(edge, edge)
    }
    const axis = { stroke: () => colour('soft'), grid: { stroke: () => colour('grid'), width: 1 } }
    const ticks = { stroke: () => colour('grid'), width: 1, size: 4 }
    const font = '12px system-ui, sans-serif'
    const positive = this.#logarithmic
    return {
      width: Math.max(120, this.#holder.clientWidth),
      height: HEIGHT,
      legend: { show: false },
      cursor: { sync: { key: 'steps', scales: ['x', null] }, points: { size: 6 }, y: false },
      scales: {
        x: { time: false },
        y: positive
          ? { distr: 3 }
          : {
              range: (_, low, high) =>
                rangeOf(low, Math.max(high, paper ? paper.exact + paperSpread : 0), fromZero, most),
            },
      },
      axes: [
        { ...axis, ticks, font, space: 60, size: 32, values: (_, steps) => steps.map((step) => shortCount(step)) },
        {
          ...axis,
          ticks,
          font,
          size: 58,
          // On a logarithmic axis uPlot leaves out labels that would touch.
          values: (_, values) => values.map((value) => (value === null ? '' : axisFormat(value))),
        },
      ],
      series,
      bands,
      hooks: {
        drawClear: [(plot) => this.#drawPaper(plot)],
        draw: [(plot) => this.#drawNumbers(plot)],
        setCursor: [(plot) => this.#read(plot.cursor.idx ?? null)],
      },
    }
  }

  /** The paper's figure as a hatched band. */
  #drawPaper(plot: uPlot): void {
    const { paper } = this.#options
    if (!paper) return
    const { ctx, bbox } = plot
    const at = (share: number) => plot.valToPos(share, 'y', true)
    const [top, bottom] = [at(Math.min(1, paper.exact + paperSpread)), at(Math.max(0, paper.exact - paperSpread))]
    ctx.save()
    ctx.beginPath()
    ctx.rect(bbox.left, top, bbox.width, bottom - top)
    ctx.clip()
    ctx.fillStyle = bandOf(colour('paper'))
    ctx.fillRect(bbox.left, top, bbox.width, bottom - top)
    ctx.strokeStyle = colour('paper')
    ctx.lineWidth = 1
    ctx.beginPath()
    const height = bottom - top
    for (let x = bbox.left - height; x < bbox.left + bbox.width; x += 8 * devicePixelRatio) {
      ctx.moveTo(x, bottom)
      ctx.lineTo(x + height, top)
    }
    ctx.stroke()
    ctx.restore()
    ctx.save()
    ctx.fillStyle = colour('paper')
    ctx.font = `${12 * devicePixelRatio}px system-ui, sans-serif`
    ctx.textAlign = 'right'
    ctx.textBaseline = 'bottom'
    ctx.fillText('paper', bbox.left + bbox.width - 4 * devicePixelRatio, top - 2 * devicePixelRatio)
    ctx.restore()
  }

  /** With several runs, the number of each near the end of its first line: colours are not the only signal. */
  #drawNumbers(plot: uPlot): void {
    const runs = new Set(this.#lines.map(({ run }) => run))
    if (runs.size < 2) return
    const { ctx } = plot
    for (const [order, run] of [...runs].entries()) {
      const { x, y } = this.#lines.find((line) => line.run === run)!
      // Each a little further left, as runs of one recipe end close to each other.
      const from = y.length - 1 - Math.round(0.06 * order * y.length)
      const last = y.findLastIndex((value, at) => value !== null && at <= from)
      if (last < 0) continue
      ctx.save()
      ctx.font = `bold ${11 * devicePixelRatio}px system-ui, sans-serif`
      ctx.fillStyle = runColour(run)
      ctx.textAlign = 'right'
      ctx.textBaseline = 'bottom'
      const [left, top] = [plot.valToPos(x[last]!, 'x', true), plot.valToPos(y[last]!, 'y', true)]
      ctx.fillText(String(run + 1), left, top - 4 * devicePixelRatio)
      ctx.restore()
    }
  }

  #move(event: KeyboardEvent): void {
    const plot = this.#plot
    const moves: Record<string, number> = { ArrowLeft: -1, ArrowRight: 1, PageUp: 20, PageDown: -20 }
    const move = moves[event.key]
    if (!plot || move === undefined || plot.data[0].length === 0) return
    event.preventDefault()
    const [steps] = plot.data
    const from = plot.cursor.idx ?? (move > 0 ? -1 : steps.length)
    const to = Math.min(steps.length - 1, Math.max(0, from + move))
    plot.setCursor({ left: plot.valToPos(steps[to]!, 'x'), top: HEIGHT / 2 })
  }

  /** Writes the values at a point, or the last ones. */
  #read(idx: number | null): void {
    const plot = this.#plot
    const step = idx === null ? undefined : plot?.data[0][idx]
    const { format } = this.#options
    const parts = this.#lines.flatMap(({ label, x, y, low, high }) => {
      const known = step === undefined ? y.findLastIndex((value) => value !== null) : nearestBefore(x, y, step)
      if (known < 0) return []
      const bounds = low && high && low[known] !== null && low[known] !== high[known]
      const range = bounds ? ` (${format(low[known]!)} … ${format(high[known]!)})` : ''
      return [`${label && `${label}: `}${format(y[known]!)}${range}`]
    })
    const where = step === undefined ? 'last: ' : `step ${formatCount(step)}: `
    this.#readout.textContent = parts.length > 0 ? where + parts.join(' · ') : 'no values yet'
  }
}

/** The last value at or before a step. */
function nearestBefore(x: number[], y: (number | null)[], step: number): number {
  return x.findLastIndex((at, index) => at <= step && y[index] !== null)
}

/** Ends of the vertical axis with some room around the values. */
function rangeOf(low: number | null, high: number | null, fromZero: boolean, most: number): [number, number] {
  if (low === null || high === null) return [0, Math.min(1, most)]
  const bottom = fromZero ? 0 : low
  const room = (high - bottom) * 0.08 || Math.abs(high) * 0.1 || Math.min(1, most)
  return [fromZero ? 0 : low - room, Math.min(most, high + room)]
}

/** 26,041 as `26k`: axes have little room. */
function shortCount(step: number): string {
  if (step >= 1e6) return `${Number((step / 1e6).toPrecision(3))}M`
  return step >= 1e4 ? `${Number((step / 1e3).toPrecision(3))}k` : formatCount(step)
}
