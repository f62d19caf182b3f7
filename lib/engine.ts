import { fromNative, HRMError } from './errors.js'
import type { NativeEngine, NativeSegmentOptions, NativeSegmentResult } from './native.js'

interface Waiter {
  exclusive: boolean
  grant: () => void
}

/**
 * First come, first served: any number of readers of the weights, or one that changes them. It makes every sequence
 * see one state of the weights while training goes on, and hides averaged weights that are only swapped in.
 */
export class WeightLock {
  readonly #waiting: Waiter[] = []
  #readers = 0
  #changing = false

  /** Whether somebody waits to change the weights: long-lived readers should let go soon. */
  get contended(): boolean {
    return this.#waiting.some((waiter) => waiter.exclusive)
  }

  /** Reads the weights; resolves to the function that lets go. */
  read(signal?: AbortSignal): Promise<() => void> {
    return this.#acquire(false, signal)
  }

  /** Changes the weights; resolves to the function that lets go. */
  change(signal?: AbortSignal): Promise<() => void> {
    return this.#acquire(true, signal)
  }

  #acquire(exclusive: boolean, signal: AbortSignal | undefined): Promise<() => void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) {
        reject(signal.reason)
        return
      }
      const abort = () => {
        this.#waiting.splice(this.#waiting.indexOf(waiter), 1)
        this.#advance()
        reject(signal?.reason)
      }
      const waiter: Waiter = {
        exclusive,
        grant: () => {
          signal?.removeEventListener('abort', abort)
          let held = true
          resolve(() => {
            if (!held) return
            held = false
            if (exclusive) this.#changing = false
            else this.#readers--
            this.#advance()
          })
        },
      }
      signal?.addEventListener('abort', abort, { once: true })
      this.#waiting.push(waiter)
      this.#advance()
    })
  }

  #advance(): void {
    for (let first = this.#waiting[0]; first && !this.#changing; first = this.#waiting[0]) {
      if (first.exclusive && this.#readers > 0) return
      this.#waiting.shift()
      if (first.exclusive) this.#changing = true
      else this.#readers++
      first.grant()
    }
  }
}

/** A session whose errors are those of this package. */
export interface Session {
  segment(options: NativeSegmentOptions): Promise<NativeSegmentResult>
  close(): void
}

/** The native engine with its lock, converted errors and the check for disposal. */
export class Engine {
  readonly weights = new WeightLock()
  readonly #native: NativeEngine
  #disposed = false

  constructor(native: NativeEngine) {
    this.#native = native
  }

  get disposed(): boolean {
    return this.#disposed
  }

  /** What computes, e.g. "cpu avx512, 2 threads". */
  get description(): string {
    return this.#native.description
  }

  /** @throws ERR_HRM_DISPOSED */
  assertLive(op: string): void {
    if (this.#disposed) throw new HRMError('ERR_HRM_DISPOSED', `[${op}] expected a live model, got a disposed one`)
  }

  /** Runs `work` on the engine; what it throws or rejects with becomes an error of this package. */
  async call<T>(op: string, work: (native: NativeEngine) => T | Promise<T>): Promise<T> {
    this.assertLive(op)
    try {
      return await work(this.#native)
    } catch (error) {
      throw fromNative(error)
    }
  }

  /** Opens a session for `capacity` rows. */
  async openSession(op: string, capacity: number): Promise<Session> {
    const session = await this.call(op, (native) => native.openSession(capacity))
    return {
      segment: (options) => this.call(op, () => session.segment(options)),
      close: () => session.close(),
    }
  }

  dispose(): void {
    if (this.#disposed) return
    this.#disposed = true
    this.#native.dispose()
  }
}
