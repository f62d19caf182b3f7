// The rules of who may know whom (docs/architecture.md), read off imports, includes and object files.
import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join, normalize, sep } from 'node:path'
import { fileURLToPath } from 'node:url'
import { test } from 'tap'

const root = fileURLToPath(new URL('../..', import.meta.url))

interface Source {
  path: string
  text: string
  /** Project files it includes, as paths from the root. */
  includes: string[]
  /** Headers in angle brackets. */
  system: string[]
}

function readSources(folder: string): Source[] {
  if (!existsSync(join(root, folder))) return []
  return readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => /\.(cc|h|inc)$/.test(name))
    .map((name) => {
      const path = join(folder, name)
      const text = readFileSync(join(root, path), 'utf8')
      const matches = (pattern: RegExp) => [...text.matchAll(pattern)].map((match) => match[1] ?? '')
      const includes = matches(/^\s*#\s*include\s+"([^"]+)"/gm).map((name) => {
        const sibling = normalize(join(dirname(path), name))
        return existsSync(join(root, sibling)) ? sibling : normalize(name)
      })
      return { path, text, includes, system: matches(/^\s*#\s*include\s+<([^>]+)>/gm) }
    })
}

const folderOf = (path: string) => path.split(sep)[0]
const core = readSources('core')
const cpu = readSources('cpu')
const cuda = readSources('cuda')
const binding = readSources('binding')
const code = (text: string) => text.replace(/\/\/.*$/gm, '').replace(/\/\*[\s\S]*?\*\//g, '')

test('every include names a file of the project', (t) => {
  t.ok(core.length > 0 && cpu.length > 0 && binding.length > 0, 'the folders hold sources')
  for (const source of [...core, ...cpu, ...cuda, ...binding, ...readSources(join('test', 'native'))]) {
    for (const name of source.includes) t.ok(existsSync(join(root, name)), `${source.path} includes ${name}`)
  }
  t.end()
})

test('core includes core alone, and only backend_select.cc names backends', (t) => {
  for (const { path, includes, text } of core) {
    const select = path === join('core', 'backend_select.cc')
    const allowed = select ? ['core', 'cpu', 'cuda'] : ['core']
    for (const name of includes) t.ok(allowed.includes(folderOf(name) ?? ''), `${path} includes ${name}`)
    if (!select) t.notMatch(code(text), /\b(CpuStorage|ReferenceBackend|SimdBackend|make_cpu_backend)\b/, path)
  }
  t.end()
})

test('a backend includes of core only the contract, and never another backend', (t) => {
  const contract = ['backend', 'shapes', 'philox', 'error'].map((name) => join('core', `${name}.h`))
  for (const { path, includes } of [...cpu, ...cuda]) {
    for (const name of includes) {
      t.ok(folderOf(name) === folderOf(path) || contract.includes(name), `${path} includes ${name}`)
    }
  }
  t.end()
})

test('the binding includes core alone, and nothing else speaks Node-API', (t) => {
  for (const { path, includes } of binding) {
    for (const name of includes) t.ok(['binding', 'core'].includes(folderOf(name) ?? ''), `${path} includes ${name}`)
  }
  for (const { path, text, system } of [...core, ...cpu, ...cuda]) {
    t.notOk(
      system.some((name) => /^(node_)?n?api|^napi|^js_native_api/.test(name)),
      `${path} includes no Node-API header`,
    )
    t.notMatch(code(text), /\bNapi::|\bnapi_/, `${path} does not speak Node-API`)
  }
  t.end()
})

test('the library never prints, exits or aborts', (t) => {
  for (const { path, text } of [...core, ...cpu, ...cuda, ...binding]) {
    t.notMatch(code(text), /\b(printf|fprintf|puts|abort|_?exit|quick_exit)\s*\(|std::(cout|cerr|clog)\b/, path)
  }
  t.end()
})

test('files for one instruction set include intrinsics, C headers and declarations of their own folder only', (t) => {
  const cHeader = /^(immintrin|arm_neon|stddef|stdint|string|math|float|limits)\.h$/
  for (const { path, includes, system } of cpu.filter(({ path }) => /_(avx\w*|neon)\.cc$/.test(path))) {
    for (const name of includes) t.equal(dirname(name), join('cpu', 'simd'), `${path} includes ${name}`)
    for (const name of system) t.match(name, cHeader, `${path} includes <${name}>`)
  }
  t.end()
})

test('object files for one instruction set hold no weak symbol', (t) => {
  // A weak symbol (template, inline function) compiled there with AVX-512 may be the copy that the linker keeps for all.
  const build = join(root, 'build')
  const objects = readdirSync(build, { recursive: true, encoding: 'utf8' }).filter((name) =>
    /_(avx\w*|neon)\.cc\.o$/.test(name),
  )
  const compiled = { x64: /_avx\w*\.cc$/, arm64: /_neon\.cc$/ }[process.arch as string]
  const expected = cpu.filter(({ path }) => compiled?.test(path))
  t.ok(objects.length >= expected.length, `${objects.length} object files of ${expected.length} sources found`)
  for (const name of objects) {
    const weak = execFileSync('nm', ['-C', join(build, name)], { encoding: 'utf8' })
      .split('\n')
      .filter((line) => / [WVu] /.test(line))
    t.strictSame(weak, [], name)
  }
  t.end()
})

test('lib/native.ts alone loads the addon', (t) => {
  const files = readdirSync(join(root, 'lib'), { recursive: true, encoding: 'utf8' }).filter((name) =>
    name.endsWith('.ts'),
  )
  t.ok(files.includes('native.ts'))
  for (const name of files.filter((name) => name !== 'native.ts')) {
    t.notMatch(
      readFileSync(join(root, 'lib', name), 'utf8'),
      /node-gyp-build|process\.dlopen|createRequire|\brequire\(/,
      name,
    )
  }
  t.end()
})

test('imports of the facade stay inside lib, and the command line is imported by nothing', (t) => {
  const files = readdirSync(join(root, 'lib'), { recursive: true, encoding: 'utf8' }).filter((name) =>
    name.endsWith('.ts'),
  )
  for (const name of files) {
    const text = readFileSync(join(root, 'lib', name), 'utf8')
    for (const [, target = ''] of text.matchAll(/\b(?:from|import)\s*\(?\s*['"](\.[^'"]*)['"]/g)) {
      const path = join(dirname(name), target).replace(/\.js$/, '.ts')
      t.ok(files.includes(path), `lib/${name} imports ${target}`)
      if (!name.startsWith(`cli${sep}`)) t.notOk(path.startsWith(`cli${sep}`), `lib/${name} imports ${target}`)
    }
  }
  t.end()
})
