// From an installed tarball to a service that answers a thousand requests of another process.
import { spawn } from 'node:child_process'
import { copyFileSync } from 'node:fs'
import { Agent, request } from 'node:http'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { test, type Test } from 'tap'
import { HRM, verify } from '#dist/index.js'
import { RandomStream } from '#dist/random.js'
import { digitsToTokens, generatePuzzle } from '#dist/sudoku/index.js'
import { commands, project, type Project, run } from './installed.js'

const example = fileURLToPath(new URL('../../examples/solve-http.js', import.meta.url))
const packed = fileURLToPath(new URL('../../../models/sudoku-4x4', import.meta.url))
const REQUESTS = 1000
/** Clients that each wait for their answer before they ask again. */
const CLIENTS = 4

const puzzles = Array.from({ length: 100 }, (_, at) => generatePuzzle(4, 8, new RandomStream(7, 'puzzle', at)).puzzle)

/** Starts the service of the last command; ends it by SIGTERM. */
async function serve(t: Test, { folder, env }: Project, command: string) {
  const server = spawn('sh', ['-c', `exec ${command}`], { cwd: folder, env, stdio: ['ignore', 'pipe', 'inherit'] })
  const ended = new Promise<number | null>((resolve) => server.on('close', resolve))
  t.teardown(() => server.kill('SIGKILL'))
  let output = ''
  const url = await new Promise<string>((resolve, reject) => {
    server.stdout.setEncoding('utf8').on('data', (text: string) => {
      output += text
      const found = /http:\S+/.exec(output)
      if (found) resolve(found[0])
    })
    void ended.then((code) => reject(new Error(`the service ended with ${code}`)))
  })
  const stop = () => {
    server.kill('SIGTERM')
    return ended
  }
  return { url, stop }
}

const agent = new Agent({ keepAlive: true, maxSockets: CLIENTS })

function post(url: string, body: string): Promise<{ status: number; text: string; ms: number }> {
  const begin = performance.now()
  return new Promise((resolve, reject) => {
    const sent = request(url, { method: 'POST', agent }, (response) => {
      let text = ''
      response.setEncoding('utf8').on('data', (chunk: string) => (text += chunk))
      response.on('end', () => resolve({ status: response.statusCode!, text, ms: performance.now() - begin }))
    })
    sent.on('error', reject).end(body)
  })
}

const percentile = (values: readonly number[], share: number) =>
  values.toSorted((a, b) => a - b)[Math.ceil(share * values.length) - 1]!

test('a web service made of the tarball alone gives the answers of solve(), without long waits', async (t) => {
  const installed = project(t)
  copyFileSync(example, join(installed.folder, 'solve-http.js'))
  const [doctor, demo, service] = commands('web.sh')
  const health = await run(installed, doctor!)
  t.equal(health.code, 0, health.stdout + health.stderr)
  t.match(health.stdout, /binary +ok +\S+prebuilds\S+ \(prebuilt for this platform/)
  const shown = await run(installed, demo!)
  t.equal(shown.code, 0, shown.stderr)
  t.match(shown.stdout, /exact accuracy 9\d\.\d % on 384 held-out puzzles/)

  await using model = await HRM.load(packed)
  const answers = new Map<string, string>()
  const soloMs: number[] = []
  const bodies = puzzles.map((puzzle) => JSON.stringify({ puzzle: puzzle.join('') }))
  const solveAlone = async () => {
    for (const [at, puzzle] of puzzles.entries()) {
      const input = digitsToTokens(puzzle)
      const begin = performance.now()
      const { tokens, qHalt, segments } = await model.solve(input, { halting: 'q' })
      soloMs.push(performance.now() - begin)
      const solution = Array.from(tokens, (token) => token - 1).join('')
      const obeysRules = verify('sudoku', input, tokens).valid
      answers.set(bodies[at]!, JSON.stringify({ solution, obeysRules, qHalt, segments }))
    }
  }
  await solveAlone()

  const { url, stop } = await serve(t, installed, service!)
  const ms: number[] = []
  let wrong = 0
  let next = 0
  const client = async () => {
    while (next < REQUESTS) {
      const body = bodies[next++ % bodies.length]!
      const answer = await post(url, body)
      if (answer.status !== 200 || answer.text !== answers.get(body)) wrong++
      ms.push(answer.ms)
    }
  }
  await Promise.all(Array.from({ length: CLIENTS }, client))
  t.equal(ms.length, REQUESTS)
  t.equal(wrong, 0, 'every answer is that of solve(), byte by byte')
  // Before and after, at the same percentile: what else the machine does delays both.
  await solveAlone()
  const [p50, p99, solo50, solo99] = [ms, soloMs].flatMap((list) => [percentile(list, 0.5), percentile(list, 0.99)])
  const figures = [p50, p99, solo50, solo99].map((value) => value!.toFixed(2))
  t.comment(`ms: request median ${figures[0]}, p99 ${figures[1]}; one solve median ${figures[2]}, p99 ${figures[3]}`)
  t.ok(p99! < 20 * solo99!)

  for (const body of [
    '',
    '{}',
    '{"puzzle": 5}',
    '{"puzzle": "12"}',
    '{"puzzle": "9999999999999999"}',
    'x'.repeat(20_000),
  ])
    t.equal((await post(url, body)).status, 400, body.slice(0, 40))
  t.match(await post(url, bodies[0]!), { status: 200, text: answers.get(bodies[0]!) }, 'and it goes on')
  agent.destroy()
  t.equal(await stop(), 0, 'SIGTERM ends it')
})
