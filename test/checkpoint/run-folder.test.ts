import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, lstatSync, mkdirSync, readdirSync, readlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { once } from 'node:events'
import { performance } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
import { test } from 'tap'
import { fileError, writeFolder } from '#dist/durable-folder.js'
import { HRM, HRMError } from '#dist/index.js'
import { RunFolder } from '#dist/run-folder.js'
import { figure, long } from '../reliability/figures.js'
import { recipe, rejection, tiny, tinyDataset } from '../facade/fixtures.js'

/** A process that owns a run folder; resolves once it has it. */
async function owner(dir: string): Promise<ChildProcess> {
  const script = `
    import { RunFolder } from '#dist/run-folder.js'
    await RunFolder.open(${JSON.stringify(dir)})
    console.log('locked')
    setInterval(() => {}, 1000)`
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: ['ignore', 'pipe', 'inherit'] })
  await once(child.stdout!, 'data')
  return child
}

test('a run folder has one owner, named to others, and is free after its SIGKILL', async (t) => {
  const dir = join(t.testdir(), 'run')
  const child = await owner(dir)
  t.teardown(() => child.kill('SIGKILL'))
  const error = await rejection(RunFolder.open(dir))
  t.match(error, { code: 'ERR_HRM_LOCKED', details: { pid: child.pid } })
  t.ok(error.message.includes(String(child.pid)))
  const exited = once(child, 'exit')
  child.kill('SIGKILL')
  await exited
  const folder = await RunFolder.open(dir)
  t.match(await rejection(RunFolder.open(dir)), { code: 'ERR_HRM_LOCKED', details: { pid: process.pid } })
  await folder.release()
  await (await RunFolder.open(dir)).release()
})

/** A process that tries to own each folder that it is sent, says whether it does, and lets go when told. */
class Racer {
  readonly child = spawn(
    process.execPath,
    [
      '--input-type=module',
      '-e',
      `import { RunFolder } from '#dist/run-folder.js'
      let folder
      process.on('message', async (dir) => {
        if (dir === null) {
          await folder?.release()
          folder = undefined
          return process.send('released')
        }
        try {
          folder = await RunFolder.open(dir)
          process.send('won')
        } catch (error) {
          process.send(error.code)
        }
      })
      process.send('ready')`,
    ],
    { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] },
  )

  async heard(): Promise<unknown> {
    return ((await once(this.child, 'message')) as [unknown])[0]
  }

  ask(dir: string | null): Promise<unknown> {
    const answer = this.heard()
    this.child.send(dir as string)
    return answer
  }

  async kill(): Promise<void> {
    const exited = once(this.child, 'exit')
    this.child.kill('SIGKILL')
    await exited
  }
}

test('of eight processes that want a folder at once, one gets it', async (t) => {
  const races = long ? 50 : 5
  const root = t.testdir()
  const racers = Array.from({ length: 8 }, () => new Racer())
  t.teardown(() => Promise.all(racers.map((racer) => racer.kill())))
  await Promise.all(racers.map((racer) => racer.heard()))
  let single = 0
  for (let race = 0; race < races; race++) {
    const dir = join(root, `race${race}`)
    const answers = await Promise.all(racers.map((racer) => racer.ask(dir)))
    const wins = answers.filter((answer) => answer === 'won').length
    if (wins === 1 && answers.filter((answer) => answer === 'ERR_HRM_LOCKED').length === 7) single++
    else t.fail(`race ${race}: ${answers.join(', ')}`)
    await Promise.all(racers.map((racer) => racer.ask(null)))
  }
  t.equal(single, races)
  figure(t, 'one-owner', { races, processes: racers.length, one_winner: single })
})

