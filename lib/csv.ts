import { Readable } from 'node:stream'
import { CsvError, parse } from 'csv-parse'
import { ioError } from './mapped-file.js'
import { lineError, readTextBlocks } from './text-blocks.js'

/** Which columns are read, and how errors describe the file. */
export interface CsvForm {
  /** The header as errors name it. */
  header: string
  /** Columns that the file must have, and those that it may have; others are ignored. */
  required: readonly string[]
  optional: readonly string[]
  /** Longest row accepted; a quote that is never closed would else take in the whole file. */
  maxRowBytes: number
}

export interface CsvRow {
  /** Line of the file on which the row ends, from 1. */
  line: number
  /** The fields of the required and then the optional columns; undefined where the file has no such column. */
  fields: readonly (string | undefined)[]
}

/** Lines up to this length reach the parser, which then names the row that is too long. */
const MAX_LINE_BYTES = 2 ** 20

/** An error of ERR_HRM_DATASET in a line of a CSV file. */
export function csvError(path: string, line: number, expected: string, got: string) {
  return lineError('csv', path, line, expected, got)
}

/** Places of the columns in the header. */
function findColumns(path: string, line: number, record: readonly string[], form: CsvForm): number[] {
  const names = record.map((name) => name.trim())
  if (new Set(names).size !== names.length || form.required.some((name) => !names.includes(name))) {
    throw csvError(path, line, `the header ${form.header}`, JSON.stringify(record.join(',').slice(0, 100)))
  }
  return [...form.required, ...form.optional].map((name) => names.indexOf(name))
}

/**
 * The rows of a UTF-8 CSV file with a header, read as a stream: with or without byte order mark, LF or CRLF, quoted
 * fields, empty lines between rows. Fields are not trimmed.
 *
 * @param onBytes - called with the bytes read so far when there are more
 * @throws HRMError ERR_HRM_DATASET naming file and line; ERR_HRM_IO
 */
export async function* readCsv(
  path: string,
  form: CsvForm,
  onBytes?: (bytes: number) => void,
): AsyncGenerator<CsvRow, void, undefined> {
  let bytesRead = 0
  const source = Readable.from(
    (async function* () {
      const options = { op: 'csv', content: 'a row of CSV', maxLineBytes: Math.max(form.maxRowBytes, MAX_LINE_BYTES) }
      for await (const block of readTextBlocks(path, options)) {
        bytesRead = block.bytesRead
        yield block.text
      }
    })(),
  )
  const parser = parse({
    info: true,
    relax_column_count: true,
    skip_empty_lines: true,
    max_record_size: form.maxRowBytes,
  })
  source.on('error', (error) => parser.destroy(error))
  source.pipe(parser)
  let columns: number[] | undefined
  let count = 0
  let reported = 0
  try {
    for await (const { record, info } of parser as AsyncIterable<{ record: string[]; info: { lines: number } }>) {
      if (columns === undefined) {
        columns = findColumns(path, info.lines, record, form)
        count = record.length
      } else {
        if (record.length !== count) throw csvError(path, info.lines, `${count} fields`, `${record.length}`)
        yield { line: info.lines, fields: columns.map((column) => record[column]) }
      }
      if (bytesRead === reported) continue
      reported = bytesRead
      onBytes?.(reported)
    }
  } catch (error) {
    if (!(error instanceof CsvError)) throw ioError('read', path, error)
    const { lines } = error as CsvError & { lines?: number }
    throw csvError(path, lines ?? 0, 'a well-formed CSV row', error.message)
  } finally {
    source.destroy()
  }
  if (columns === undefined) throw csvError(path, 1, `the header ${form.header}`, 'an empty file')
}
