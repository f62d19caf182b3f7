import { constants, closeSync, fstatSync, openSync, readFileSync } from 'node:fs'
import { basename } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { HRMError } from '../errors.js'
import { ioError } from '../mapped-file.js'
import { JsonReader } from '../strict-json.js'
import { parseAugmentedName } from './augment.js'
import { arcColours, type ArcGrid, arcMaxSide, type ArcPair, type ArcTask } from './grid.js'

/** Longest text read, after decompression; the thousand tasks of ARC-AGI-2 take a tenth. */
const MAX_TEXT_BYTES = 2 ** 25

/** Pairs of one file at most, so that a small file of tiny grids cannot ask for much memory. */
const MAX_PAIRS = 100_000

/** Keys of one object at most: tasks of a collection. */
const MAX_KEYS = 100_000

const MAX_ID_LENGTH = 128

/** @param what - `expected …, got …` */
function arcError(path: string, what: string): HRMError {
  return new HRMError('ERR_HRM_DATASET', `[arc] ${what} in ${path}; do correct the file`, { path })
}

/** Bytes of a file, decompressed where they begin as gzip does. */
function readBytes(path: string): Uint8Array {
  let descriptor: number | undefined
  try {
    // Without O_NONBLOCK, opening a named pipe would wait for its writer.
    descriptor = openSync(path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0))
    const stat = fstatSync(descriptor)
    if (!stat.isFile()) throw arcError(path, 'expected a regular file, got something else')
    if (stat.size > MAX_TEXT_BYTES) throw arcError(path, `expected at most ${MAX_TEXT_BYTES} bytes, got ${stat.size}`)
    const bytes = readFileSync(descriptor)
    if (bytes[0] !== 0x1f || bytes[1] !== 0x8b) return bytes
    return gunzipSync(bytes, { maxOutputLength: MAX_TEXT_BYTES })
  } catch (error) {
    const { code } = error as { code?: unknown }
    if (code === 'ERR_BUFFER_TOO_LARGE')
      throw arcError(path, `expected at most ${MAX_TEXT_BYTES} bytes after decompression, got more`)
    if (typeof code === 'string' && code.startsWith('Z_'))
      throw arcError(path, `expected whole gzip data, got ${(error as Error).message}`)
    throw ioError('read', path, error)
  } finally {
    if (descriptor !== undefined) closeSync(descriptor)
  }
}

/** A piece of the file in an error: as JSON, at most 40 characters. */
function quoted(text: string): string {
  return JSON.stringify(text.length > 40 ? `${text.slice(0, 40)}…` : text)
}

/** Reads tasks from JSON; what is wrong is a SyntaxError that names task, list, pair and row. */
class TaskReader {
  readonly #json: JsonReader
  #pairs = 0

  constructor(text: string) {
    this.#json = new JsonReader(text, { maxKeys: MAX_KEYS })
  }

