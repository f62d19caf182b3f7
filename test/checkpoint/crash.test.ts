// Power failures: every state of the disk that the calls of real saves allow must hold a checkpoint, and all of its log.
import { mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'tap'
import { openCheckpoint } from '#dist/checkpoint.js'
import { RandomStream } from '#dist/random.js'
import { readPointer } from '#dist/run-folder.js'
import { figure, long } from '../reliability/figures.js'
import { recipe, tiny, tinyDataset } from '../facade/fixtures.js'
import { Journal, stateDigest, writeState } from './crash-states.js'
import { trace, withoutStrace } from './system-calls.js'

const skip = withoutStrace()
const least = long ? 800 : 100

test('after a power failure the old or the new checkpoint loads', { skip, timeout: 3_600_000 }, async (t) => {
  const data = await tinyDataset(t)
  const disk = join(t.testdirName, 'disk')
  mkdirSync(disk)
  const options = {
    ...recipe,
    maxSteps: 4,
    evalEverySteps: 2,
    checkpoint: { dir: join(disk, 'run'), everySteps: 1, keep: 1 },
  }
  const script = `
    import { Dataset, HRM } from '#dist/index.js'
    const model = await HRM.create(${JSON.stringify({ ...tiny, hiddenSize: 4 })}, { threads: 1 })
    const data = await Dataset.open(${JSON.stringify(data.dir)})
    await model.train(data, ${JSON.stringify(options)}).done()`
  const { calls, status } = await trace(script, { bytes: true })
  t.equal(status, 0)
  const journal = new Journal(calls, disk)
  // After the last change all is on the disk, also where nothing is kept that is not forced.
  const end = journal.crash(journal.changes.length, () => 'lost')
  const whole = join(t.testdirName, 'whole')
  writeState(end, whole)
  t.equal((await openCheckpoint(join(whole, 'run'))).trainer?.step, 4)

  /** Saves that have returned before each change: the force after the rename of `latest` is their last. */
  const saved: number[] = []
  let pointed = false
  for (const { name, to = '', path } of journal.calls) {
    const last = saved.at(-1) ?? 0
    saved.push(pointed && name === 'fsync' && path === join(disk, 'run') ? last + 1 : last)
    if (name === 'fsync') pointed = false
    if (name === 'rename' && to.endsWith('/latest')) pointed = true
  }
  t.equal(saved.at(-1), 4)

  const random = new RandomStream(7, 'subsample', 0)
  const share = () => random.nextBelow(1 << 16) / (1 << 16)
  const seen = new Set<string>()
  const bad: string[] = []
  const found = [0, 0, 0, 0, 0]
  for (let draws = 0; seen.size < least; draws++) {
    if (draws > 100 * least) throw new Error(`only ${seen.size} states`)
    const count = 1 + random.nextBelow(journal.changes.length)
    const losses = share()
    const state = journal.crash(count, () => (share() < losses ? 'lost' : share() < 0.5 ? share() : 'kept'))
    const digest = stateDigest(state)
    if (seen.has(digest)) continue
    seen.add(digest)
    const path = join(t.testdirName, 'state')
    writeState(state, path)
    try {
      const done = saved[count - 1]!
      const latest = await readPointer(join(path, 'run'), 'latest')
      const step = latest === undefined ? 0 : (await openCheckpoint(latest)).trainer!.step
      if (step !== done && step !== done + 1) throw new Error(`step ${step} after ${done} saves`)
      found[step]!++
      // None that has its name is damaged, and the log has every step up to the checkpoint.
      const names = step === 0 ? [] : readdirSync(join(path, 'run'))
      for (const name of names) if (/^(step_|best)/.test(name)) await openCheckpoint(join(path, 'run', name))
      const log = step === 0 ? '' : readFileSync(join(path, 'run', 'metrics.jsonl'), 'utf8')
      for (let logged = 1; logged <= step; logged++)
        if (!log.includes(`{"type":"step","step":${logged},`)) throw new Error(`no metrics of step ${logged}`)
    } catch (error) {
      bad.push(`after ${count} changes: ${(error as Error).message}`)
    }
    rmSync(path, { recursive: true })
  }
  t.same(bad, [])
  t.ok(
    found.every((times) => times > 0),
    `states by step: ${found.join(', ')}`,
  )
  figure(t, 'crash-states', { states: seen.size, changes: journal.changes.length, bad: bad.length })
})
