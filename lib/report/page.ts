import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { fileError } from '../durable-folder.js'
import type { ReportData } from './data.js'

/** Where the page takes its data from, empty as built. */
const slot = '<script type="application/json" id="report-data">'

/**
 * JSON that can stand in a script element: no `<`, so that it cannot end there or begin a comment, and no line separator
 * that only JSON allows.
 */
export function scriptJson(value: unknown): string {
  const escapes: Record<string, string> = { '<': '\\u003c', '\u2028': '\\u2028', '\u2029': '\\u2029' }
  return JSON.stringify(value).replace(/[<\u2028\u2029]/g, (character) => escapes[character]!)
}

/** The page with its data: one file that loads nothing. @throws ERR_HRM_IO where the package was built without it */
export async function reportPage(data: ReportData): Promise<string> {
  const path = fileURLToPath(new URL('page.html', import.meta.url))
  try {
    const [before, after] = (await readFile(path, 'utf8')).split(slot) as [string, string]
    return `${before}${slot}${scriptJson(data)}${after}`
  } catch (error) {
    throw fileError('report', path, error)
  }
}
