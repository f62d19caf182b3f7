import { appendFileSync, readlinkSync, renameSync, symlinkSync } from 'node:fs'
import { connect } from 'node:net'
import { request } from 'node:http'
import { networkInterfaces } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { ReportData, RunMetrics } from '#dist/report/data.js'
import { RunSource } from '#dist/report/run.js'
import { ReportServer } from '#dist/report/watch.js'
import { hrmProcess } from '../cli/process.js'
import { stepLine, trainedFolder, writeMetrics } from './fixtures.js'

/** A server for a run of two steps, which ends with the test. */
async function watched(t: Test) {
  const dir = t.testdir()
  writeMetrics(dir, [stepLine(1), stepLine(2)])
  const controller = new AbortController()
  const options = { puzzles: 0, port: 0, signal: controller.signal }
  const server = await ReportServer.start([await RunSource.open(dir)], options)
  const following = server.follow()
  t.teardown(async () => {
    controller.abort()
    await following
  })
  return { dir, server, controller, following }
}

function dataOf(page: string): ReportData {
  const [, text] = page.split('id="report-data">') as [string, string]
  return JSON.parse(text.slice(0, text.indexOf('</script>'))) as ReportData
}

/** The status of an answer; `fetch` does not let a test choose the host. */
function statusFor(url: string, host: string, method = 'GET'): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    const sent = request(url, { headers: { host }, method }, (response) => {
      response.resume()
      resolve(response.statusCode)
    })
    sent.on('error', reject)
    sent.end()
  })
}

t.test('the page is served with what the run has so far', async (t) => {
  const { server, dir } = await watched(t)
  const response = await fetch(server.url)
  t.match(response.headers.get('content-type'), 'text/html')
  const data = dataOf(await response.text())
  t.match(data, { live: true, runs: [{ metrics: { train: { step: [1, 2] } } }] })
  appendFileSync(join(dir, 'metrics.jsonl'), `${stepLine(3)}\n`)
  for (;;) {
    const { runs } = dataOf(await (await fetch(server.url)).text())
    if (runs[0]!.metrics.train.step.length === 3) break
  }
})

t.test('what a run logs reaches the page', async (t) => {
  const { server, dir } = await watched(t)
  const response = await fetch(`${server.url}events`)
  t.match(response.headers.get('content-type'), 'text/event-stream')
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader()
  let text = ''
  while (!text.includes('retry')) text += (await reader.read()).value
  appendFileSync(join(dir, 'metrics.jsonl'), `${stepLine(3)}\n`)
  while (!/data: .*\n\n/.test(text)) text += (await reader.read()).value
  const update = JSON.parse(/data: (.*)\n\n/.exec(text)![1]!) as { run: number; metrics: RunMetrics }
  t.match(update, { run: 0, metrics: { step: 3, train: { step: [1, 2, 3] } } })
  await reader.cancel()
})

t.test('puzzles are solved beside the page, and again by the next best checkpoint', async (t) => {
  const cwd = await trainedFolder(t)
  const dir = join(cwd, 'run')
  const controller = new AbortController()
  const options = { puzzles: 2, threads: 1, data: join(cwd, 'data'), port: 0, signal: controller.signal }
  const server = await ReportServer.start([await RunSource.open(dir)], options)
  const first = dataOf(await (await fetch(server.url)).text()).runs[0]!.puzzles
  t.same(first, { reason: 'they are being solved' })
  const following = server.follow()
  const solvedBy = async (checkpoint: string) => {
    for (;;) {
      const { puzzles } = dataOf(await (await fetch(server.url)).text()).runs[0]!
      if ('checkpoint' in puzzles && puzzles.checkpoint === checkpoint) return puzzles.shown.length
      await new Promise((resolve) => setTimeout(resolve, 100))
    }
  }
  const best = readlinkSync(join(dir, 'best'))
  t.equal(await solvedBy(best), 2)
  const next = ['step_4', 'step_8', 'step_12'].find((name) => name !== best)!
  symlinkSync(next, join(dir, 'new'))
  renameSync(join(dir, 'new'), join(dir, 'best'))
  t.equal(await solvedBy(next), 2)
  controller.abort()
  await following
})

t.test('it listens on the loopback interface alone', async (t) => {
  const { server } = await watched(t)
  const { hostname, port } = new URL(server.url)
  t.equal(hostname, '127.0.0.1')
  const addresses = Object.values(networkInterfaces())
    .flat()
    .flatMap((entry) => (entry && !entry.internal && entry.family === 'IPv4' ? [entry.address] : []))
  for (const host of ['127.0.0.2', ...addresses]) {
    const refused = await new Promise<boolean>((resolve) => {
      const socket = connect({ host, port: Number(port) }, () => {
        socket.destroy()
        resolve(false)
      })
      socket.on('error', () => resolve(true))
    })
    t.ok(refused, `${host} refuses`)
  }
})

t.test('other names, paths and methods get nothing', async (t) => {
  const { server } = await watched(t)
  const { port } = new URL(server.url)
  t.equal(await statusFor(server.url, `localhost:${port}`), 200)
  t.equal(await statusFor(server.url, `evil.example:${port}`), 403, 'a name that was made to lead here')
  t.equal(await statusFor(`${server.url}events`, 'evil.example'), 403)
  t.equal(await statusFor(`${server.url}../package.json`, `127.0.0.1:${port}`), 404)
  t.equal(await statusFor(server.url, `127.0.0.1:${port}`, 'POST'), 404)
})

t.test('a port that is taken is an error with its number', async (t) => {
  const { server, dir } = await watched(t)
  const port = Number(new URL(server.url).port)
  const options = { puzzles: 0, port, signal: new AbortController().signal }
  await t.rejects(ReportServer.start([await RunSource.open(dir)], options), {
    code: 'ERR_HRM_IO',
    message: new RegExp(`127\\.0\\.0\\.1:${port}.*EADDRINUSE`),
  })
})

t.test('an abort ends the server with its connections', async (t) => {
  const { server, controller, following } = await watched(t)
  const events = await fetch(`${server.url}events`)
  controller.abort()
  await following
  await events.text().catch(() => '')
  await t.rejects(fetch(server.url))
})

t.test('hrm report --watch prints where the page is and ends with Ctrl-C', async (t) => {
  const dir = t.testdir()
  writeMetrics(dir, [stepLine(1)])
  const child = hrmProcess(['report', dir, '--watch', '--json'])
  let stdout = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text))
  while (!stdout.includes('\n')) await new Promise((resolve) => child.stdout.once('data', resolve))
  const { type, url } = JSON.parse(stdout) as { type: string; url: string }
  t.equal(type, 'watch')
  t.match(url, /^http:\/\/127\.0\.0\.1:\d+\/$/)
  t.equal((await fetch(url)).status, 200)
  const closed = new Promise((resolve) => child.on('close', resolve))
  child.kill('SIGINT')
  t.equal(await closed, 0)
})
