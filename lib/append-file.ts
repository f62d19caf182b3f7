import { constants, type FileHandle, open } from 'node:fs/promises'

/**
 * A file that grows by records, written in the background; the first one makes it. Records that could not be written whole are written again in
 * their place.
 */
export class AppendFile {
  readonly path: string
  #handle: FileHandle | undefined
  /** Bytes of whole records in the file. */
  #end = 0
  /** Not in the file yet. */
  #records: Uint8Array[] = []
  #writing: Promise<void> = Promise.resolve()
  /** Whether further records need no write of their own: one in progress takes them along, or after a failure flush() does. */
  #waiting = false

  constructor(path: string) {
    this.path = path
  }

  add(record: Uint8Array): void {
    this.#records.push(record)
    if (this.#waiting) return
    this.#writing = this.#write()
    // flush() reports a failure; until then it must not count as unhandled.
    this.#writing.catch(() => {})
  }

  async #write(): Promise<void> {
    this.#waiting = true
    if (this.#handle === undefined && this.#records.length > 0) {
      this.#handle = await open(this.path, constants.O_WRONLY | constants.O_CREAT)
      this.#end = (await this.#handle.stat()).size
    }
    while (this.#records.length > 0) {
      const count = this.#records.length
      const bytes = Buffer.concat(this.#records)
      for (let done = 0; done < bytes.length;) {
        done += (await this.#handle!.write(bytes, done, bytes.length - done, this.#end + done)).bytesWritten
      }
      this.#end += bytes.length
      this.#records.splice(0, count)
    }
    this.#waiting = false
  }

  /** Writes what is not written yet, and forces all to the disk. @throws the error of the file system; a later call tries again */
  async flush(): Promise<void> {
    await this.#writing.catch(() => {})
    this.#writing = this.#write()
    await this.#writing
    await this.#handle?.sync()
  }

  /** Closes the file once its records are written or have failed. */
  async close(): Promise<void> {
    await this.flush().catch(() => {})
    await this.#handle?.close().catch(() => {})
  }
}
