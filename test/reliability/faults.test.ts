import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { test } from 'tap'
import { batchOf, config, options, segmentOf, trainOptions } from '../binding/small-engine.js'
import { addonPath, complaint, type Kind, kinds, loadFaultyAddon, smallRun } from './faults-addon.js'
import { figure, long } from './figures.js'

const skip = existsSync(addonPath) ? false : 'build/faults is built in a checkout on Linux'
const folder = mkdtempSync(join(tmpdir(), 'hrm-faults-'))
process.on('exit', () => rmSync(folder, { recursive: true }))

/** What `work` fails with; undefined if it does not. */
async function failureOf(work: () => unknown): Promise<unknown> {
  try {
    await work()
    return undefined
  } catch (error) {
    return error ?? new Error('an empty rejection')
  }
}

/** Every function that JavaScript can call, each ready to be called again and again. */
async function entryPoints(addon: ReturnType<typeof loadFaultyAddon>): Promise<[string, () => unknown][]> {
  const engine = new addon.Engine(config, options)
  const training = new addon.Engine(config, options)
  const reference = new addon.Engine(config, { ...options, isa: 'reference' })
  await engine.init(1)
  await training.init(1)
  await training.startTraining(trainOptions(2), 0)
  const session = await engine.openSession(2)
  const file = join(folder, 'file')
  writeFileSync(file, 'bytes')
  const weight = await engine.read('inner.H_init')
  const ready = await Promise.all(Array.from({ length: 100 }, () => engine.openSession(1)))
  const engines = Array.from({ length: 100 }, () => new addon.Engine(config, options))
  const { debug } = addon
  return [
    ['new Engine', () => new addon.Engine(config, options).dispose()],
    ['description', () => engine.description],
    ['numParameters', () => engine.numParameters],
    ['bytes', () => engine.bytes],
    ['init', () => engine.init(1)],
    ['modelTensors', () => engine.modelTensors()],
    ['trainerTensors', () => training.trainerTensors()],
    ['tensorInfo', () => engine.tensorInfo('inner.H_init')],
    ['read', () => engine.read('inner.H_init')],
    ['write', () => engine.write('inner.H_init', weight)],
    ['endTraining', () => engine.endTraining()],
    ['startTraining', () => engine.endTraining().then(() => engine.startTraining(trainOptions(2), 0))],
    ['trainStep', () => training.trainStep(batchOf(2))],
    [
      'trainStep with draws',
      () => training.trainStep(batchOf(2), { u: new Float32Array(2), minSteps: new Int32Array(2) }),
    ],
    ['swapEma', () => training.swapEma()],
    ['openSession', () => engine.openSession(2)],
    ['segment', () => session.segment({ ...segmentOf(2), labels: batchOf(2).labels })],
    ['session.read', () => session.read('last.q_logits')],
    ['session.close', () => ready.pop()!.close()],
    ['dispose', () => engines.pop()!.dispose()],
    ['startStages', () => debug.startStages(reference)],
    ['takeStages', () => debug.takeStages(reference)],
    ['learningRate', () => debug.learningRate(1, 1, 1, 1, 1)],
    ['truncatedNormal', () => debug.truncatedNormal(1, 1, 9)],
    ['philox', () => debug.philox([0, 0], [0, 0, 0, 0])],
    ['timedSteps', () => debug.timedSteps()],
    ['timeStep', () => debug.timeStep(engine, 'block_forward', 1, 1)],
    ['peakFlops', () => debug.peakFlops(1, '', 1)],
    ['cpuInfo', () => addon.cpuInfo()],
    ['mapFile', () => addon.mapFile(file)],
    ['lockFile', () => addon.lockFile(join(folder, 'lock'))!.release()],
  ]
}

test('whatever C++ throws at an entry point arrives as a JavaScript error', { skip }, async (t) => {
  const addon = loadFaultyAddon()
  const { faults } = addon
  const planted: Record<Kind, number> = { bad_alloc: 0, runtime_error: 0, int: 0 }
  const wrong: string[] = []
  const points = await entryPoints(addon)
  for (const [name, call] of points) {
    for (const kind of kinds) {
      faults.arm('call', kind, 1, false)
      const failure = await failureOf(call)
      t.equal(faults.disarm().fired, 1, name)
      const why = complaint(failure, kind)
      if (why !== undefined) wrong.push(`${name}, ${kind} on entry: ${why}`)
      planted[kind]++
      // The lock's `release` is an entry point too, and what the first call of two threw at has not been undone.
      for (let n = 1; ; n++) {
        faults.arm('memory', kind, n, false)
        const failed = await failureOf(call)
        const { fired } = faults.disarm()
        if (fired === 0) {
          t.equal(failed, undefined, `${name} without a failure`)
          break
        }
        // Nothing is to be seen of a failure that is made up for, such as a thread less in the pool.
        if (failed !== undefined) {
          const why = complaint(failed, kind)
          if (why !== undefined) wrong.push(`${name}, ${kind} at allocation ${n}: ${why}`)
        }
        planted[kind]++
      }
      t.equal(await failureOf(call), undefined, `${name} works afterwards`)
    }
  }
  t.strictSame(wrong.slice(0, 20), [])
  figure(t, 'exceptions', { 'entry points': points.length, ...planted, 'not arrived': wrong.length })
})

