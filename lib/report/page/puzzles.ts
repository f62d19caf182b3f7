import { pictures, type DrawPicture } from '../../render/picture.js'
import { svgOf } from '../../render/svg.js'
import { type ReportRun, segmentsOf, type SolvedPuzzle, type SolvedPuzzles } from '../data.js'
import { el, formatCount, formatInterval, formatPercent, picture, plural } from './dom.js'

/** Time that the film shows a segment, in milliseconds. */
const FRAME_MS = 700

const probability = (logit: number) => 1 / (1 + Math.exp(-logit))

/** How an answer ended, as a sign and in words. */
function verdict({ wrong, labelled, valid }: SolvedPuzzle): { sign: string; text: string; failed: boolean } {
  if (wrong === 0) return { sign: '✓', text: 'exact', failed: false }
  const cells = `${formatCount(wrong)} of ${formatCount(labelled)} tokens wrong`
  if (valid) return { sign: '≈', text: `obeys the rules, ${cells} by the label`, failed: true }
  return { sign: '✗', text: cells, failed: true }
}

/** The first segment after which the model would halt by itself, from 1. */
function haltsAt({ qHalt, qContinue }: SolvedPuzzle, haltOnly: boolean): number | null {
  const at = qHalt.findIndex((logit, segment) => logit > (haltOnly ? 0 : qContinue[segment]!))
  return at < 0 ? null : at + 1
}

/** The probabilities of the Q head by segment, as a drawing with a mark at the segment shown. */
function qChart(puzzle: SolvedPuzzle, haltOnly: boolean, segment: number): string {
  const [width, height, left, bottom, top] = [320, 130, 34, 22, 12]
  const count = puzzle.qHalt.length
  const x = (at: number) => left + (count < 2 ? 0.5 : (at - 1) / (count - 1)) * (width - left - 12)
  const y = (share: number) => top + (1 - share) * (height - top - bottom)
  const path = (logits: readonly number[]) =>
    logits.map((logit, at) => `${at ? 'L' : 'M'}${x(at + 1).toFixed(1)} ${y(probability(logit)).toFixed(1)}`).join('')
  const halts = haltsAt(puzzle, haltOnly)
  const shown = Math.max(1, segment)
  const every = Math.ceil(count / 8)
  const ticks = Array.from({ length: count }, (_, at) => at + 1).filter((at) => (at - 1) % every === 0)
  const label = puzzle.qHalt.map((logit, at) => `${at + 1}: ${probability(logit).toFixed(2)}`).join(', ')
  return (
    `<svg class="q-chart" viewBox="0 0 ${width} ${height}" role="img" aria-label="Probability of halting by segment: ${label}">` +
    [0, 0.5, 1]
      .map(
        (share) =>
          `<path class="q-grid" d="M${left} ${y(share)}H${width - 12}"/><text class="q-text" text-anchor="end" x="${left - 5}" y="${y(share) + 4}">${share}</text>`,
      )
      .join('') +
    ticks
      .map((at) => `<text class="q-text" text-anchor="middle" x="${x(at)}" y="${height - 6}">${at}</text>`)
      .join('') +
    (halts === null
      ? ''
      : `<path class="q-halts" d="M${x(halts)} ${top - 4}V${height - bottom}"/><text class="q-text" text-anchor="${x(halts) > width / 2 ? 'end' : 'start'}" x="${x(halts) + (x(halts) > width / 2 ? -4 : 4)}" y="${height - bottom - 6}">would halt</text>`) +
    (haltOnly ? '' : `<path class="q-continue" d="${path(puzzle.qContinue)}"/>`) +
    `<path class="q-halt" d="${path(puzzle.qHalt)}"/>` +
    puzzle.qHalt
      .map(
        (logit, at) =>
          `<circle class="q-dot" cx="${x(at + 1)}" cy="${y(probability(logit))}" r="${at + 1 === segment ? 5.5 : 2.5}"/>`,
      )
      .join('') +
    (segment === 0 ? '' : `<path class="q-now" d="M${x(shown)} ${top}V${height - bottom}"/>`) +
    '</svg>'
  )
}

