import { once } from 'node:events'
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { test } from 'tap'
import type { Test } from 'tap'
import { parseHubModel, pull } from '#dist/hub.js'
import { HRM } from '#dist/index.js'
import { convertToPyTorch } from '#dist/convert.js'
import { hrm, hrmProcess, lastJson } from '../cli/process.js'
import { hrmError } from '../data/fixtures.js'
import { tiny } from '../facade/fixtures.js'
import { HubServer } from './hub-server.js'

const model = { name: 'some/model', revision: 'main' }

/** A hub with a small file, an empty one, one in a folder and a large one. */
async function startHub(t: Test): Promise<HubServer> {
  const hub = await HubServer.start()
  t.teardown(() => hub.stop())
  hub.files.set('README.md', Buffer.from('# A model\n'))
  hub.files.set('empty', Buffer.alloc(0))
  hub.files.set('logs/a b.txt', Buffer.from('text'))
  hub.files.set('checkpoint', Buffer.from(Uint32Array.from({ length: 2 ** 18 }, (_, at) => at * 2654435761).buffer))
  hub.lfs.add('checkpoint')
  return hub
}

function checkAll(t: Test, hub: HubServer, dir: string): void {
  for (const [path, bytes] of hub.files) t.ok(readFileSync(join(dir, path)).equals(bytes), path)
  t.same(readdirSync(dir).sort(), ['README.md', 'checkpoint', 'empty', 'logs'], 'and nothing else')
}

/** Names in the test's folder that do not start with a dot, and those that do. */
const visible = (dir: string) => readdirSync(dir).filter((name) => !name.startsWith('.'))
const hidden = (dir: string) => readdirSync(dir).filter((name) => name.startsWith('.'))

void test('a repository is named by owner, name and revision', async (t) => {
  t.same(parseHubModel('hf:sapientinc/HRM-checkpoint-sudoku-extreme'), {
    name: 'sapientinc/HRM-checkpoint-sudoku-extreme',
    revision: 'main',
  })
  t.same(parseHubModel('hf:a/b.c@refs/pr/1'), { name: 'a/b.c', revision: 'refs/pr/1' })
  for (const wrong of ['a/b', 'hf:a', 'hf:a/b/c', 'hf:../b', 'hf:a/b@', 'hf:a/b@-x', 'hf:a/b?x', ''])
    t.throws(() => parseHubModel(wrong), { code: 'ERR_HRM_ARGUMENT' }, wrong)
})

void test('all files of a revision are there, and nothing was there before they all were', async (t) => {
  const hub = await startHub(t)
  const dir = join(t.testdir(), 'models/a')
  const steps: number[] = []
  const total = [...hub.files.values()].reduce((sum, { length }) => sum + length, 0)
  const summary = await pull({ ...model, revision: 'v1' }, dir, {
    hubUrl: `${hub.url}/`,
    onProgress: (done, all) => {
      t.equal(all, total)
      t.notOk(existsSync(dir))
      steps.push(done)
    },
  })
  t.match(summary, { commit: hub.commit, sizeBytes: total, resumedBytes: 0, files: [...hub.files.keys()] })
  checkAll(t, hub, dir)
  t.equal(steps.at(-1), total)
  t.ok(hub.seen.every(({ authorization }) => authorization === undefined))
  t.same(hidden(join(t.testdirName, 'models')), [])
  await t.rejects(pull(model, dir, { hubUrl: hub.url }), { code: 'ERR_HRM_ARGUMENT', message: /a new folder/ })
})

void test('a pull that was cut short goes on at the byte where it ended', async (t) => {
  const hub = await startHub(t)
  const dir = join(t.testdir(), 'a')
  hub.cutAfter = 300_000
  hub.delayMs = 20
  t.match(await hrmError(() => pull(model, dir, { hubUrl: hub.url })), {
    code: 'ERR_HRM_IO',
    message: /some\/model@main.*resumes/,
  })
  t.same(visible(t.testdirName), [])
  const left = hidden(t.testdirName)
  t.equal(left.length, 1)
  hub.seen.length = 0
  hub.delayMs = 0
  const { resumedBytes } = await pull(model, dir, { hubUrl: hub.url })
  t.ok(resumedBytes > 65536, `${resumedBytes}`)
  const range = hub.seen.find(({ range }) => range !== undefined && range !== 'bytes=0-0')?.range
  t.match(range, new RegExp(`^bytes=${resumedBytes - 14}-1048575$`))
  t.notOk(
    hub.seen.some(({ path }) => path.endsWith('README.md')),
    'complete files are not asked for again',
  )
  checkAll(t, hub, dir)
  t.same(hidden(t.testdirName), [])
})

