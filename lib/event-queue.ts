/**
 * An unbounded queue between one producer and one consumer, of which the items that `droppable` accepts are bounded:
 * beyond `capacity` of them the oldest is dropped. The producer never waits.
 */
export class EventQueue<T> implements AsyncIterableIterator<T> {
  readonly #capacity: number
  readonly #droppable: (item: T) => boolean
  readonly #onReturn: () => Promise<unknown>
  readonly #items: T[] = []
  readonly #waiting: { resolve: (result: IteratorResult<T>) => void; reject: (error: unknown) => void }[] = []
  #bounded = 0
  #end: { error?: unknown } | undefined

  /**
   * @param capacity - droppable items kept, >= 1
   * @param onReturn - called, and awaited, when the consumer leaves its loop early
   */
  constructor(capacity: number, droppable: (item: T) => boolean, onReturn: () => Promise<unknown>) {
    this.#capacity = capacity
    this.#droppable = droppable
    this.#onReturn = onReturn
  }

  push(item: T): void {
    if (this.#end) return
    const consumer = this.#waiting.shift()
    if (consumer) {
      consumer.resolve({ value: item, done: false })
      return
    }
    this.#items.push(item)
    if (!this.#droppable(item)) return
    if (this.#bounded < this.#capacity) this.#bounded++
    else this.#items.splice(this.#items.findIndex(this.#droppable), 1)
  }

  /** Ends the iteration after the items pushed so far, with an error if one is given. */
  close(failure: { error?: unknown } = {}): void {
    if (this.#end) return
    this.#end = failure
    for (const { resolve, reject } of this.#waiting.splice(0)) {
      if ('error' in failure) reject(failure.error)
      else resolve({ value: undefined, done: true })
      failure = {}
    }
    this.#end = failure
  }

  next(): Promise<IteratorResult<T>> {
    const item = this.#items.shift()
    if (item !== undefined) {
      if (this.#droppable(item)) this.#bounded--
      return Promise.resolve({ value: item, done: false })
    }
    if (this.#end) {
      const failure = this.#end
      this.#end = {}
      return 'error' in failure ? Promise.reject(failure.error) : Promise.resolve({ value: undefined, done: true })
    }
    return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }))
  }

  async return(): Promise<IteratorResult<T>> {
    await this.#onReturn()
    this.#items.length = 0
    this.#end = {}
    return { value: undefined, done: true }
  }

  [Symbol.asyncIterator](): this {
    return this
  }
}
