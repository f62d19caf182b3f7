// npm run docs:reliability: writes the figures into the tables of docs/reliability.md. Every row there begins with an id; its
// last cell becomes what docs/results/reliability/<id>.json holds, one file an id, as test/reliability/figures.ts writes it:
//   HRM_FIGURES=docs/results/reliability npm run test:long -- build-test/test/reliability/stop.test.js
// Exits with 1, and names them, where a row has no results or results have no row. --check writes nothing.
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { format, resolveConfig } from 'prettier'

const root = join(import.meta.dirname, '..')
const page = join(root, 'docs/reliability.md')
const results = join(root, 'docs/results/reliability')
const check = process.argv.includes('--check')

const show = (value) => (typeof value === 'number' ? value.toLocaleString('en-US') : value)

/** `kills: 2,000; lost: 0` */
function describe({ form, values }) {
  const figures = Object.entries(values).map(([name, value]) => `${name.replaceAll('_', ' ')}: ${show(value)}`)
  return figures.join('; ').replaceAll('|', '/') + (form === 'long' ? '' : ' (short form)')
}

const problems = []
const rows = new Set()
/** `| `id` | promise | test | figures |` */
const row = /^\| `([a-z0-9-]+)` *\|(.*)\|[^|]*\|$/
const before = readFileSync(page, 'utf8')
const lines = before.split('\n').map((line) => {
  const [, id, middle] = row.exec(line) ?? []
  if (id === undefined) return line
  if (rows.has(id)) problems.push(`docs/reliability.md has two rows for ${id}`)
  rows.add(id)
  const file = join(results, `${id}.json`)
  if (!existsSync(file)) {
    problems.push(`${id} has no docs/results/reliability/${id}.json`)
    return `| \`${id}\` |${middle}| not measured |`
  }
  const result = JSON.parse(readFileSync(file, 'utf8'))
  if (result.id !== id) problems.push(`docs/results/reliability/${id}.json holds the figures of ${result.id}`)
  return `| \`${id}\` |${middle}| ${describe(result)} |`
})
for (const name of readdirSync(results)) {
  if (!rows.has(name.replace(/\.json$/, ''))) problems.push(`docs/results/reliability/${name} has no row`)
}
const after = await format(lines.join('\n'), { ...(await resolveConfig(page)), filepath: page })
if (check && after !== before) problems.push('docs/reliability.md is not up to date; do npm run docs:reliability')
if (!check) writeFileSync(page, after)
for (const problem of problems) console.error(problem)
process.exitCode = problems.length > 0 ? 1 : 0