void test('what an older commit left is deleted, what is not ours is kept', async (t) => {
  const hub = await startHub(t)
  const dir = join(t.testdir(), 'a')
  hub.cutAfter = 300_000
  await hrmError(() => pull(model, dir, { hubUrl: hub.url }))
  hub.commit = hub.commit.replace('0', 'f')
  mkdirSync(join(t.testdirName, '.tmp-pull-a-notes'))
  t.match(await pull(model, dir, { hubUrl: hub.url }), { resumedBytes: 0 })
  t.same(hidden(t.testdirName), ['.tmp-pull-a-notes'])
})

void test('an abort ends a pull with its reason', async (t) => {
  const hub = await startHub(t)
  hub.delayMs = 20
  const abort = new AbortController()
  const reason = new Error('enough')
  const dir = join(t.testdir(), 'a')
  const onProgress = (done: number) => done > 100_000 && abort.abort(reason)
  await t.rejects(pull(model, dir, { hubUrl: hub.url, signal: abort.signal, onProgress }), reason)
  t.notOk(existsSync(dir))
})

void test('bytes that are not those of the commit are refused and not kept', async (t) => {
  const hub = await startHub(t)
  const dir = join(t.testdir(), 'a')
  for (const path of ['README.md', 'checkpoint']) {
    hub.content = (bytes) => {
      if (bytes !== hub.files.get(path)) return bytes
      const changed = Buffer.from(bytes)
      changed[3]! ^= 1
      return changed
    }
    const error = await hrmError(() => pull(model, dir, { hubUrl: hub.url }))
    t.match(error, { code: 'ERR_HRM_CORRUPT', message: new RegExp(`${path} with the checksum`) })
  }
  hub.content = (bytes) => bytes.subarray(0, -1)
  hub.files.delete('empty')
  t.match(await hrmError(() => pull(model, dir, { hubUrl: hub.url })), { code: 'ERR_HRM_CORRUPT' })
  hub.files.set('empty', Buffer.alloc(0))
  hub.content = (bytes) => bytes
  await pull(model, dir, { hubUrl: hub.url })
  checkAll(t, hub, dir)
})

void test('paths that lead out of the folder and other false listings are refused', async (t) => {
  const hub = await startHub(t)
  const dir = join(t.testdir(), 'deep/a')
  const file = (path: unknown, size: unknown = 4) => ({ type: 'file', path, size, oid: 'x' })
  const long = 'x'.repeat(5000)
  for (const path of ['../out', 'a/../../out', '/out', 'a//b', './a', 'a\\b', 'C:/x', 'a\0b', '', long, 7]) {
    hub.listing = () => [file(path)]
    const error = await hrmError(() => pull(model, dir, { hubUrl: hub.url }))
    t.match(error, { code: 'ERR_HRM_CORRUPT', message: /paths inside/ }, String(path).slice(0, 20))
    t.ok(error.message.length < 2000)
  }
  const lists: [unknown[], RegExp][] = [
    [[file('a'), file('a')], /each file once/],
    [[file('a', -1)], /a size/],
    [[file('a', 1e300)], /a size/],
    [[], /files in some\/model/],
    [Array.from({ length: 10_001 }, (_, at) => file(`f${at}`)), /at most 10000 files/],
  ]
  for (const [entries, message] of lists) {
    hub.listing = () => entries
    t.match(await hrmError(() => pull(model, dir, { hubUrl: hub.url })), { code: 'ERR_HRM_CORRUPT', message })
  }
  hub.commit = '../../..'
  t.match(await hrmError(() => pull(model, dir, { hubUrl: hub.url })), {
    code: 'ERR_HRM_CORRUPT',
    message: /the commit/,
  })
  t.same(readdirSync(t.testdirName), [], 'nothing was written')
})

