// npm run docs:references: writes the pages of docs/ that follow from the code. --check writes nothing and exits with 1
// where a page is not up to date. Needs dist/ (npm run prepare).
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { format, resolveConfig } from 'prettier'
import { cliPage } from './references/cli-page.mjs'
import { configPage } from './references/config-page.mjs'

const docs = join(import.meta.dirname, '../docs')
const check = process.argv.includes('--check')

for (const [name, text] of Object.entries({ 'config.md': configPage(), 'cli.md': await cliPage() })) {
  const path = join(docs, name)
  const page = await format(text, { ...(await resolveConfig(path)), filepath: path })
  if (!check) writeFileSync(path, page)
  else if (readFileSync(path, 'utf8') !== page) {
    console.error(`docs/${name} is not up to date; do npm run docs:references`)
    process.exitCode = 1
  }
}
