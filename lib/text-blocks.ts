import { createReadStream } from 'node:fs'
import { HRMError } from './errors.js'
import { ioError } from './mapped-file.js'

/** ERR_HRM_DATASET naming file and line; `got` may come from the file, so it is cut. */
export function lineError(op: string, path: string, line: number, expected: string, got: string): HRMError {
  const message = `[${op}] expected ${expected} in line ${line}, got ${got.slice(0, 120)} in ${path}; do correct the line`
  return new HRMError('ERR_HRM_DATASET', message, { path, line })
}

/** Whole lines of a text file. */
export interface TextBlock {
  /** Number of the first line, from 1. */
  line: number
  /** The lines, each with its end; the last of the file may have none. */
  text: string
  /** Bytes of the file read so far. */
  bytesRead: number
}

export interface TextBlockOptions {
  /** Named in errors. */
  op: string
  /** What a line holds, named in errors, e.g. `a JSON object`. */
  content: string
  /** Longest line accepted: bounds memory. */
  maxLineBytes: number
}

const LINE_FEED = 10
const READ_BYTES = 2 ** 18

/** A strict decoder, which also keeps byte order marks. */
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/**
 * Reads a UTF-8 file as a stream, in blocks of whole lines. A byte order mark at its start is left out.
 *
 * @throws HRMError ERR_HRM_DATASET naming file and line where a line is too long or no UTF-8; ERR_HRM_IO
 */
export async function* readTextBlocks(
  path: string,
  { op, content, maxLineBytes }: TextBlockOptions,
): AsyncGenerator<TextBlock, void, undefined> {
  let line = 1
  let bytesRead = 0
  const decode = (bytes: Buffer): TextBlock => {
    try {
      const text = decoder.decode(bytes)
      return { line, text: line === 1 ? text.replace(/^\ufeff/, '') : text, bytesRead }
    } catch {
      // The first line that is damaged: bytes of a character never contain a line feed.
      for (let at = line, rest = bytes; ; at++) {
        const end = rest.indexOf(LINE_FEED) + 1 || rest.length
        try {
          decoder.decode(rest.subarray(0, end))
        } catch {
          throw lineError(op, path, at, `${content} in UTF-8`, 'other bytes')
        }
        rest = rest.subarray(end)
      }
    }
  }
  /** The beginning of a line whose end was not read yet. */
  let begun: Buffer[] = []
  let begunBytes = 0
  const limit = (more: number, at: number) => {
    if (begunBytes + more > maxLineBytes)
      throw lineError(op, path, at, `${content} of at most ${maxLineBytes} bytes`, 'more')
  }
  try {
    for await (const chunk of createReadStream(path, { highWaterMark: READ_BYTES }) as AsyncIterable<Buffer>) {
      bytesRead += chunk.length
      limit(chunk.indexOf(LINE_FEED) < 0 ? chunk.length : chunk.indexOf(LINE_FEED), line)
      const end = chunk.lastIndexOf(LINE_FEED) + 1
      if (end > 0) {
        const block = decode(Buffer.concat([...begun, chunk.subarray(0, end)]))
        yield block
        for (let at = block.text.indexOf('\n'); at >= 0; at = block.text.indexOf('\n', at + 1)) line++
        begun = []
        begunBytes = 0
      }
      begun.push(chunk.subarray(end))
      begunBytes += chunk.length - end
    }
    if (begunBytes > 0) yield decode(Buffer.concat(begun))
  } catch (error) {
    throw ioError('read', path, error)
  }
}
