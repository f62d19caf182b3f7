// Compiles every kernel for every supported GPU and fails where one spills registers, keeps anything in local memory, or
// uses more registers than cuda/register-budget.json allows its family (its name, whatever its template arguments).
// Ends with "N passed, N failed, N skipped", one count a file and architecture; exits 1 if anything failed.
// Usage: node scripts/check-cuda.mjs [--arch=sm_90a] [--update] [files]
//   --arch    this architecture alone
//   --update  writes the counts found as the budget
//   files     in place of cuda/*.cu
// Compiler: $NVCC, else nvcc; skipped without it.

import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { parseArgs } from 'node:util'

const root = dirname(import.meta.dirname)
const budgetFile = join(root, 'cuda/register-budget.json')
const compiler = process.env.NVCC ?? 'nvcc'
const parallel = 2
const { values: options, positionals } = parseArgs({
  options: { arch: { type: 'string' }, update: { type: 'boolean', default: false } },
  allowPositionals: true,
})
const architectures = options.arch ? [options.arch] : ['sm_80', 'sm_86', 'sm_89', 'sm_90a', 'sm_120']
const files =
  positionals.length > 0
    ? positionals
    : readdirSync(join(root, 'cuda'))
        .filter((name) => name.endsWith('.cu'))
        .map((name) => join(root, 'cuda', name))

if (spawnSync(compiler, ['--version']).error) {
  console.log(`skip: no ${compiler}; install a CUDA toolkit >= 12.8\n0 passed, 0 failed, 1 skipped`)
  process.exit(0)
}

/** Kernels of the output of ptxas -v: their families and registers. */
function kernelsOf(log) {
  const found = [...log.matchAll(/Compiling entry function '(\w+)'[\s\S]*?Used (\d+) registers/g)]
  const names = spawnSync('c++filt', { input: found.map(([, name]) => name).join('\n'), encoding: 'utf8' }).stdout
  return names
    .trimEnd()
    .split('\n')
    .slice(0, found.length)
    .map((name, i) => ({
      family:
        /([\w:]+)[<(]/.exec(name.replaceAll('(anonymous namespace)::', ''))?.[1].replace('hrm::cuda::', '') ?? name,
      registers: Number(found[i][2]),
    }))
}

const budget = JSON.parse(readFileSync(budgetFile, 'utf8'))
const output = mkdtempSync(join(tmpdir(), 'check-cuda-'))
const most = new Map() // family -> registers, over all files and architectures
let passed = 0
let failed = 0

async function check(file, architecture) {
  const warnings = '-Xptxas=-v,--warn-on-spills,--warn-on-local-memory-usage,--warning-as-error'
  const cubin = join(output, `${basename(file)}.${architecture}.cubin`)
  const args = ['-std=c++20', `-arch=${architecture}`, '-I', root, warnings, '-cubin', '-o', cubin, file]
  const started = performance.now()
  const child = spawn(compiler, args, { stdio: ['ignore', 'ignore', 'pipe'] })
  let log = ''
  child.stderr.setEncoding('utf8').on('data', (text) => (log += text))
  const [code] = await once(child, 'close')
  const problems = code === 0 ? [] : log.split('\n').filter((line) => /\b(error|warning)\b/.test(line))
  if (code !== 0 && problems.length === 0) problems.push(log)
  const kernels = kernelsOf(log)
  const highest = new Map()
  for (const { family, registers } of kernels) {
    most.set(family, Math.max(most.get(family) ?? 0, registers))
    highest.set(family, Math.max(highest.get(family) ?? 0, registers))
  }
  if (!options.update)
    for (const [family, registers] of highest)
      if (!(registers <= budget[family]))
        problems.push(`${family}: ${registers} registers, budget ${budget[family] ?? 'none: run with --update'}`)
  if (problems.length === 0) passed++
  else failed++
  const seconds = ((performance.now() - started) / 1000).toFixed(1)
  const registers = [...highest].map(([family, count]) => `${family} ${count}`).join(', ')
  console.log(
    `${problems.length === 0 ? 'ok  ' : 'FAIL'} ${basename(file).padEnd(24)} ${architecture.padEnd(7)} ` +
      `${String(kernels.length).padStart(3)} kernels ${seconds.padStart(6)} s  ${registers}`,
  )
  for (const problem of problems) console.log(`     ${problem}`)
}

const queue = files.flatMap((file) => architectures.map((architecture) => ({ file, architecture })))
try {
  await Promise.all(
    Array.from({ length: parallel }, async () => {
      for (let next = queue.shift(); next; next = queue.shift()) await check(next.file, next.architecture)
    }),
  )
} finally {
  rmSync(output, { recursive: true })
}
if (options.update && failed === 0) {
  const kept = positionals.length > 0 || options.arch ? budget : {}
  const families = Object.entries({ ...kept, ...Object.fromEntries(most) }).sort(([a], [b]) => (a < b ? -1 : 1))
  writeFileSync(budgetFile, `${JSON.stringify(Object.fromEntries(families), null, 2)}\n`)
}
console.log(`${passed} passed, ${failed} failed, 0 skipped`)
process.exitCode = failed === 0 ? 0 : 1
