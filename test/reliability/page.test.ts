// docs/reliability.md claims nothing that no test shows.
import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { test } from 'tap'

const root = fileURLToPath(new URL('../../..', import.meta.url))
const rows = readFileSync(join(root, 'docs/reliability.md'), 'utf8')
  .split('\n')
  .flatMap((line) => {
    const [, id, promise = '', shownBy = '', figures = ''] =
      /^\| `([a-z0-9-]+)` *\|(.*?)\|(.*?)\|([^|]*)\|$/.exec(line) ?? []
    return id === undefined ? [] : [{ id, promise: promise.trim(), shownBy: shownBy.trim(), figures: figures.trim() }]
  })

/** Whether a test or script names the id, whole or as the beginning of a template. */
function reports(source: string, id: string): boolean {
  const beginnings = [...source.matchAll(/\bfigure\(\s*t,\s*`([a-z0-9-]+-)\$\{/g)].map((match) => match[1]!)
  return source.includes(`'${id}'`) || beginnings.some((beginning) => id.startsWith(beginning))
}

test('every promise of the page has results and a test or script that reports them', (t) => {
  t.ok(rows.length > 5, `${rows.length} promises`)
  for (const { id, promise, shownBy, figures } of rows) {
    t.match(promise, /^[A-Z].*\.$/, `${id} is a sentence`)
    const path = /\]\(\.\.\/((?:test|scripts)\/[^)]+)\)/.exec(shownBy)?.[1] ?? ''
    if (!t.ok(path !== '' && existsSync(join(root, path)), `${id} names what shows it: ${shownBy}`)) continue
    t.ok(reports(readFileSync(join(root, path), 'utf8'), id), `${path} reports ${id}`)
    const results = join(root, 'docs/results/reliability', `${id}.json`)
    if (!t.ok(existsSync(results), `${id} has results`)) continue
    const { values } = JSON.parse(readFileSync(results, 'utf8')) as { values: Record<string, unknown> }
    t.ok(Object.keys(values).length > 0)
    t.not(figures, '')
  }
  t.end()
})

test('every figure that a test reports is on the page', (t) => {
  const tests = readdirSync(join(root, 'test'), { recursive: true, encoding: 'utf8' }).filter((name) =>
    name.endsWith('.test.ts'),
  )
  const reported = tests.flatMap((name) =>
    [...readFileSync(join(root, 'test', name), 'utf8').matchAll(/\bfigure\(\s*t,\s*'([a-z0-9-]+)'/g)].map(
      (match) => match[1]!,
    ),
  )
  t.same(
    reported.filter((id) => !rows.some((row) => row.id === id)),
    [],
  )
  t.equal(new Set(reported).size, reported.length, 'each from one place')
  t.end()
})

test('the figures of the page are those of the results', (t) => {
  t.doesNotThrow(() =>
    execFileSync(process.execPath, [join(root, 'scripts/write-reliability.mjs'), '--check'], { stdio: 'pipe' }),
  )
  t.end()
})
