// Runs tap, passes its output through and ends with one plain line: "N passed, N failed, N skipped".
// usage: run-tests.mjs [--long] [tap arguments]; --long sets HRM_TEST_LONG=1, which tests read to run their full form.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'

const long = process.argv[2] === '--long'
const manifest = createRequire(import.meta.url).resolve('tap/package.json')
const tap = join(dirname(manifest), JSON.parse(readFileSync(manifest, 'utf8')).bin.tap)
const options = long ? ['--timeout=3600', ...process.argv.slice(3)] : process.argv.slice(2)
const child = spawn(process.execPath, [tap, ...options], {
  stdio: ['ignore', 'pipe', 'inherit'],
  env: long ? { ...process.env, HRM_TEST_LONG: '1' } : process.env,
})
const closed = once(child, 'close')

let totals = ''
for await (const line of createInterface({ input: child.stdout })) {
  console.log(line)
  if (/^# \{ total: \d/.test(line)) totals = line
}
const [exitCode] = await closed

const count = (name) => Number(totals.match(new RegExp(`\\b${name}: (\\d+)`))?.[1] ?? 0)
const failed = count('fail') || (exitCode === 0 && totals ? 0 : 1)
console.log(`${count('pass')} passed, ${failed} failed, ${count('skip') + count('todo')} skipped`)
process.exitCode = exitCode || (totals ? 0 : 1)
