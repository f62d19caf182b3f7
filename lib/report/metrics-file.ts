import { type FileHandle, open } from 'node:fs/promises'
import { fileError } from '../durable-folder.js'
import { RunStory } from './curves.js'
import type { RunMetrics } from './data.js'

/** Bytes read at once. */
const CHUNK_BYTES = 2 ** 20

/** Longest line that can be an event; longer ones would fill the memory. */
const MAX_LINE_CHARACTERS = 2 ** 24

/** Reads metrics.jsonl from where it stopped the last time, and from the start where a resumed run has cut the file. */
export class MetricsFile {
  readonly #path: string
  #story = new RunStory()
  #inode = 0
  #position = 0
  #decoder = new TextDecoder()
  /** The line that is being written. */
  #rest = ''

  constructor(path: string) {
    this.#path = path
  }

  /**
   * Reads what is new.
   *
   * @returns whether anything was
   * @throws ERR_HRM_IO; a file that does not exist is one without lines
   */
  async read(signal?: AbortSignal): Promise<boolean> {
    let handle: FileHandle | undefined
    try {
      handle = await open(this.#path, 'r')
      const { size, ino } = await handle.stat()
      const cut = ino !== this.#inode || size < this.#position
      if (cut) this.#restart(ino)
      const before = this.#position
      const buffer = Buffer.alloc(CHUNK_BYTES)
      for (;;) {
        signal?.throwIfAborted()
        const { bytesRead } = await handle.read(buffer, 0, CHUNK_BYTES, this.#position)
        if (bytesRead === 0) return cut || this.#position > before
        this.#position += bytesRead
        this.#take(this.#decoder.decode(buffer.subarray(0, bytesRead), { stream: true }))
      }
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false
      throw fileError('report', this.#path, error)
    } finally {
      await handle?.close()
    }
  }

  #restart(inode: number): void {
    this.#story = new RunStory()
    this.#inode = inode
    this.#position = 0
    this.#decoder = new TextDecoder()
    this.#rest = ''
  }

  #take(text: string): void {
    const lines = (this.#rest + text).split('\n')
    this.#rest = lines.pop()!.slice(0, MAX_LINE_CHARACTERS)
    for (const line of lines) if (line.trim() !== '') this.#story.add(line)
  }

  metrics(): RunMetrics {
    return this.#story.metrics()
  }
}
