// docs/config.md and docs/cli.md say what the code says.
import { execFileSync, spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { test } from 'tap'
import { configEntries } from '#dist/config.js'

const root = fileURLToPath(new URL('../../..', import.meta.url))

test('the pages of keys and commands are those that the code gives', (t) => {
  const { status, stderr } = spawnSync(process.execPath, [join(root, 'scripts/write-references.mjs'), '--check'], {
    encoding: 'utf8',
  })
  t.equal(stderr, '')
  t.equal(status, 0)
  t.end()
})

test('the picture of the first page shows what the packed model does', (t) => {
  const { status, stderr } = spawnSync(process.execPath, [join(root, 'scripts/draw-readme-picture.mjs'), '--check'], {
    encoding: 'utf8',
  })
  t.equal(stderr, '')
  t.equal(status, 0)
  t.end()
})

test('every key of the configuration has a row, with both of its names', (t) => {
  const page = readFileSync(join(root, 'docs/config.md'), 'utf8')
  for (const { name, field } of configEntries) {
    t.match(page, new RegExp(`^\\| \`${field.official.replaceAll('.', '\\.')}\` +\\| \`${name}\` `, 'm'))
  }
  t.end()
})

test('every command of the help has a section, and so has every option of its help', (t) => {
  const page = readFileSync(join(root, 'docs/cli.md'), 'utf8')
  const help = (...args: string[]) =>
    execFileSync(process.execPath, [join(root, 'dist/cli/main.js'), ...args, '--help'], { encoding: 'utf8' })
  const children = (text: string) =>
    [...text.slice(text.indexOf('Commands:')).matchAll(/^ {2}([a-z]+) /gm)]
      .map((match) => match[1]!)
      .filter((name) => name !== 'help')
  const leaves = children(help()).flatMap((name) => {
    const text = help(name)
    return text.includes('Commands:') ? children(text).map((child) => [name, child]) : [[name]]
  })
  t.ok(leaves.length > 10, `${leaves.length} commands`)
  for (const command of leaves) {
    const title = `hrm ${command.join(' ')}`
    const [, section] = page.split(new RegExp(`^#+ ${title}$`, 'm'))
    if (!t.ok(section, `${title} has a section`)) continue
    const options = [...help(...command).matchAll(/^ {2}(?:-\w, )?(--[a-z-]+)/gm)].map((match) => match[1]!)
    const listed = section!.split(/^#/m)[0]!
    for (const option of options) if (option !== '--help') t.match(listed, new RegExp(`\`(?:-\\w, )?${option}[ \`]`))
  }
  t.end()
})
