// Compiles the whole-model gradient check with one planted fault at a time; each must be caught.
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { test } from 'tap'

const root = fileURLToPath(new URL('../../..', import.meta.url))
const compiler = process.env['CXX'] ?? 'g++'
const missing = spawnSync(compiler, ['--version']).status !== 0

test(
  'every planted sign, transposition and index fault fails the gradient check',
  { timeout: 880_000, skip: missing ? `no ${compiler} to compile mutants with` : false },
  (t) => {
    const { status, stdout, stderr } = spawnSync(process.execPath, [join(root, 'scripts', 'mutants.mjs')], {
      encoding: 'utf8',
    })
    const last = stdout.trim().split('\n').at(-1) ?? ''
    const [, caught, planted] = /^(\d+) of (\d+) mutants caught$/.exec(last) ?? []
    t.ok(Number(planted) >= 10, `${last} ${stderr}`)
    t.equal(caught, planted, stdout)
    t.equal(status, 0)
    t.end()
  },
)
