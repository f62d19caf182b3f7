// Runs the op-table executable (test/native/*.cc) that CMake builds beside the addon.
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { test, type Test } from 'tap'

const root = fileURLToPath(new URL('../../..', import.meta.url))
const executable = join(root, 'build', 'Release', 'hrm_optable')
const shared = join(process.env['HRM_GOLDEN'] ?? join(root, '..', 'shared', 'golden'), 'ops')
const golden = existsSync(shared) ? shared : join(root, 'test', 'golden', 'ops')
/** Each mode is one process of up to a minute on two busy cores. */
const slow = { timeout: 280_000 }

interface Outcome {
  status: number | string
  lines: string[]
}

function optable(...words: string[]): Promise<Outcome> {
  return new Promise((resolve) => {
    execFile(executable, words, { maxBuffer: 2 ** 26 }, (error, stdout, stderr) => {
      resolve({ status: error ? (error.code ?? 'killed') : 0, lines: (stdout + stderr).trim().split('\n') })
    })
  })
}

async function expectAllOk(t: Test, ...words: string[]) {
  const { status, lines } = await optable(...words)
  t.strictSame(
    lines.filter((line) => line.startsWith('FAIL')),
    [],
    words.join(' '),
  )
  t.match(lines.at(-1), /^[1-9]\d* passed, 0 failed, /)
  t.equal(status, 0)
}

test('every CPU backend agrees with the reference, for any batch and number of threads', slow, async (t) => {
  const { lines: backends } = await optable('backends')
  const tested = backends.filter((name) => name !== 'reference-f64' && !/^(int8|cuda)/.test(name))
  t.ok(tested.includes('reference-f32'), tested.join(' '))
  for (const backend of tested) await expectAllOk(t, 'test', '--backend', backend)
})

for (const backend of ['cuda:f32', 'cuda:bf16']) {
  test(`the GPU code in ${backend.slice(5)} agrees with the reference, for any batch and twice`, slow, async (t) => {
    const { lines: backends } = await optable('backends')
    t.ok(backends.includes(backend), backends.join(' '))
    const { status, lines } = await optable('test', '--backend', backend)
    t.strictSame(
      lines.filter((line) => line.startsWith('FAIL')),
      [],
    )
    const cases = lines.filter((line) => line.startsWith('ok') && !/ (rows|threads) /.test(line))
    t.ok(cases.length >= 300, `${cases.length} cases of an op and a shape`)
    t.equal(status, 0)
  })
}

test('int8 gives the same integers on every instruction set, and blocks close to exact ones', slow, async (t) => {
  await expectAllOk(t, 'int8')
  const { lines: backends } = await optable('backends')
  const tested = backends.filter((name) => name.startsWith('int8'))
  t.ok(tested.includes('int8:portable'), tested.join(' '))
  for (const backend of tested) await expectAllOk(t, 'test', '--backend', backend, '--filter', 'block_forward')
})

test('every backward op is the derivative of its forward op', slow, async (t) => {
  await expectAllOk(t, 'grad')
})

test('the whole model’s one-step gradient is the derivative of its loss', slow, async (t) => {
  await expectAllOk(t, 'model-grad')
})

test('single ops give what PyTorch computed', async (t) => {
  const { lines: backends } = await optable('backends')
  for (const backend of backends.filter((name) => !/^(int8|cuda)/.test(name)))
    await expectAllOk(t, 'golden', golden, '--backend', backend)
})

test('an unknown mode, option or backend is refused', async (t) => {
  for (const words of [['nothing'], ['test', '--nothing', '1'], ['test', '--backend', 'nothing']]) {
    const { status, lines } = await optable(...words)
    t.equal(status, 2)
    t.match(lines.at(-1), /expected .*, got /)
  }
})
