// Compiles the addon and the op-table executable with ThreadSanitizer, and with AddressSanitizer and UBSan, and runs the op
// table and every test that computes under them. Whatever a sanitizer says in any process counts as a report; the last
// line is "N passed, N failed, N skipped". Exits with 1 at a report, a failed test or a failed build.
// usage: npm run check:sanitizers -- [thread|address] [part of the name of a program]
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'

const root = dirname(import.meta.dirname)
const [only, filter = ''] = process.argv.slice(2)

const sanitizers = {
  thread: {
    flags: 'thread',
    library: 'libtsan.so',
    // Node is not instrumented, so that a race of its own would be half seen; its locks and threads still count as order.
    options: { TSAN_OPTIONS: 'ignore_noninstrumented_modules=1:allocator_may_return_null=1' },
    report: /^WARNING: ThreadSanitizer|ERROR: ThreadSanitizer/gm,
    // Threads share work alike on every instruction set and at every size: two odd sizes on the best one. All take hours.
    optable: () => [
      ['test', '--filter', 'B5T6'],
      ['test', '--filter', 'B2T29'],
      ['int8', '--filter', 'B5T6'],
    ],
  },
  address: {
    flags: 'address,undefined',
    library: 'libasan.so',
    options: {
      // Node ends with memory that is still reachable, on purpose.
      ASAN_OPTIONS: 'detect_leaks=0:allocator_may_return_null=1:strict_string_checks=1',
      UBSAN_OPTIONS: 'print_stacktrace=1',
    },
    report: /ERROR: AddressSanitizer|: runtime error: /g,
    optable: (backends) => [
      ...backends.map((backend) => ['test', '--backend', backend]),
      ...['int8', 'grad', 'model-grad'].map((mode) => [mode]),
      ['golden', join('test', 'golden', 'ops')],
    ],
  },
}

/** Tests of what computes: of the addon and all that drives it. The op table is run without its test file. */
const tested = ['binding', 'facade', 'checkpoint', 'parity', 'reliability']
/** Of them not those that weigh memory, which sanitizers change, trace system calls, measure time, or load another addon. */
const unsuited = /solve-memory|reliability\/(memory|faults|page|stop)|checkpoint\/(faults|crash|kill|save-order)/
/** Longest that one program may take, in milliseconds. */
const limit = 3_600_000

/** Runs a program at low priority; resolves to its last lines, its end and the seconds it took. */
async function run(command, words, env = {}) {
  const begin = performance.now()
  const child = spawn('nice', ['-n', '10', command, ...words], {
    cwd: root,
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: limit,
    killSignal: 'SIGKILL',
  })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (text) => (output = (output + text).slice(-1e6)))
  const [code, signal] = await once(child, 'close')
  return { output, ended: signal ?? code, seconds: (performance.now() - begin) / 1000 }
}

function compilerFile(name) {
  return spawnSync(process.env.CXX ?? 'g++', [`-print-file-name=${name}`], { encoding: 'utf8' }).stdout.trim()
}

const manifest = createRequire(import.meta.url).resolve('cmake-js/package.json')
const cmake = join(dirname(manifest), JSON.parse(readFileSync(manifest, 'utf8')).bin['cmake-js'])
const totals = { passed: 0, failed: 0 }
const values = {}

async function check(name, { flags, library, options, report, optable }) {
  const folder = join(root, `build-${name}`)
  const built = await run(
    process.execPath,
    [cmake, 'compile', '-O', join(folder, 'build'), `--CDHRM_SANITIZE=${flags}`],
    {
      CMAKE_BUILD_PARALLEL_LEVEL: '2',
    },
  )
  console.log(`${built.ended === 0 ? 'ok' : 'FAIL'} ${name}: build (${built.seconds.toFixed(0)} s)`)
  if (built.ended !== 0) {
    console.log(built.output)
    totals.failed++
    return
  }

  const executable = join(folder, 'build', 'Release', 'hrm_optable')
  const { output: backends } = await run(executable, ['backends'], options)
  const programs = [
    ...tested.flatMap((part) =>
      readdirSync(join(root, 'build-test', 'test', part))
        .filter((file) => file.endsWith('.test.js') && !unsuited.test(`${part}/${file}`))
        .map((file) => ({
          title: `${part}/${file}`,
          command: process.execPath,
          words: [join('build-test', 'test', part, file)],
          env: { LD_PRELOAD: compilerFile(library), HRM_NATIVE_PREBUILD: folder, TAP_TIMEOUT: '3600' },
        })),
    ),
    ...optable(backends.trim().split('\n')).map((words) => ({
      title: `op table: ${words.join(' ')}`,
      command: executable,
      words,
      env: {},
    })),
  ].filter(({ title }) => title.includes(filter))

  let reports = 0
  let seconds = 0
  for (const { title, command, words, env } of programs) {
    const logs = mkdtempSync(join(tmpdir(), 'hrm-sanitizer-'))
    try {
      const logged = Object.fromEntries(
        Object.entries(options).map(([key, value]) => [key, `${value}:log_path=${join(logs, 'log')}`]),
      )
      const { output, ended, seconds: taken } = await run(command, words, { ...logged, ...env })
      seconds += taken
      const said = readdirSync(logs).map((file) => readFileSync(join(logs, file), 'utf8'))
      const found = said.reduce((sum, text) => sum + (text.match(report)?.length ?? 0), 0)
      reports += found
      const good = found === 0 && ended === 0
      totals[good ? 'passed' : 'failed']++
      console.log(
        `${good ? 'ok' : 'FAIL'} ${name}: ${title}, ${found} reports, ended with ${ended} (${taken.toFixed(0)} s)`,
      )
      if (found > 0) console.log(said.join('\n'))
      if (ended !== 0) console.log(output.match(/^ *not ok.*(\n.*){12}|^FAIL.*/gm)?.join('\n') ?? output.slice(-2000))
    } finally {
      rmSync(logs, { recursive: true })
    }
  }
  values[`${name}: programs`] = programs.length
  values[`${name}: reports`] = reports
  values[`${name}: seconds`] = Math.round(seconds)
}

for (const [name, sanitizer] of Object.entries(sanitizers)) {
  if (only === undefined || only === name) await check(name, sanitizer)
}
const figures = process.env.HRM_FIGURES
if (figures !== undefined) {
  mkdirSync(figures, { recursive: true })
  writeFileSync(join(figures, 'sanitizers.json'), `${JSON.stringify({ id: 'sanitizers', form: 'long', values })}\n`)
}
console.log(`${totals.passed} passed, ${totals.failed} failed, 0 skipped`)
process.exitCode = totals.failed === 0 ? 0 : 1
