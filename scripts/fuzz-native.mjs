// node scripts/fuzz-native.mjs [iterations] [seed]: what C++ maps and copies (offset, length, dtype), ten million times
// under the address and undefined-behaviour sanitizers. Exits with 1 at the first report.
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const root = join(import.meta.dirname, '..')
const [iterations = '10000000', seed = '0'] = process.argv.slice(2)
const sources = [
  'test/native/memory_fuzz.cc',
  ...['carry', 'config', 'initialiser', 'model', 'os', 'parameters', 'real_values'].map((name) => `core/${name}.cc`),
  'cpu/memory.cc',
  'cpu/reference/reference_backend.cc',
]
const sanitizers = ['-fsanitize=address,undefined', '-fno-sanitize-recover=all', '-fno-omit-frame-pointer', '-g']

function run(command, args) {
  const { status, error } = spawnSync(command, args, { cwd: root, stdio: 'inherit' })
  if (error) throw error
  return status ?? 1
}

const folder = mkdtempSync(join(tmpdir(), 'hrm-fuzz-'))
try {
  const program = join(folder, 'memory-fuzz')
  const built = run('g++', ['-std=c++20', '-O1', '-Wall', '-Wextra', ...sanitizers, '-I.', ...sources, '-o', program])
  process.exitCode = built || run(program, [iterations, seed])
} finally {
  rmSync(folder, { recursive: true, force: true })
}
