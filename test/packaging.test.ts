// What users get: the tarball's content, the addon's dependencies, and (long form) an installation without a compiler.
import { execFileSync, spawnSync } from 'node:child_process'
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { test } from 'tap'

const root = fileURLToPath(new URL('../..', import.meta.url))
const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
const addon = join(root, 'build', 'Release', 'hrm.node')
const linux = process.platform === 'linux' ? false : 'ELF files are made on Linux only'

const lines = (command: string, ...argv: string[]) =>
  execFileSync(command, argv, { encoding: 'utf8' }).trim().split('\n')

test('the addon exports its two entry points alone', { skip: linux }, (t) => {
  const names = lines('nm', '-D', '--defined-only', addon).map((line) => line.split(' ').at(-1))
  t.strictSame(names.sort(), ['napi_register_module_v1', 'node_api_module_get_api_version_v1'])
  t.end()
})

test('the addon needs nothing but the C library, in a version of 2021 or older', { skip: linux }, (t) => {
  const needed = lines('readelf', '-d', addon).flatMap((line) => /NEEDED.*\[(.+?)\]/.exec(line)?.[1] ?? [])
  for (const name of needed) t.match(name, /^(libc|libm|libpthread|libdl|libgcc_s|ld-linux.*)\.so/)
  const symbols = lines('readelf', '--dyn-syms', '-W', addon).join('\n')
  for (const [, minor] of symbols.matchAll(/GLIBC_2\.(\d+)/g)) t.ok(Number(minor) <= 34, `GLIBC_2.${minor}`)
  t.notMatch(symbols, /GLIBCXX_/)
  t.end()
})

test('the addon stays mapped when the worker that loaded it ends', { skip: linux }, (t) => {
  t.match(lines('readelf', '-d', addon).join('\n'), /NODELETE/)
  t.end()
})

test('the tarball holds what running and compiling need, and nothing of the tests', (t) => {
  const [packed] = JSON.parse(
    execFileSync('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'], {
      cwd: root,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    }),
  ) as [{ files: { path: string }[] }]
  const paths = packed.files.map(({ path }) => path)
  const onCpu = join('cuda', 'host') // for tests alone
  const tracked = ['binding', 'core', 'cpu', 'cuda'].flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
      .map((name) => join(folder, name))
      .filter((path) => statSync(join(root, path)).isFile() && !path.startsWith(onCpu)),
  )
  const needed = [...tracked, 'CMakeLists.txt', 'LICENSE', 'README.md', 'CHANGELOG.md', 'scripts/install.cjs']
  needed.push('dist/index.js', 'dist/index.d.ts', 'dist/cli/main.js', 'presets/tiny.json', 'vectors/pytorch.json')
  for (const name of ['README.md', 'config.json', 'hash.json', 'model.safetensors'])
    needed.push(join('models', 'sudoku-4x4', name))
  t.strictSame(
    needed.filter((path) => !paths.includes(path)),
    [],
  )
  t.strictSame(
    paths.filter((path) => /^(test|bench|build|lib|docs|node_modules|cuda\/host)\//.test(path)),
    [],
  )
  t.end()
})

test('the lockfile names every platform of every optional dependency and no registry', (t) => {
  // npm writes only what it could fetch; where one is missing, `npm ci` refuses the lockfile.
  const text = readFileSync(join(root, 'package-lock.json'), 'utf8')
  t.notMatch(text, /"resolved"/)
  const { packages } = JSON.parse(text) as {
    packages: Record<string, { optionalDependencies?: Record<string, string> }>
  }
  for (const [path, { optionalDependencies = {} }] of Object.entries(packages)) {
    const folder = path === '' ? '' : `${path}/`
    for (const name of Object.keys(optionalDependencies)) {
      t.ok(`${folder}node_modules/${name}` in packages || `node_modules/${name}` in packages, `${path}: ${name}`)
    }
  }
  t.end()
})

test('the lockfile of the benchmark beside other runtimes pins every package by its hash and names no registry', (t) => {
  const text = readFileSync(join(root, 'bench', 'peers', 'package-lock.json'), 'utf8')
  t.notMatch(text, /"resolved"/)
  const { packages } = JSON.parse(text) as { packages: Record<string, { integrity?: string }> }
  const fetched = Object.entries(packages).filter(([path]) => path !== '')
  t.ok('node_modules/onnxruntime-node' in packages)
  for (const [path, { integrity }] of fetched) t.match(integrity, /^sha512-/, path)
  t.end()
})

const long = process.env.HRM_TEST_LONG === '1' ? false : 'part of npm run test:long'

test(
  'the tarball of a clean clone installs and solves without compiler, cmake and python',
  { skip: long, timeout: 3_600_000 },
  (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'hrm-packaging-'))
    t.teardown(() => rmSync(folder, { recursive: true }))
    const clone = join(folder, 'clone')
    execFileSync('git', ['clone', '--quiet', '--depth', '1', `file://${root}`, clone])
    execFileSync('npm', ['ci'], { cwd: clone, stdio: 'ignore' })
    execFileSync('npm', ['pack', '--pack-destination', folder], { cwd: clone, stdio: 'ignore' })
    const [bin, home] = [join(folder, 'bin'), join(folder, 'home')]
    mkdirSync(bin)
    mkdirSync(home)
    for (const tool of ['node', 'npm', 'sh', 'env', 'tar']) {
      symlinkSync(
        execFileSync('sh', ['-c', `readlink -f "$(command -v ${tool})"`], { encoding: 'utf8' }).trim(),
        join(bin, tool),
      )
    }
    writeFileSync(join(folder, 'package.json'), '{ "private": true }')
    const script = `
    const { HRM } = require('hrm-native')
    HRM.create({ preset: 'tiny', vocabSize: 6, seqLen: 16 }, { seed: 0 })
      .then((model) => model.solve(new Array(16).fill(1), { maxSegments: 1 }))
      .then(({ tokens }) => console.log(tokens.length))`
    const env = { PATH: bin, HOME: home }
    const tarball = join(folder, `${manifest.name}-${manifest.version}.tgz`)
    const install = spawnSync('npm', ['install', '--ignore-scripts', tarball], { cwd: folder, env, encoding: 'utf8' })
    t.equal(install.status, 0, install.stderr)
    const solve = spawnSync('node', ['-e', script], { cwd: folder, env, encoding: 'utf8' })
    t.equal(solve.stdout, '16\n', solve.stderr)

    const installed = join(folder, 'node_modules', manifest.name)
    t.ok(statSync(join(installed, 'prebuilds')).isDirectory())
    rmSync(join(installed, 'prebuilds'), { recursive: true })
    const missing = spawnSync('node', ['-e', script], { cwd: folder, env, encoding: 'utf8' })
    t.match(missing.stderr, /ERR_HRM_NO_BINARY/)
    t.match(missing.stderr, /npm install-scripts approve hrm-native && npm rebuild hrm-native/)
    const compiled = spawnSync(process.execPath, ['scripts/install.cjs'], { cwd: installed, encoding: 'utf8' })
    t.equal(compiled.status, 0, compiled.stderr)
    t.equal(spawnSync('node', ['-e', script], { cwd: folder, env, encoding: 'utf8' }).stdout, '16\n')
    t.end()
  },
)