test('the lock of a killed owner is free at once', async (t) => {
  const dir = join(t.testdir(), 'run')
  const kills = long ? 50 : 4
  let longestMs = 0
  for (let count = 0; count < kills; count++) {
    const child = await owner(dir)
    const begin = performance.now()
    child.kill('SIGKILL')
    // Not its exit is waited for, but the lock.
    for (;;) {
      try {
        await (await RunFolder.open(dir)).release()
        break
      } catch (error) {
        if ((error as HRMError).code !== 'ERR_HRM_LOCKED') throw error
        await sleep(1)
      }
    }
    longestMs = Math.max(longestMs, performance.now() - begin)
  }
  t.ok(longestMs < 2000, `${longestMs} ms`)
  figure(t, 'lock-freed', { kills, longest_ms: Math.round(longestMs) })
})

test('training in a folder that another process owns is refused', async (t) => {
  const data = await tinyDataset(t)
  const dir = join(t.testdirName, 'run')
  const child = await owner(dir)
  t.teardown(() => child.kill('SIGKILL'))
  await using model = await HRM.create(tiny)
  t.match(await rejection(model.train(data, { ...recipe, checkpoint: { dir } }).done()), { code: 'ERR_HRM_LOCKED' })
})

test('what a killed run left half done is ignored and then deleted', async (t) => {
  const data = await tinyDataset(t)
  const dir = join(t.testdirName, 'run')
  await using model = await HRM.create(tiny)
  await model.train(data, { ...recipe, maxSteps: 2, checkpoint: { dir } }).done()
  const left = join(dir, '.tmp-step_4-0123456789ab')
  mkdirSync(left)
  writeFileSync(join(left, 'model.safetensors'), 'half')
  await using loaded = await HRM.load(dir)
  t.equal(loaded.numParameters, model.numParameters)
  t.match(await model.train(data, { ...recipe, maxSteps: 3, checkpoint: { dir }, resume: 'auto' }).done(), { step: 3 })
  t.notOk(existsSync(left))
})

test('the newest checkpoints are kept, and those that latest and best name', async (t) => {
  const dir = join(t.testdir(), 'run')
  const folder = await RunFolder.open(dir)
  const save = (step: number) => folder.save(step, async (path) => writeFileSync(join(path, 'config.json'), `${step}`))
  await folder.setBest(await save(1))
  for (const step of [2, 9, 10, 100]) {
    await save(step)
    await folder.prune(2)
  }
  const names = () =>
    readdirSync(dir)
      .filter((name) => name.startsWith('step_'))
      .sort()
  t.same(names(), ['step_1', 'step_10', 'step_100'])
  t.equal(readlinkSync(join(dir, 'latest')), 'step_100')
  t.ok(lstatSync(join(dir, 'best')).isSymbolicLink())
  await folder.setBest(join(dir, 'step_100'))
  await folder.prune(2)
  t.same(names(), ['step_10', 'step_100'])
  await save(100)
  t.same(names(), ['step_10', 'step_100', 'step_100-2'])
  await folder.release()
})

test('a save that fails leaves the old folder and no other', async (t) => {
  const dir = t.testdir({ checkpoint: { file: 'old' } })
  const error = await rejection(
    writeFolder('save', join(dir, 'checkpoint'), async (path) => {
      writeFileSync(join(path, 'file'), 'new')
      throw Object.assign(new Error('no space left on device'), { code: 'ENOSPC' })
    }),
  )
  t.match(error, { code: 'ERR_HRM_IO', details: { errno: 'ENOSPC' } })
  t.same(readdirSync(dir), ['checkpoint'])
})

test('an error of the file system tells the bytes that a save needs', (t) => {
  const cause = Object.assign(new Error('no space left on device'), { code: 'ENOSPC' })
  const details = { path: 'folder', errno: 'ENOSPC', neededBytes: 4096 }
  t.match(fileError('save', 'folder', cause, 4096), { code: 'ERR_HRM_IO', message: /4096 bytes.*ENOSPC/, details })
  for (const other of [new TypeError('not of the file system'), new HRMError('ERR_HRM_IO', 'of the file that is read')])
    t.equal(fileError('save', 'folder', other, 4096), other)
  t.end()
})
