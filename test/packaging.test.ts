// What users get: the tarball's content, the addon's dependencies, and an installation without a compiler.
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
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { gzipSync } from 'node:zlib'
import tap, { type Test, test } from 'tap'

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

/** That a binary needs no library but the C library, in a version of 2021 or older. */
function checkNeeds(t: Test, binary: string): void {
  const needed = lines('objdump', '-p', binary).flatMap((line) => /NEEDED\s+(\S+)/.exec(line)?.[1] ?? [])
  t.ok(needed.includes('libc.so.6'))
  for (const name of needed) t.match(name, /^(libc|libm|libpthread|libdl|libgcc_s|ld-linux.*)\.so/)
  const symbols = lines('objdump', '-T', binary).join('\n')
  for (const [, minor] of symbols.matchAll(/GLIBC_2\.(\d+)/g)) t.ok(Number(minor) <= 34, `GLIBC_2.${minor}`)
  t.notMatch(symbols, /GLIBCXX_/)
}

test('the addon needs nothing but the C library, in a version of 2021 or older', { skip: linux }, (t) => {
  checkNeeds(t, addon)
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
  needed.push(
    'dist/index.js',
    'dist/index.d.ts',
    'dist/cli/main.js',
    'dist/report/page.html',
    'presets/tiny.json',
    'vectors/pytorch.json',
  )
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

// --- the tarball ------------------------------------------------------------------------------------------------

const folder = mkdtempSync(join(tmpdir(), 'hrm-packaging-'))
tap.teardown(() => rmSync(folder, { recursive: true }))
const npm = join(
  dirname(execFileSync('readlink', ['-f', findProgram('npm')], { encoding: 'utf8' }).trim()),
  'npm-cli.js',
)

/** Where the shell finds a program. */
function findProgram(name: string): string {
  return execFileSync('sh', ['-c', `command -v ${name}`], { encoding: 'utf8' }).trim()
}

/** A folder to install into, with an environment that finds this Node and nothing else. */
function emptyProject(name: string, node: string) {
  const project = join(folder, name)
  const bin = join(project, 'bin')
  mkdirSync(bin, { recursive: true })
  symlinkSync(node, join(bin, 'node'))
  writeFileSync(join(project, 'package.json'), '{ "private": true }')
  const env = { ...process.env, PATH: bin }
  const run = (...words: string[]) => spawnSync(node, words, { cwd: project, env, encoding: 'utf8' })
  return { project, run, install: (...words: string[]) => run(npm, 'install', '--no-audit', ...words) }
}

const script = `
  const { HRM } = require('hrm-native')
  HRM.create({ preset: 'tiny', vocabSize: 6, seqLen: 16 }, { seed: 0, device: 'cpu' })
    .then((model) => model.solve(new Array(16).fill(1), { maxSegments: 1 }))
    .then(({ tokens }) => console.log(tokens.length))`

const tarball = join(folder, `${manifest.name}-${manifest.version}.tgz`)

test(
  'npm pack makes the prebuilt binary, which is small and needs nothing new of the system',
  { skip: linux, timeout: 1_800_000 },
  (t) => {
    // Compiles the kernels for every GPU, which takes minutes the first time.
    const pack = spawnSync('npm', ['pack', '--silent', '--pack-destination', folder], { cwd: root, encoding: 'utf8' })
    t.equal(pack.status, 0, pack.stderr.slice(-2000))
    execFileSync('tar', ['-xzf', tarball, '-C', folder])
    const prebuilds = join(folder, 'package', 'prebuilds', `linux-${process.arch}`)
    t.strictSame(readdirSync(prebuilds), ['hrm-native.glibc.node'])
    const binary = join(prebuilds, 'hrm-native.glibc.node')
    checkNeeds(t, binary)

    const gzipped = (path: string) => gzipSync(readFileSync(path), { level: 9 }).length
    const withoutKernels = join(folder, 'cpu.node')
    execFileSync('objcopy', ['-R', '.nv_fatbin', '-R', '.nvFatBinSegment', binary, withoutKernels])
    const megabytes = (bytes: number) => Number((bytes / 1e6).toFixed(2))
    const [whole, cpu, tar] = [gzipped(binary), gzipped(withoutKernels), statSync(tarball).size].map(megabytes)
    t.comment(
      `tarball ${tar} MB, of which the binary ${whole} MB, of which kernels for GPUs ${(whole! - cpu!).toFixed(2)} MB`,
    )
    t.ok(cpu! < 3, `the binary without kernels for GPUs: ${cpu} MB`)
    t.ok(tar! < 9, `the tarball: ${tar} MB`)
    t.end()
  },
)

for (const version of ['20', '22', '24']) {
  test(
    `the tarball installs and solves where there is only Node ${version}`,
    { skip: linux, timeout: 600_000 },
    (t) => {
      const nodes = join(folder, `node-${version}`)
      mkdirSync(nodes)
      const fetched = spawnSync('npm', ['install', '--prefix', nodes, `node-linux-${process.arch}@${version}`], {
        encoding: 'utf8',
      })
      t.equal(fetched.status, 0, fetched.stderr)
      const node = join(nodes, 'node_modules', `node-linux-${process.arch}`, 'bin', 'node')
      const { run, install } = emptyProject(`project-${version}`, node)
      t.match(run('--version').stdout, new RegExp(`^v${version}\\.`))
      const installed = install('--ignore-scripts', tarball)
      t.equal(installed.status, 0, installed.stderr)
      const solved = run('-e', script)
      t.equal(solved.stdout, '16\n', solved.stderr)
      const demo = run(join('node_modules', 'hrm-native', 'dist', 'cli', 'main.js'), 'doctor')
      t.equal(demo.status, 0, demo.stderr)
      t.end()
    },
  )
}

test(
  'the install script takes the prebuilt binary; without one and a compiler the import says what to do',
  { skip: linux, timeout: 600_000 },
  (t) => {
    const { project, run, install } = emptyProject('scripts', process.execPath)
    const installed = install('--script-shell=/bin/sh', tarball)
    t.equal(installed.status, 0, installed.stderr)
    t.equal(run('-e', script).stdout, '16\n')
    const own = join(project, 'node_modules', manifest.name)
    rmSync(join(own, 'prebuilds'), { recursive: true })
    const missing = run('-e', script)
    t.match(missing.stderr, /ERR_HRM_NO_BINARY/)
    t.match(missing.stderr, /npm install-scripts approve hrm-native && npm rebuild hrm-native/)
    const compiling = spawnSync(process.execPath, ['scripts/install.cjs'], {
      cwd: own,
      env: { PATH: join(project, 'bin') },
      encoding: 'utf8',
    })
    t.not(compiling.status, 0)
    t.match(compiling.stderr, /compiling needs cmake >= 3.25 and a C\+\+20 compiler/)
    t.end()
  },
)

const long = process.env.HRM_TEST_LONG === '1' ? false : 'part of npm run test:long'

test('without a prebuilt binary the install script compiles one', { skip: long, timeout: 1_800_000 }, (t) => {
  const { project, run, install } = emptyProject('compiled', process.execPath)
  t.equal(install('--ignore-scripts', tarball).status, 0)
  const own = join(project, 'node_modules', manifest.name)
  rmSync(join(own, 'prebuilds'), { recursive: true })
  const compiled = spawnSync(process.execPath, ['scripts/install.cjs'], {
    cwd: own,
    env: { ...process.env, HRM_CUDA: 'OFF' },
    encoding: 'utf8',
  })
  t.equal(compiled.status, 0, compiled.stderr)
  t.equal(run('-e', script).stdout, '16\n')
  t.end()
})