void test('errors say what to do: no such model, no access, no connection', async (t) => {
  const hub = await startHub(t)
  const dir = join(t.testdir(), 'a')
  const fails = async (options: Parameters<typeof pull>[2], which: typeof model, message: RegExp) =>
    t.match(await hrmError(() => pull(which, dir, options)), { code: 'ERR_HRM_IO', message })
  await fails({ hubUrl: hub.url }, { ...model, name: 'no/one' }, /no\/one@main.*404.*owner, name and revision/)
  await fails({ hubUrl: hub.url }, { ...model, revision: 'v9' }, /some\/model@v9.*404/)
  hub.token = 'hf_secret'
  await fails({ hubUrl: hub.url }, model, /401.*HF_TOKEN/)
  await fails({ hubUrl: hub.url, token: 'hf_other' }, model, /401.*HF_TOKEN/)
  t.match(await pull(model, dir, { hubUrl: hub.url, token: 'hf_secret' }), { commit: hub.commit })
  const gone = await HubServer.start()
  const { url } = gone
  await gone.stop()
  t.match(await hrmError(() => pull(model, join(t.testdirName, 'b'), { hubUrl: url })), {
    code: 'ERR_HRM_IO',
    message: /127\.0\.0\.1.*ECONNREFUSED.*check the connection/,
  })
  await t.rejects(pull(model, `${dir}2`, { hubUrl: 'file:///x' }), { code: 'ERR_HRM_ARGUMENT' })
  await t.rejects(pull(model, `${dir}2`, { token: 'secret' }), { code: 'ERR_HRM_ARGUMENT', message: /hf_/ })
})

void test('hrm pull, killed and run again, hrm convert and hrm solve lead from the hub to an answer', async (t) => {
  const hub = await startHub(t)
  const cwd = t.testdir()
  await using made = await HRM.create({ ...tiny, hiddenSize: 64 }, { threads: 1 })
  await made.save(join(cwd, 'made'))
  await convertToPyTorch(join(cwd, 'made'), join(cwd, 'official/step_7.pt'), {})
  hub.files.set('checkpoint', readFileSync(join(cwd, 'official/step_7.pt')))
  hub.files.set('all_config.yaml', readFileSync(join(cwd, 'official/all_config.yaml')))
  hub.token = 'hf_secret'
  const env = { HF_ENDPOINT: hub.url, HF_TOKEN: 'hf_secret' }
  const args = ['pull', 'hf:some/model', '-o', 'model']
  hub.delayMs = 300
  const pulling = hrmProcess(args, { cwd, env })
  while (!hub.seen.some(({ path, range }) => path.endsWith('/checkpoint') && range === undefined)) await pause(20)
  await pause(400)
  pulling.kill('SIGKILL')
  await once(pulling, 'close')
  t.notOk(existsSync(join(cwd, 'model')))
  hub.delayMs = 0
  t.match(await hrm(args, { cwd, env }), {
    code: 0,
    stderr: /some\/model at 0123.* of them from before\nnext: hrm convert .*model .*model-hrm/s,
  })
  t.ok(existsSync(join(cwd, 'model/checkpoint')))
  const again = await hrm(['pull', 'hf:some/model', '--out', 'other', '--json'], { cwd, env })
  t.match(lastJson(again.stdout), { type: 'result', name: 'some/model', commit: hub.commit, next: /hrm convert/ })
  t.equal((await hrm(['convert', 'model', 'model-hrm'], { cwd })).code, 0)
  t.equal((await hrm(['solve', 'model-hrm', '--threads', '1'], { cwd, input: '[1,2,3,4,5]\n' })).code, 0)
  t.match(await hrm(['pull', 'some/model'], { cwd, env }), { code: 2, stderr: /\[ERR_HRM_ARGUMENT\]/ })
  t.match(await hrm(['pull', 'hf:some/model', '-o', 'x'], { cwd, env: { ...env, HF_TOKEN: '' } }), {
    code: 1,
    stderr: /HF_TOKEN/,
  })
  writeFileSync(join(cwd, 'taken'), '')
  t.match(await hrm(['pull', 'hf:some/model', '-o', 'taken'], { cwd, env }), { code: 2, stderr: /a new folder/ })
})
