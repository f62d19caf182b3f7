import { copyFileSync, cpSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { hrm, lastJson } from './process.js'

const root = fileURLToPath(new URL('../../..', import.meta.url))
const vectors = join('vectors', 'pytorch.json')
const binary = join('prebuilds', `${process.platform}-${process.arch}`, 'hrm-native.node')

interface Numerics {
  group: string
  error: number
  bound: number
}

/** A copy of the package without sources; its dependencies are those of the checkout around it. */
function packageCopy(t: Test): { folder: string; doctor: (env?: Record<string, string>) => ReturnType<typeof hrm> } {
  const folder = t.testdir()
  for (const name of ['package.json', 'dist', 'vectors', 'presets']) {
    cpSync(join(root, name), join(folder, name), { recursive: true })
  }
  symlinkSync(join(root, 'build'), join(folder, 'build'))
  const main = join(folder, 'dist', 'cli', 'main.js')
  return { folder, doctor: (env = {}) => hrm(['doctor', '--json'], { main, env }) }
}

t.test('doctor finds this machine fit, and near PyTorch', async (t) => {
  const { code, stdout } = await hrm(['doctor', '--json'])
  const result = lastJson(stdout)
  t.equal(code, 0, stdout)
  t.match(result, {
    type: 'result',
    ok: true,
    failed: [],
    node: process.version,
    binary: { path: /\.node$/, reason: 'compiled here, which goes before a prebuilt one' },
    gpu: String,
  })
  for (const [precision, most] of [
    ['fp64', 1e-9],
    ['fp32', 1e-5],
  ] as const) {
    const { error, bound } = result[`numerics cpu ${precision}`] as Numerics
    t.ok(error > 0 && error < bound && bound >= most, `${precision}: ${error} of ${bound}`)
  }
  const speed = Object.entries(result).find(([name]) => name.startsWith('speed '))
  t.ok((speed![1] as { share: number }).share > 0)
  const text = await hrm(['doctor'])
  t.equal(text.code, 0)
  t.match(text.stdout, /numerics cpu fp32 +ok +\d\S+ of scale from PyTorch/)
})

t.test('doctor finds one wrong value among the vectors, by its group', async (t) => {
  const { folder, doctor } = packageCopy(t)
  const path = join(folder, vectors)
  const text = readFileSync(path, 'utf8')
  const plant = (group: string, part: number) => {
    const document = JSON.parse(text) as { expected: Record<string, { values: number[] }> }
    const { values } = document.expected[group]!
    values[3]! += part * Math.max(...values.map(Math.abs))
    writeFileSync(path, JSON.stringify(document))
  }
  for (const group of ['segment 2 logits', 'continue target', 'grad.inner.L_level.layers.1.mlp.down_proj.weight']) {
    plant(group, 1e-4)
    const { code, stdout } = await doctor()
    const result = lastJson(stdout)
    t.equal(code, 1)
    t.match(result, { ok: false, failed: ['numerics cpu fp64', 'numerics cpu fp32'] })
    t.equal((result['numerics cpu fp32'] as Numerics).group, group)
  }
  plant('segment 1 q', 1e-8)
  t.match(lastJson((await doctor()).stdout), { failed: ['numerics cpu fp64'] }, 'double tells finer differences')
  writeFileSync(path, text.slice(0, 1000))
  const damaged = await doctor()
  t.equal(damaged.code, 1)
  t.match(
    lastJson(damaged.stdout)['numerics cpu fp64'],
    /expected a readable .*pytorch\.json, got .+; do install again/,
  )
})

t.test('doctor says which binary was chosen and why, or what was looked for', async (t) => {
  const { folder, doctor } = packageCopy(t)
  const chosen = async (env?: Record<string, string>) => lastJson((await doctor(env)).stdout)['binary']
  const prebuilt = (below: string) => {
    mkdirSync(join(below, binary, '..'), { recursive: true })
    copyFileSync(join(root, 'build', 'Release', 'hrm.node'), join(below, binary))
  }
  prebuilt(join(folder, 'elsewhere'))
  const env = { HRM_NATIVE_PREBUILD: join(folder, 'elsewhere') }
  t.match(await chosen(env), { path: join(folder, 'elsewhere', binary), reason: /^below HRM_NATIVE_PREBUILD=/ })
  t.match(await chosen(), { reason: /^compiled here/ })
  prebuilt(folder)
  t.match(await chosen(), { reason: /^compiled here/ }, 'also where a prebuilt one fits')
  rmSync(join(folder, 'build'))
  t.match(await chosen(), { path: join(folder, binary), reason: /^prebuilt for this platform/ })
  rmSync(join(folder, 'prebuilds'), { recursive: true })
  const none = await doctor()
  t.equal(none.code, 1)
  t.match(lastJson(none.stdout), {
    failed: ['binary'],
    binary: /No native build was found.*build\/Release holds nothing, prebuilds nothing/,
  })
})

t.test('doctor reports a variable that names what is not there', async (t) => {
  const { code, stdout } = await hrm(['doctor', '--json'], { env: { HRM_ISA: 'abacus' } })
  t.equal(code, 1)
  t.match(lastJson(stdout), { failed: ['device'], device: /got abacus/ })
})
