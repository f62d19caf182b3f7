import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { test } from 'tap'
import { stateHash } from '#dist/checkpoint.js'
import { HRM, type TrainOptions } from '#dist/index.js'
import { recipe, tiny, tinyDataset } from '../facade/fixtures.js'

const kills = process.env['HRM_TEST_LONG'] ? 100 : 10
const steps = kills * 8

const options = (dir: string): TrainOptions => ({
  ...recipe,
  epochs: steps,
  maxSteps: steps,
  ema: 0.9,
  evalEverySteps: 50,
  checkpoint: { dir, everySteps: 1, keep: 2 },
  resume: 'auto',
})

/** Trains in a process of its own, which saves after every step. */
function train(data: string, dir: string) {
  const script = `
    import { Dataset, HRM } from '#dist/index.js'
    const model = await HRM.create(${JSON.stringify(tiny)}, { threads: 1 })
    const data = await Dataset.open(${JSON.stringify(data)})
    const run = model.train(data, ${JSON.stringify(options(dir))})
    for await (const event of run) console.log(event.type, event.step)
    process.exit(0)`
  return spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: ['ignore', 'pipe', 'inherit'] })
}

test('a run killed at any moment leaves a readable checkpoint and resumes exactly', { timeout: 600_000 }, async (t) => {
  const data = await tinyDataset(t)
  const dir = join(t.testdirName, 'run')
  let from = 0
  let killed = 0
  while (killed < kills) {
    const child = train(data.dir, dir)
    const exited = once(child, 'exit')
    let saved = 0
    for await (const chunk of child.stdout!) {
      const start = /start (\d+)/.exec(String(chunk))
      if (start) {
        t.ok(Number(start[1]) >= from, `resumes from step ${start[1]}, not before ${from}`)
        from = Number(start[1])
      }
      saved += String(chunk).split('checkpoint').length - 1
      if (saved < 2) continue
      // At another moment of the steps and saves that follow.
      await sleep((killed * 7) % 31)
      child.kill('SIGKILL')
      break
    }
    const [code, signal] = (await exited) as [number | null, string | null]
    if (code === 0) break
    t.equal(signal, 'SIGKILL')
    killed++
    const model = await HRM.load(dir)
    t.ok(model.numParameters > 0, 'latest is readable')
    model.dispose()
  }
  t.ok(killed >= kills / 2, `${killed} kills`)
  const last = train(data.dir, dir)
  t.same(await once(last, 'exit'), [0, null])
  t.same(
    readdirSync(dir).filter((name) => name.startsWith('.tmp')),
    [],
  )
  const whole = join(t.testdirName, 'whole')
  await using model = await HRM.create(tiny)
  await model.train(data, { ...options(whole), checkpoint: { dir: whole } }).done()
  t.equal(await stateHash(dir), await stateHash(whole), 'the same state as without kills')
  const logged = readFileSync(join(dir, 'metrics.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { type: string; step: number })
  t.same(
    logged.filter(({ type }) => type === 'step').map(({ step }) => step),
    Array.from({ length: steps }, (_, i) => i + 1),
  )
})
