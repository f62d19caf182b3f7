import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs'
import { setImmediate as turnOfEventLoop } from 'node:timers/promises'
import { HRMError } from './errors.js'

/** Longest ArrayBuffer that V8 makes; longer files are read by position. */
const MAX_MAPPED_BYTES = 2 ** 32 - 1

/** Longest single read: one system call transfers below 2^31 bytes. */
const MAX_READ_BYTES = 2 ** 30

/**
 * A mapping ends with its buffer's finaliser, which runs when the event loop turns. A loop over many files that never
 * waits for anything would use up the mappings that the system grants a process, 65,530 on Linux.
 */
const MAPPINGS_PER_TURN = 256
let mappings = 0

const sourceOfMappings = async (): Promise<((path: string) => ArrayBuffer) | undefined> => {
  try {
    const { native } = await import('./native.js')
    return (path) => native.mapFile(path)
  } catch (error) {
    if (error instanceof HRMError && error.code === 'ERR_HRM_NO_BINARY') return undefined
    throw error
  }
}

/**
 * A file for random access that is never read whole: mapped read-only where the addon is there and the file is below
 * 4 GiB, else read by position. The size is that at opening; shrinking a mapped file afterwards ends the process with
 * SIGBUS, so datasets are replaced by renaming, never written in place.
 */
export class MappedFile {
  readonly path: string
  /** Bytes, when opened. */
  readonly size: number
  #mapping: Uint8Array | undefined
  #descriptor: number | undefined
  #scratch = new Uint8Array(0)

  private constructor(path: string, size: number, mapping: Uint8Array | undefined, descriptor: number | undefined) {
    this.path = path
    this.size = size
    this.#mapping = mapping
    this.#descriptor = descriptor
  }

  /** @throws HRMError ERR_HRM_IO where the file is missing, is no regular file or cannot be read */
  static async open(path: string): Promise<MappedFile> {
    let descriptor: number | undefined
    try {
      // Without O_NONBLOCK, opening a named pipe would wait for its writer.
      descriptor = openSync(path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0))
      const stat = fstatSync(descriptor)
      if (!stat.isFile()) {
        throw new HRMError(
          'ERR_HRM_IO',
          `[open] expected a regular file, got something else at ${path}; do check the path`,
          { path },
        )
      }
      const mapFile = stat.size > 0 && stat.size <= MAX_MAPPED_BYTES ? await sourceOfMappings() : undefined
      if (mapFile === undefined) {
        const file = new MappedFile(path, stat.size, undefined, descriptor)
        descriptor = undefined
        return file
      }
      if (++mappings % MAPPINGS_PER_TURN === 0) await turnOfEventLoop()
      const mapping = new Uint8Array(mapFile(path))
      return new MappedFile(path, mapping.length, mapping, undefined)
    } catch (error) {
      throw ioError('open', path, error)
    } finally {
      if (descriptor !== undefined) closeSync(descriptor)
    }
  }

  /** Bytes `offset` to `offset + length` of the file, not to be written to and valid until the next call. */
  view(offset: number, length: number): Uint8Array {
    if (offset < 0 || offset + length > this.size) {
      throw this.#error(`bytes ${offset} to ${offset + length}`, `${this.size} bytes; do restore the file`)
    }
    if (this.#mapping !== undefined) return this.#mapping.subarray(offset, offset + length)
    if (this.#scratch.length < length) this.#scratch = new Uint8Array(length)
    const target = this.#scratch.subarray(0, length)
    this.#readAll(offset, target)
    return target
  }

  #readAll(offset: number, target: Uint8Array): void {
    if (this.#descriptor === undefined) throw this.#error('an open file', 'it closed; do read before closing')
    for (let done = 0; done < target.length;) {
      const wanted = Math.min(target.length - done, MAX_READ_BYTES)
      let got: number
      try {
        got = readSync(this.#descriptor, target, done, wanted, offset + done)
      } catch (error) {
        throw ioError('read', this.path, error)
      }
      if (got === 0) {
        throw this.#error(`${this.size} bytes`, `${offset + done}: it was truncated while open; do restore the file`)
      }
      done += got
    }
  }

  #error(expected: string, got: string): HRMError {
    return new HRMError('ERR_HRM_IO', `[read] expected ${expected} in ${this.path}, got ${got}`, { path: this.path })
  }

  /** Lets go of the file; further reads fail. Idempotent. */
  close(): void {
    this.#mapping = undefined
    if (this.#descriptor !== undefined) closeSync(this.#descriptor)
    this.#descriptor = undefined
  }
}

/** Gives an error of the file system the code ERR_HRM_IO; others pass unchanged. */
export function ioError(operation: string, path: string, error: unknown): unknown {
  const code = (error as NodeJS.ErrnoException).code
  if (error instanceof HRMError || typeof code !== 'string' || !(error instanceof Error)) return error
  return new HRMError(
    'ERR_HRM_IO',
    `[${operation}] expected to ${operation} ${path}, got ${code}; do check the path and its permissions`,
    { path, errno: code },
    { cause: error },
  )
}
