// SIGKILL at any moment of a training that saves all the time.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { performance } from 'node:perf_hooks'
import { test, type Test } from 'tap'
import { openCheckpoint, stateHash } from '#dist/checkpoint.js'
import { HRM, type TrainOptions } from '#dist/index.js'
import { RandomStream } from '#dist/random.js'
import { figure, long } from '../reliability/figures.js'
import { recipe, tiny, tinyDataset } from '../facade/fixtures.js'

const kills = long ? 2000 : 100
/** The short form ends earlier on a slow machine. */
const limitMs = long ? Infinity : 30_000
/** Steps of one run, which is killed until it is done, and between its saves: about 50 ms. */
const steps = 240
const everySteps = 20

const options = (dir: string): TrainOptions => ({
  ...recipe,
  epochs: steps / 3,
  ema: 0.9,
  evalEverySteps: 50,
  checkpoint: { dir, everySteps, keep: 2 },
  resume: 'auto',
})

/** Trains in a process of its own. */
function train(data: string, dir: string) {
  const script = `
    import { HRM } from '#dist/model.js'
    import { Dataset } from '#dist/dataset.js'
    const model = await HRM.create(${JSON.stringify(tiny)}, { threads: 1 })
    const data = await Dataset.open(${JSON.stringify(data)})
    for await (const { type, step } of model.train(data, ${JSON.stringify(options(dir))})) console.log(type, step)
    process.exit(0)`
  return spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: ['ignore', 'pipe', 'inherit'] })
}

/** What the kills of a run folder came to. */
interface Counts {
  kills: number
  read: number
  unreadable: number
  mostLost: number
  runs: number
  equal: number
}

/** Kills runs in a folder, one after the other, until there are enough kills; the last run ends by itself. */
async function killRuns(t: Test, data: string, dir: string, seed: number, kills: number, expected: string) {
  const random = new RandomStream(seed, 'subsample', 0)
  const begin = performance.now()
  const counts: Counts = { kills: 0, read: 0, unreadable: 0, mostLost: 0, runs: 0, equal: 0 }
  /** Step of the checkpoint that the next process must go on from. */
  let from = 0
  for (let enough = false; !enough;) {
    const child = train(data, dir)
    const closed = once(child, 'close')
    const last = counts.kills >= kills || performance.now() - begin > limitMs
    let timer: NodeJS.Timeout | undefined
    const killWithin = (ms: number) => {
      if (!last) timer ??= setTimeout(() => child.kill('SIGKILL'), random.nextBelow(ms))
    }
    // One in four while it starts and resumes, the others a while after a step, or in the saves between.
    const early = random.nextBelow(4) === 0
    if (early) killWithin(200)
    const killStep = from + random.nextBelow(2 * everySteps + 1)
    let step = from
    let saved = from
    for await (const line of createInterface({ input: child.stdout })) {
      const [type, at] = line.split(' ')
      step = Number(at)
      if (type === 'start' && step !== from) t.fail(`goes on from step ${step}, not from ${from}`)
      if (type === 'checkpoint') saved = step
      if (step >= killStep) killWithin(60)
    }
    const [code, signal] = (await closed) as [number | null, string | null]
    clearTimeout(timer)
    if (signal === 'SIGKILL') {
      counts.kills++
      from = 0
      const names = existsSync(dir) ? readdirSync(dir).filter((name) => /^(step_|latest$|best$)/.test(name)) : []
      for (const name of names) {
        try {
          const { trainer } = await openCheckpoint(join(dir, name))
          counts.read++
          if (name === 'latest') from = trainer!.step
        } catch (error) {
          counts.unreadable++
          t.fail(`after kill ${counts.kills}: ${(error as Error).message}`)
        }
      }
      if (from < saved) t.fail(`kill ${counts.kills}: step ${saved} was saved, step ${from} is there`)
      counts.mostLost = Math.max(counts.mostLost, step - from)
      continue
    }
    t.same([code, signal], [0, null])
    counts.runs++
    const found = await stateHash(dir)
    t.equal(found, expected, 'the same state as without kills')
    if (found === expected) counts.equal++
    t.same(
      readdirSync(dir).filter((name) => name.startsWith('.tmp-')),
      [],
    )
    const logged = readFileSync(join(dir, 'metrics.jsonl'), 'utf8').trim().split('\n')
    t.same(
      logged
        .map((line) => JSON.parse(line) as { type: string; step: number })
        .filter(({ type }) => type === 'step')
        .map((event) => event.step),
      Array.from({ length: steps }, (_, index) => index + 1),
    )
    rmSync(dir, { recursive: true })
    from = 0
    enough = last
  }
  return counts
}

test('a run killed at any moment loses an interval at most, and resumes exactly', { timeout: 7_200_000 }, async (t) => {
  const data = await tinyDataset(t)
  const whole = join(t.testdirName, 'whole')
  await using model = await HRM.create(tiny)
  await model.train(data, { ...options(whole), checkpoint: { dir: whole } }).done()
  const expected = await stateHash(whole)
  const begin = performance.now()
  const folders = long ? ['a', 'b', 'c', 'd'] : ['a', 'b']
  const each = await Promise.all(
    folders.map((name, seed) =>
      killRuns(t, data.dir, join(t.testdirName, name), seed, kills / folders.length, expected),
    ),
  )
  const seconds = Math.round((performance.now() - begin) / 1000)
  const sum = (key: keyof Counts) => each.reduce((total, counts) => total + counts[key], 0)
  const mostLost = Math.max(...each.map((counts) => counts.mostLost))
  t.ok(sum('kills') >= (long ? kills : 10), `${sum('kills')} kills`)
  t.equal(sum('unreadable'), 0)
  t.ok(mostLost <= everySteps, `${mostLost} steps lost, of ${everySteps} between saves`)
  figure(t, 'kill', {
    kills: sum('kills'),
    checkpoints_read: sum('read'),
    unreadable: sum('unreadable'),
    steps_between_saves: everySteps,
    most_steps_lost: mostLost,
    runs: sum('runs'),
    equal_states: sum('equal'),
    seconds,
  })
})
