import { MultiBar, type SingleBar } from 'cli-progress'
import { formatDuration, note } from './output.js'

const LINE_INTERVAL_MS = 10_000
/** Time constant of the rate shown, in seconds. */
const RATE_MEMORY_S = 10

interface ProgressOptions {
  initial?: number
  unit?: string
}

/**
 * Progress on stderr: a bar on a terminal, else one line every ten seconds.
 * `update` may be called as often as there is news.
 */
export class Progress {
  readonly #label: string
  readonly #total: number
  readonly #unit: string
  readonly #bars: MultiBar | undefined
  readonly #bar: SingleBar | undefined
  #value: number
  #rate = 0
  #lastTime = performance.now()
  #lastLine = performance.now()
  #shown = ''
  #printed = ''

  /**
   * @param total value at the end
   * @param initial value at the start, more than 0 when resuming
   * @param unit what the rate counts, `it`
   */
  constructor(label: string, total: number, { initial = 0, unit = 'it' }: ProgressOptions = {}) {
    this.#label = label
    this.#total = total
    this.#unit = unit
    this.#value = initial
    if (process.stderr.isTTY && process.env['TERM'] !== 'dumb') {
      const format = `${label} {bar} {value}/{total}{news}`
      const options = { format, barsize: 24, hideCursor: true, clearOnComplete: false, stopOnComplete: false, fps: 8 }
      this.#bars = new MultiBar({ ...options, stream: process.stderr, barCompleteChar: '█', barIncompleteChar: '░' })
      this.#bar = this.#bars.create(total, initial, { news: '' })
    }
  }

  /** Values per second lately, 0 before the first update. */
  get rate(): number {
    return this.#rate
  }

  /** Moves on; `news` is put behind the count, as `loss 0.31`. */
  update(value: number, news: readonly string[] = []): void {
    const now = performance.now()
    const seconds = (now - this.#lastTime) / 1000
    if (value > this.#value && seconds > 0) {
      const rate = (value - this.#value) / seconds
      const keep = this.#rate === 0 ? 0 : Math.exp(-seconds / RATE_MEMORY_S)
      this.#rate = keep * this.#rate + (1 - keep) * rate
      this.#lastTime = now
      this.#value = value
    }
    const rate = this.#rate >= 1 || this.#rate === 0 ? this.#rate.toFixed(1) : this.#rate.toPrecision(2)
    const secondsLeft = (this.#total - value) / this.#rate
    const left = this.#rate > 0 && secondsLeft >= 0 ? [`ETA ${formatDuration(secondsLeft)}`] : []
    const all = [...news, `${rate} ${this.#unit}/s`, ...left]
    this.#shown = `${this.#label} ${value}/${this.#total} | ${all.join(' | ')}`
    if (this.#bar) this.#bar.update(value, { news: ` | ${all.join(' | ')}` })
    else if (now - this.#lastLine >= LINE_INTERVAL_MS) this.#line(now)
  }

  #line(now: number): void {
    this.#lastLine = now
    this.#printed = this.#shown
    note(this.#shown)
  }

  /** Writes lines above the bar. */
  note(...lines: string[]): void {
    if (this.#bars) this.#bars.log(`${lines.join('\n')}\n`)
    else note(...lines)
  }

  /** Ends the bar; without a terminal the last state is written. */
  stop(): void {
    if (this.#bars) this.#bars.stop()
    else if (this.#shown !== this.#printed) this.#line(performance.now())
  }
}
