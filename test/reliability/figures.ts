// Figures that the tests of docs/reliability.md measure: printed as comments of the test, and kept for the page's tables
// where HRM_FIGURES names a folder (scripts/write-reliability.mjs reads them).
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Test } from 'tap'

/** True in `npm run test:long`: tests run their full form. */
export const long = process.env['HRM_TEST_LONG'] !== undefined

/**
 * States what a test measured.
 * @param id of the promise, as in docs/reliability.md: lower case with dashes, unique
 * @param values named results in the order in which they are shown, units in the names
 */
export function figure(t: Test, id: string, values: Record<string, number | string>): void {
  t.comment(
    `figure ${id}: ${Object.entries(values)
      .map(([name, value]) => `${name} ${value}`)
      .join(', ')}`,
  )
  const folder = process.env['HRM_FIGURES']
  if (folder === undefined) return
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, `${id}.json`), `${JSON.stringify({ id, form: long ? 'long' : 'short', values })}\n`)
}