/** A puzzle with its segments, the slider, the film and the Q head's values. */
class Viewer {
  readonly element = el('div', { class: 'viewer' })
  readonly #solved: SolvedPuzzles
  readonly #draw: DrawPicture
  #puzzle!: SolvedPuzzle
  #segments: number[][] = []
  #shown = 0
  #timer: ReturnType<typeof setInterval> | undefined
  readonly #slider = el('input', {
    type: 'range',
    min: 0,
    id: 'segment',
    input: () => this.#seek(Number(this.#slider.value)),
  })
  readonly #play = el('button', { type: 'button', class: 'play', click: () => this.#toggle() })
  readonly #output = el('output', { for: 'segment', class: 'now' })
  readonly #stage = el('div', { class: 'stage' })
  readonly #q = el('div', { class: 'q' })
  readonly #film = el('ol', { class: 'film', 'aria-label': 'Segments' })
  readonly #title = el('h3', { 'aria-live': 'polite' })

  constructor(solved: SolvedPuzzles) {
    this.#solved = solved
    this.#draw = pictures(solved.sizes, solved.vocabulary ?? undefined)
    const keys = solved.haltOnly ? '' : '; dashed: of going on'
    this.element.append(
      this.#title,
      this.#stage,
      el('div', { class: 'controls' }, this.#play, el('label', { for: 'segment' }, 'Segment'), this.#slider),
      this.#output,
      el(
        'div',
        { class: 'below' },
        el(
          'figure',
          {},
          this.#q,
          el('figcaption', {}, `Probability of halting by the Q head, after each segment${keys}.`),
        ),
        this.#legend(),
      ),
      this.#film,
    )
  }

  #legend(): HTMLElement {
    const sample = (cell: object, text: string) =>
      el(
        'li',
        {},
        picture(
          svgOf(
            { rows: 1, columns: 1, cells: [{ tone: 'plain', text: '5', ...cell }] },
            { title: '', cellSize: 20, styled: false },
          ),
        ),
        ` ${text}`,
      )
    const written =
      this.#solved.task === 'sudoku' ? [sample({ given: true }, 'given'), sample({}, 'written by the model')] : []
    return el(
      'ul',
      { class: 'marks', 'aria-label': 'Marks' },
      ...written,
      sample({ changed: true }, 'changed in this segment'),
      sample({ wrong: true }, 'differs from the right answer'),
    )
  }

  show(puzzle: SolvedPuzzle): void {
    this.#stop()
    this.#puzzle = puzzle
    this.#segments = segmentsOf(puzzle)
    const { sign, text } = verdict(puzzle)
    const rules = puzzle.valid === null || puzzle.wrong === 0 || puzzle.valid ? '' : ' · breaks the rules'
    this.#title.textContent = `${sign} Example ${formatCount(puzzle.example)}, set ${puzzle.set}: ${text}${rules}`
    this.#slider.max = String(this.#segments.length)
    this.#film.replaceChildren(
      ...this.#segments.map((_, at) =>
        el(
          'li',
          {},
          el(
            'button',
            { type: 'button', tabindex: -1, 'aria-label': `Segment ${at + 1}`, click: () => this.#seek(at + 1) },
            picture(this.#svg(at + 1, 8, ''), 'thumb'),
            el('span', {}, `${at + 1}`),
          ),
        ),
      ),
    )
    this.#seek(this.#segments.length)
  }

  /** The answer after a segment, 0 for the puzzle. */
  #svg(segment: number, cellSize: number, title: string): string {
    const { input, labels } = this.#puzzle
    if (segment === 0) return svgOf(this.#draw(input), { title, cellSize, styled: false })
    const previous = this.#segments[segment - 2] ?? input
    const answer = this.#draw(input, this.#segments[segment - 1]!, { previous, labels })
    return svgOf(answer, { title, cellSize, styled: false })
  }

  #seek(segment: number): void {
    this.#shown = segment
    const { input, labels, changes, qHalt } = this.#puzzle
    const count = this.#segments.length
    this.#slider.value = String(segment)
    const right = labels.map((label, at) => (label < 0 ? input[at]! : label))
    const wrongNow =
      segment === 0 ? 0 : labels.filter((label, at) => label >= 0 && label !== this.#segments[segment - 1]![at]).length
    const state =
      segment === 0
        ? 'the puzzle'
        : `segment ${segment} of ${count}: ${plural(changes[segment - 1]!.length / 2, 'token')} changed, ${formatCount(wrongNow)} wrong, halting ${formatPercent(probability(qHalt[segment - 1]!))}`
    this.#output.textContent = state
    this.#slider.setAttribute('aria-valuetext', state)
    const panel = (title: string, svg: string, className = '') =>
      el('figure', { class: className }, picture(svg), el('figcaption', {}, title))
    this.#stage.replaceChildren(
      panel('puzzle', svgOf(this.#draw(input), { title: 'The puzzle', styled: false }), 'side'),
      panel(segment === 0 ? 'puzzle' : `segment ${segment}`, this.#svg(segment, 24, state), 'main'),
      panel(
        'right answer',
        svgOf(this.#draw(input, right, { labels }), { title: 'The right answer', styled: false }),
        'side',
      ),
    )
    this.#q.innerHTML = qChart(this.#puzzle, this.#solved.haltOnly, segment)
    for (const [at, item] of [...this.#film.children].entries()) {
      const button = item.firstElementChild as HTMLElement
      if (at + 1 !== segment) button.removeAttribute('aria-current')
      else {
        button.setAttribute('aria-current', 'true')
        // Once it is laid out.
        requestAnimationFrame(() => {
          const { offsetLeft, offsetWidth } = item as HTMLElement
          this.#film.scrollLeft = offsetLeft - (this.#film.clientWidth - offsetWidth) / 2
        })
      }
    }
    if (this.#timer === undefined) this.#labelPlay()
  }

  #labelPlay(): void {
    this.#play.textContent = this.#timer === undefined ? '▶ Play' : '❚❚ Pause'
  }

  #toggle(): void {
    if (this.#timer !== undefined) {
      this.#stop()
      return
    }
    if (this.#shown === this.#segments.length) this.#seek(0)
    this.#timer = setInterval(() => {
      this.#seek(this.#shown + 1)
      if (this.#shown >= this.#segments.length) this.#stop()
    }, FRAME_MS)
    this.#labelPlay()
  }

  #stop(): void {
    clearInterval(this.#timer)
    this.#timer = undefined
    this.#labelPlay()
  }

  get draw(): DrawPicture {
    return this.#draw
  }
}

/** What was tried, in one sentence. */
function summary({ checkpoint, tried, exact, interval, total, shown }: SolvedPuzzles): string {
  const failures = shown.filter(({ wrong }) => wrong > 0).length
  const parts = [
    ...(failures > 0 ? [plural(failures, 'failure')] : []),
    ...(failures < shown.length ? [`${formatCount(shown.length - failures)} solved`] : []),
  ]
  const which =
    tried === total
      ? `all ${plural(total, 'test example')}`
      : `${formatCount(tried)} of ${plural(total, 'test example')}, evenly spread`
  return (
    `Checkpoint ${checkpoint} tried ${which}: ${formatCount(exact)} exact, ${formatPercent(exact / tried)} ` +
    `(95 % interval ${formatInterval(interval)}). Shown: ${parts.join(', then ')}.`
  )
}

function browser(solved: SolvedPuzzles): Node[] {
  const viewer = new Viewer(solved)
  const buttons = solved.shown.map((puzzle) => {
    const { sign, text, failed } = verdict(puzzle)
    const answer = segmentsOf(puzzle).at(-1) ?? puzzle.input
    const drawn = viewer.draw(puzzle.input, answer, { labels: puzzle.labels })
    return el(
      'button',
      { type: 'button', class: failed ? 'failed' : 'solved', click: () => choose(puzzle) },
      picture(svgOf(drawn, { title: '', cellSize: 8, styled: false }), 'thumb'),
      el('span', {}, `${sign} ${puzzle.set} ${formatCount(puzzle.example)}`, el('small', {}, text)),
    )
  })
  const choose = (puzzle: SolvedPuzzle) => {
    viewer.show(puzzle)
    for (const [at, button] of buttons.entries())
      button.setAttribute('aria-pressed', String(solved.shown[at] === puzzle))
  }
  choose(solved.shown[0]!)
  return [
    el('p', {}, summary(solved)),
    el(
      'div',
      { class: 'puzzles' },
      el(
        'ol',
        { class: 'puzzle-list', 'aria-label': 'Puzzles, failures first' },
        ...buttons.map((button) => el('li', {}, button)),
      ),
      viewer.element,
    ),
  ]
}

/** The section of the puzzles, of one run at a time. */
export class Puzzles {
  readonly element: HTMLElement
  readonly #content = el('div')
  readonly #runs: readonly ReportRun[]
  readonly #choice: HTMLSelectElement
  #shown: ReportRun['puzzles'] | undefined

  constructor(runs: readonly ReportRun[]) {
    this.#runs = runs
    const options = runs.map(({ name }, at) => el('option', { value: at }, name))
    this.#choice = el('select', { id: 'puzzles-of', change: () => this.draw() }, ...options)
    this.element = el(
      'section',
      { id: 'puzzles', 'aria-labelledby': 'puzzles-title' },
      el('h2', { id: 'puzzles-title' }, 'Puzzles, segment by segment'),
      runs.length > 1 && el('p', {}, el('label', { for: 'puzzles-of' }, 'Run '), this.#choice),
      this.#content,
    )
  }

  draw(): void {
    const { puzzles } = this.#runs[Number(this.#choice.value)]!
    if (puzzles === this.#shown) return
    this.#shown = puzzles
    const none =
      'reason' in puzzles ? `No puzzles: ${puzzles.reason}.` : puzzles.shown.length === 0 ? 'No puzzles.' : ''
    this.#content.replaceChildren(...(none ? [el('p', { class: 'note' }, none)] : browser(puzzles as SolvedPuzzles)))
  }
}
