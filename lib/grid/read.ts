import { csvError, type CsvForm, readCsv } from '../csv.js'
import type { Split } from '../dataset-files.js'
import type { HRMError } from '../errors.js'
import { JsonReader, type StrictJson } from '../strict-json.js'
import { lineError, readTextBlocks } from '../text-blocks.js'
import { type Grid, gridFromJson } from './grid.js'

/** An input with its output. */
export interface GridPair {
  /** Line of the file, from 1; in CSV that on which the row ends. */
  line: number
  input: Grid
  output: Grid
  /** undefined where the file does not say. */
  split: Split | undefined
}

/** Longest line of JSON, longest row of CSV. */
const MAX_LINE_BYTES = 2 ** 20

const form: CsvForm = {
  header: 'input,output',
  required: ['input', 'output'],
  optional: ['split'],
  maxRowBytes: MAX_LINE_BYTES,
}

const fieldNames: ReadonlySet<string> = new Set(['input', 'output', 'split'])

const splits = new Map<StrictJson | undefined, Split | undefined>([
  [undefined, undefined],
  ['', undefined],
  ['train', 'train'],
  ['test', 'test'],
  ['val', 'test'],
  ['validation', 'test'],
])

type Fail = (expected: string, got: string) => HRMError

function readGrid(name: string, json: StrictJson | undefined, fail: Fail): Grid {
  const result = gridFromJson(json)
  if ('rows' in result) return result
  throw fail(`${result.expected} as ${name}`, result.got)
}

function readPair(line: number, get: (name: string) => StrictJson | undefined, fail: Fail): GridPair {
  const input = readGrid('input', get('input'), fail)
  const output = readGrid('output', get('output'), fail)
  if (input.form !== output.form) throw fail(`a ${input.form} as output, as input is one`, `a ${output.form}`)
  const split = get('split')
  if (!splits.has(split)) throw fail('train, test, val or validation as split', JSON.stringify(split) ?? 'a list')
  return { line, input, output, split: splits.get(split) }
}

/** The first value of a text and nothing else, as `read` takes it. */
function parseJson<T>(text: string, fail: Fail, read: (reader: JsonReader) => T): T {
  try {
    const reader = new JsonReader(text)
    const value = read(reader)
    reader.end()
    return value
  } catch (error) {
    throw fail('JSON', (error as Error).message)
  }
}

/** The fields of a line of JSON that are used; others are passed over. */
function readFields(text: string, fail: Fail): ReadonlyMap<string, StrictJson> {
  const fields = new Map<string, StrictJson>()
  const isObject = parseJson(text, fail, (reader) => {
    if (reader.peek() !== '{') {
      reader.skip()
      return false
    }
    reader.object((key) => {
      if (fieldNames.has(key)) fields.set(key, reader.value())
      else reader.skip()
    })
    return true
  })
  if (isObject) return fields
  throw fail('an object {"input": …, "output": …}', text.trim().startsWith('[') ? 'a list' : text.trim())
}

async function* readJsonLines(path: string, onBytes?: (bytes: number) => void): AsyncGenerator<GridPair> {
  const options = { op: 'grid', content: 'a JSON object', maxLineBytes: MAX_LINE_BYTES }
  for await (const block of readTextBlocks(path, options)) {
    let { line } = block
    for (const text of block.text.split('\n')) {
      const number = line++
      if (text.trim() === '') continue
      const fail: Fail = (expected, got) => lineError('grid', path, number, expected, got)
      const fields = readFields(text, fail)
      yield readPair(number, (name) => fields.get(name), fail)
    }
    onBytes?.(block.bytesRead)
  }
}

async function* readCsvPairs(path: string, onBytes?: (bytes: number) => void): AsyncGenerator<GridPair> {
  for await (const { line, fields } of readCsv(path, form, onBytes)) {
    const fail: Fail = (expected, got) => csvError(path, line, expected, got)
    // Only lists are JSON here; anything else is a text, also what looks like a number.
    const cell = (text: string | undefined) =>
      text?.startsWith('[') ? parseJson(text, fail, (reader) => reader.value()) : text
    const [input, output, split] = fields
    const values: Record<string, StrictJson | undefined> = { input: cell(input), output: cell(output), split }
    yield readPair(line, (name) => values[name], fail)
  }
}

/**
 * The pairs of a file, as a stream: of a `.csv` with the columns `input` and `output`, of any other file from lines of
 * JSON `{"input": …, "output": …}`. Further keys and columns are ignored, but for `split`.
 *
 * @param onBytes - called with the bytes read so far when there are more
 * @param format - @default by the name of the file
 * @throws HRMError ERR_HRM_DATASET naming file and line; ERR_HRM_IO
 */
export function readGridPairs(
  path: string,
  onBytes?: (bytes: number) => void,
  format: 'csv' | 'jsonl' = path.toLowerCase().endsWith('.csv') ? 'csv' : 'jsonl',
): AsyncGenerator<GridPair> {
  return format === 'csv' ? readCsvPairs(path, onBytes) : readJsonLines(path, onBytes)
}