test('what a task of the compute pool throws arrives as a JavaScript error', { skip }, async (t) => {
  const addon = loadFaultyAddon()
  const { faults } = addon
  const usual = await smallRun(addon, 2)
  let planted = 0
  let tasks = 0
  const wrong: string[] = []
  for (const kind of kinds) {
    for (let n = 1; ; n += long ? 1 : 7) {
      faults.arm('task', kind, n, false)
      const failure = await failureOf(() => smallRun(addon, 2))
      const { fired, calls } = faults.disarm()
      if (fired === 0) {
        tasks = calls
        break
      }
      planted++
      const why = complaint(failure, kind)
      if (why !== undefined) wrong.push(`${kind} in task ${n}: ${why}`)
    }
    t.equal(await smallRun(addon, 2), usual, `the usual bytes after every ${kind}`)
  }
  t.ok(tasks > 10, `${tasks} tasks in a run`)
  t.ok(planted > 3)
  t.strictSame(wrong.slice(0, 20), [])
  figure(t, 'pool-exceptions', { 'tasks of a run': tasks, planted, 'not arrived': wrong.length })
})

test('of several failed tasks the first one is told of, whichever thread ran it', { skip }, (t) => {
  const { faults } = loadFaultyAddon()
  const wrong: string[] = []
  for (let round = 0; round < (long ? 20_000 : 500); round++) {
    const first = round % 300
    const failing = Int32Array.of(299, 300 - (300 - first) / 2, first, 299)
    const threads = 1 + (round % 4)
    try {
      faults.throwInPool(threads, 300, failing)
      wrong.push(`${first} with ${threads} threads: nothing`)
    } catch (error) {
      if ((error as Error).message !== String(first)) wrong.push(`${first} with ${threads} threads: ${String(error)}`)
    }
  }
  t.strictSame(wrong.slice(0, 20), [])
  t.doesNotThrow(() => faults.throwInPool(4, 300, new Int32Array()), 'and the next job runs')
  t.end()
})

test('an engine whose step failed goes on from the same weights and step', { skip }, async (t) => {
  const addon = loadFaultyAddon()
  const engine = new addon.Engine(config, { ...options, threads: 2 })
  await engine.init(1)
  await engine.startTraining(trainOptions(4), 0)
  const name = 'inner.lm_head.weight'
  await engine.trainStep(batchOf(4))
  const before = await engine.read(name)
  addon.faults.arm('task', 'runtime_error', 5, false)
  await t.rejects(engine.trainStep(batchOf(4)), { message: 'planted' })
  addon.faults.disarm()
  t.strictSame(await engine.read(name), before)
  t.strictSame(await engine.read('carry.halted'), new Uint8Array(4).fill(1))
  t.match(await engine.trainStep(batchOf(4)), { step: 2, nonFinite: '' })

  const session = await engine.openSession(2)
  await session.segment(segmentOf(2))
  const goOn = { ...segmentOf(2), reset: new Uint8Array(2) }
  addon.faults.arm('task', 'int', 3, false)
  await t.rejects(session.segment(goOn), { message: /no std::exception/ })
  addon.faults.disarm()
  await t.rejects(session.segment(goOn), { code: 'ERR_HRM_ARGUMENT' }, 'a broken carry is not continued')
  t.match(await session.segment(segmentOf(2)), { steps: new Int32Array([1, 1]) })
  engine.dispose()
})

interface Ended {
  status: number | null
  signal: string | null
  stdout: string
  stderr: string
}

async function run(program: string, argv: string[]): Promise<Ended> {
  const child = spawn(program, argv)
  const closed = once(child, 'close')
  const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr)])
  const [status, signal] = (await closed) as [number | null, string | null]
  return { status, signal, stdout, stderr }
}

interface Loop {
  calls: number
  failures: number
  survived: number
  problems: string[]
}

const script = fileURLToPath(new URL('faults-loop.js', import.meta.url))

for (const [threads, mode, strideOfShort] of [
  [1, 'once', 41],
  [2, 'once', 97],
  [1, 'onward', 61],
] as const) {
  const what = mode === 'once' ? 'any one allocation' : 'all allocations from any one on'
  test(`a run with ${threads} threads survives the failure of ${what}`, { skip }, async (t) => {
    const [first, stride] = long ? [1, 1] : [1, strideOfShort]
    const args = [script, first, stride, threads, mode].map(String)
    const { status, signal, stdout, stderr } = await run(process.execPath, args)
    t.match({ status, signal }, { status: 0, signal: null }, `the last allocation: ${stderr.trim().split('\n').at(-1)}`)
    const { calls, failures, survived, problems } = JSON.parse(stdout) as Loop
    t.strictSame(problems.slice(0, 20), [])
    t.ok(failures > 10, `${failures} failures`)
    figure(t, `allocations-${mode}-${threads}-threads`, {
      'allocations of a run': calls,
      'let fail': failures + survived,
      errors: failures,
      'made up for': survived,
      'other outcomes': problems.length,
    })
  })
}

test('loading the addon survives the failure of any one allocation', { skip }, (t) => {
  const load = `
    try { console.log(JSON.stringify(require(${JSON.stringify(addonPath)}).faults.loaded)) }
    catch (error) { if (!(error instanceof Error)) throw error; console.log(JSON.stringify({ failed: error.message })) }`
  let failures = 0
  let errors = 0
  let calls = 0
  for (let n = 1; ; n += long ? 1 : 3) {
    const env = { ...process.env, HRM_FAULTS_LOAD: String(n) }
    const { status, signal, stdout, stderr } = spawnSync(process.execPath, ['-e', load], { env, encoding: 'utf8' })
    t.match({ status, signal }, { status: 0, signal: null }, `allocation ${n}: ${stderr}`)
    const result = JSON.parse(stdout || '{"fired":0}') as { failed?: string; fired?: number; calls?: number }
    if (result.fired === 0) {
      calls = result.calls ?? 0
      break
    }
    failures++
    if (result.failed !== undefined) errors++
  }
  t.equal(errors, failures)
  t.ok(failures > 1, `${failures} failures`)
  figure(t, 'allocations-load', { 'allocations of loading': calls, 'let fail': failures, errors })
  t.end()
})
