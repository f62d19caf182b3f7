import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, lstatSync, mkdirSync, readdirSync, readlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { once } from 'node:events'
import { test } from 'tap'
import { fileError, writeFolder } from '#dist/durable-folder.js'
import { HRM, HRMError } from '#dist/index.js'
import { RunFolder } from '#dist/run-folder.js'
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