  tasks(): ArcTask[] {
    const tasks: ArcTask[] = []
    this.#json.object((id) => {
      if (!isTaskId(id)) this.#json.fail(`a task id of 1 to ${MAX_ID_LENGTH} characters before`)
      tasks.push(this.task(id, `task ${quoted(id)}: `))
    })
    if (tasks.length === 0) this.#json.fail('at least one task')
    return tasks
  }

  /** One task; `place` begins the places in its errors. */
  task(id: string, place = ''): ArcTask {
    const lists: { train?: ArcPair[]; test?: ArcPair[] } = {}
    if (this.#json.peek() !== '{') this.#json.fail(`${place}an object with train and test`)
    this.#json.object((key) => {
      if (key === 'train' || key === 'test') lists[key] = this.#list(key, `${place}${key}`)
      else this.#json.skip()
    })
    const { train, test } = lists
    if (train === undefined || test === undefined)
      this.#json.fail(`${place}the key ${train ? 'test' : 'train'} before the end of the task`)
    return { id, train, test }
  }

  #list(kind: 'train' | 'test', place: string): ArcPair[] {
    const pairs: ArcPair[] = []
    if (this.#json.peek() !== '[') this.#json.fail(`${place} to be an array of pairs`)
    this.#json.array((index) => {
      if (++this.#pairs > MAX_PAIRS) this.#json.fail(`at most ${MAX_PAIRS} pairs in a file`)
      pairs.push(this.#pair(kind, `${place}[${index}]`))
    })
    if (pairs.length === 0) this.#json.fail(`${place} to hold at least one pair`)
    return pairs
  }

  #pair(kind: 'train' | 'test', place: string): ArcPair {
    const grids: { input?: ArcGrid; output?: ArcGrid } = {}
    if (this.#json.peek() !== '{') this.#json.fail(`${place} to be an object with input and output`)
    this.#json.object((key) => {
      if (key === 'input' || key === 'output') grids[key] = this.grid(`${place}.${key}`)
      else this.#json.skip()
    })
    const { input, output } = grids
    if (input === undefined) this.#json.fail(`${place} to have an input`)
    if (output !== undefined) return { input, output }
    return kind === 'test' ? { input } : this.#json.fail(`${place} to have an output, which only test pairs may lack`)
  }

  grid(place: string): ArcGrid {
    const json = this.#json
    const cells: number[] = []
    let height = 0
    let width = 0
    if (json.peek() !== '[') json.fail(`${place} to be an array of rows`)
    json.array((row) => {
      if (row === arcMaxSide) json.fail(`${place} to have 1 to ${arcMaxSide} rows`)
      if (json.peek() !== '[') json.fail(`${place}[${row}] to be an array of colours`)
      let length = 0
      json.array((column) => {
        if (column === arcMaxSide) json.fail(`${place}[${row}] to have 1 to ${arcMaxSide} cells`)
        cells.push(this.#colour(() => `${place}[${row}][${column}]`))
        length++
      })
      if (length === 0) json.fail(`${place}[${row}] to have 1 to ${arcMaxSide} cells before`)
      if (row > 0 && length !== width)
        json.fail(`${place}[${row}] to have ${width} cells as the rows above, not ${length},`)
      width = length
      height++
    })
    if (height === 0) json.fail(`${place} to have 1 to ${arcMaxSide} rows before`)
    return { height, width, cells: Uint8Array.from(cells) }
  }

  #colour(place: () => string): number {
    const json = this.#json
    const isNumber = /[-0-9]/.test(json.peek())
    const start = json.position
    const colour = isNumber ? json.number() : NaN
    if (Number.isInteger(colour) && colour >= 0 && colour < arcColours) return colour
    return json.fail(`${place()} to be a colour from 0 to ${arcColours - 1}`, start)
  }

  end(): void {
    this.#json.end()
  }
}

/** Names of augmentations end in a way that no task may, or scores would be mixed up. */
function isTaskId(id: string): boolean {
  return id !== '' && id.length <= MAX_ID_LENGTH && parseAugmentedName(id).augmentation === undefined
}

/** Whether the text is one task: it has lists of pairs where a collection has tasks. */
function isTask(text: string): boolean {
  let found = false
  const json = new JsonReader(text, { maxKeys: MAX_KEYS })
  json.object((key) => {
    if ((key === 'train' || key === 'test') && json.peek() === '[') found = true
    json.skip()
  })
  return found
}

/** One grid as in tasks, `[[0, 1], [2, 3]]`. @throws SyntaxError naming place and character */
export function parseArcGrid(text: string): ArcGrid {
  const reader = new TaskReader(text)
  const grid = reader.grid('grid')
  reader.end()
  return grid
}

/** Name of a task that is alone in its file: that of the file without its extensions. */
function idOfFile(path: string): string {
  return basename(path).replace(/(\.json)?(\.gz)?$/i, '')
}

/**
 * The tasks of a file: one task `{"train": [{"input": [[0, …], …], "output": …}, …], "test": […]}`, named as the file
 * is, or a collection `{"<id>": <task>, …}`; UTF-8 JSON, with or without byte order mark, as it is or gzip. Test pairs
 * may lack the output; other keys are passed over.
 *
 * @throws HRMError ERR_HRM_DATASET naming file and place; ERR_HRM_IO
 */
export function readArcFile(path: string): ArcTask[] {
  const bytes = readBytes(path)
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(bytes)
    const reader = new TaskReader(text)
    if (!isTask(text)) {
      const tasks = reader.tasks()
      reader.end()
      return tasks
    }
    const id = idOfFile(path)
    if (!isTaskId(id)) throw arcError(path, `expected a file name that can be a task id, got ${quoted(id)}`)
    const task = reader.task(id)
    reader.end()
    return [task]
  } catch (error) {
    if (error instanceof SyntaxError) throw arcError(path, error.message)
    if ((error as { code?: unknown }).code === 'ERR_ENCODING_INVALID_ENCODED_DATA')
      throw arcError(path, 'expected UTF-8, got other bytes')
    throw error
  }
}
