import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { test } from 'tap'
import { argumentError, errorCodes, fromNative, HRMError, rangeError } from '#dist/errors.js'

const root = fileURLToPath(new URL('../..', import.meta.url))

function sources(folder: string, ending: RegExp): string[] {
  return readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => ending.test(name))
    .map((name) => join(folder, name))
}

/** Codes that a set of files names in string literals, each with the first file that does. */
function codesIn(files: string[]): Map<string, string> {
  const found = new Map<string, string>()
  for (const file of files) {
    for (const [, code] of readFileSync(join(root, file), 'utf8').matchAll(/["'](ERR_HRM_\w+)["']/g)) {
      if (code !== undefined && !found.has(code)) found.set(code, file)
    }
  }
  return found
}

const native = codesIn(['core', 'cpu', 'binding'].flatMap((folder) => sources(folder, /\.(cc|h|inc)$/)))
const facade = codesIn(sources('lib', /\.ts$/).filter((file) => file !== join('lib', 'errors.ts')))

test('docs/errors.md documents exactly the codes of lib/errors.ts, with their meaning', (t) => {
  const documented = new Map<string, string>()
  for (const line of readFileSync(join(root, 'docs/errors.md'), 'utf8').split('\n')) {
    const [, code, meaning, remedy] = /^\| `(ERR_HRM_\w+)` *\| (.*?) *\| (.*?) *\|$/.exec(line) ?? []
    if (code === undefined || meaning === undefined) continue
    t.ok(remedy, `${code} says what to do`)
    documented.set(code, meaning)
  }
  t.strictSame(Object.fromEntries(documented), errorCodes)
  t.end()
})

test('each code has a section that shows a message and says what helps', (t) => {
  const sections = readFileSync(join(root, 'docs/errors.md'), 'utf8').split(/^## /m).slice(1)
  const titles = sections.map((section) => section.slice(0, section.indexOf('\n')))
  t.strictSame(titles, Object.keys(errorCodes))
  for (const section of sections) {
    const [, messages = '', advice = ''] = /```text\n(.*?)```\n(.*)$/s.exec(section) ?? []
    for (const message of messages.trimEnd().split('\n')) t.match(message, /^\[[a-z ]+\] /)
    t.match(advice, /\w+/)
  }
  t.end()
})

test('every code in the sources is in the table', (t) => {
  t.ok(native.size > 0, 'the C++ sources name codes')
  for (const [code, file] of [...native, ...facade]) t.ok(code in errorCodes, `${code} (${file})`)
  t.end()
})

test('every code of the table is raised somewhere', (t) => {
  const raised = new Set([...native.keys(), ...facade.keys(), 'ERR_HRM_ARGUMENT'])
  // Kept for the CUDA backend: a part that names its code before it exists.
  const reserved = ['ERR_HRM_CUDA']
  t.strictSame(
    Object.keys(errorCodes).filter((code) => !raised.has(code)),
    reserved,
  )
  t.end()
})

test('errors carry their code, their details and their cause', (t) => {
  const cause = new Error('inner')
  const error = new HRMError('ERR_HRM_IO', '[read] expected a file, got none; check the path', { path: 'a' }, { cause })
  t.match(error, { name: 'HRMError', code: 'ERR_HRM_IO', details: { path: 'a' }, cause })
  t.ok(error instanceof Error)
  t.ok(argumentError('x') instanceof TypeError)
  t.equal(argumentError('x').code, 'ERR_HRM_ARGUMENT')
  t.ok(rangeError('x') instanceof RangeError)
  t.equal(rangeError('x').code, 'ERR_HRM_ARGUMENT')
  t.end()
})

test('an error of the addon becomes an HRMError unless it is an argument error', (t) => {
  const native = Object.assign(new Error('[allocate] expected memory'), { code: 'ERR_HRM_OUT_OF_MEMORY' })
  const converted = fromNative(native)
  t.ok(converted instanceof HRMError)
  t.match(converted, { code: 'ERR_HRM_OUT_OF_MEMORY', message: native.message, cause: native })
  t.equal(fromNative(converted), converted)
  const argument = argumentError('[segment] expected rows')
  t.equal(fromNative(argument), argument)
  const foreign = Object.assign(new Error('no such file'), { code: 'ENOENT' })
  t.equal(fromNative(foreign), foreign)
  t.equal(fromNative('text'), 'text')
  t.end()
})
