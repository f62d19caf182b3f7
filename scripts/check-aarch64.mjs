// Compiles the addon and the op-table executable for 64-bit ARM and runs the op table under qemu: every kernel set, each
// against the reference, for any batch and 1 to 4 threads; then single ops against PyTorch's. Ends with
// "N passed, N failed, N skipped"; exits 1 if anything failed. What the machine lacks (Debian's packages
// g++-aarch64-linux-gnu, qemu-user) is named and skipped.
// Usage: node scripts/check-aarch64.mjs [text that an op's name contains]

import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { readdirSync } from 'node:fs'

const root = dirname(import.meta.dirname)
const build = join(root, 'build-aarch64')
const [filter = ''] = process.argv.slice(2)

const missing = ['aarch64-linux-gnu-g++', 'qemu-aarch64', 'cmake'].filter(
  (tool) => spawnSync(tool, ['--version']).error,
)
if (missing.length > 0) {
  console.log(
    `skip: no ${missing.join(', ')}; apt-get install g++-aarch64-linux-gnu qemu-user cmake\n0 passed, 0 failed, 1 skipped`,
  )
  process.exit(0)
}

/** Runs a program, its output passed on line by line; resolves to its lines. */
async function run(command, args, show = () => true) {
  const child = spawn(command, args, { cwd: root, stdio: ['ignore', 'pipe', 'inherit'] })
  const closed = once(child, 'close')
  const lines = []
  for await (const line of createInterface({ input: child.stdout })) {
    lines.push(line)
    if (show(line)) console.log(line)
  }
  const [code, signal] = await closed
  return { lines, ended: signal ?? code }
}

async function must(command, args, show) {
  const { lines, ended } = await run(command, args, show)
  if (ended !== 0) {
    console.log(`${command} ended with ${ended}\n0 passed, 1 failed, 0 skipped`)
    process.exit(1)
  }
  return lines
}

const buildTools = createRequire(createRequire(import.meta.url).resolve('cmake-js/package.json'))
const headers = [
  buildTools('node-api-headers').include_dir,
  dirname(createRequire(import.meta.url).resolve('node-addon-api/package.json')),
]
await must('cmake', [
  '-S',
  '.',
  '-B',
  build,
  `-DCMAKE_TOOLCHAIN_FILE=${join(root, 'scripts', 'aarch64.cmake')}`,
  `-DCMAKE_JS_INC=${headers.join(';')}`,
])
await must('cmake', ['--build', build, '--parallel', '2'], (line) => !line.startsWith('[') || line.includes('Built'))

const totals = { passed: 0, failed: 0, skipped: 0 }

// Code of one instruction set must not be merged with another's: no weak symbols.
for (const name of readdirSync(build, { recursive: true, encoding: 'utf8' })) {
  if (!name.endsWith('_neon.cc.o')) continue
  const symbols = await must('aarch64-linux-gnu-nm', ['-C', join(build, name)], () => false)
  const weak = symbols.filter((line) => / [WVu] /.test(line))
  totals[weak.length === 0 ? 'passed' : 'failed']++
  console.log(weak.length === 0 ? `ok ${name} holds no weak symbol` : `FAIL ${name}: ${weak.join(', ')}`)
}

const emulated = ['-L', '/usr/aarch64-linux-gnu', join(build, 'Release', 'hrm_optable')]
let checks = 0
/** Failures are shown, and every hundredth of the rest as a sign of life. */
const optable = (...words) =>
  run('qemu-aarch64', [...emulated, ...words], (line) => !line.startsWith('ok ') || ++checks % 100 === 0)
const { lines: backends } = await optable('backends')
const golden = join(root, 'test', 'golden', 'ops')
const selected = filter === '' ? [] : ['--filter', filter]
for (const backend of backends.filter((name) => !name.includes('reference'))) {
  // PyTorch's ops are in float, and most of them backward: not for int8.
  const compared = filter === '' && backend.startsWith('simd:')
  for (const words of [['test', ...selected], ...(compared ? [['golden', golden]] : [])]) {
    const begin = performance.now()
    console.log(`== hrm_optable ${words[0]} --backend ${backend}`)
    const { lines, ended } = await optable(...words, '--backend', backend)
    console.log(`(${((performance.now() - begin) / 1000).toFixed(0)} s)`)
    const counts = /^(\d+) passed, (\d+) failed, (\d+) skipped$/.exec(lines.at(-1) ?? '')
    totals.passed += Number(counts?.[1] ?? 0)
    totals.failed += counts ? Number(counts[2]) : 1
    totals.skipped += Number(counts?.[3] ?? 0)
    if (ended !== 0 && counts?.[2] === '0') totals.failed++
  }
}
console.log(`${totals.passed} passed, ${totals.failed} failed, ${totals.skipped} skipped`)
process.exitCode = totals.failed === 0 ? 0 : 1
