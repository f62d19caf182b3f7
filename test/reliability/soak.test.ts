import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { test } from 'tap'
import { figure, long } from './figures.js'

const script = fileURLToPath(new URL('../../bench/soak.js', import.meta.url))

interface Result {
  minutes: number
  passed: boolean
  error: string | null
  growthMb: number
  highestRssMb: number
  steps: number
  checkpoints: number
  solves: number
  models: number
  stepsPerSecond: [number, number]
  solvesPerSecond: [number, number]
  samples: { second: number; rssMb: number }[]
}

/** Runs the soak as `npm run soak` does. */
function soak(folder: string, ...options: string[]) {
  const json = join(folder, 'soak.json')
  const argv = ['--expose-gc', '--max-semi-space-size=1', script, '--json', json, ...options]
  const { status, stdout, stderr } = spawnSync(process.execPath, argv, { encoding: 'utf8' })
  return { status, stdout, stderr, result: () => JSON.parse(readFileSync(json, 'utf8')) as Result }
}

test('training, solving, saving and making models for a long time keeps memory flat', async (t) => {
  // In seconds the heap and the caches are still filling: there the bound is that of a service that starts.
  const options = long ? ['--minutes', '30'] : ['--minutes', '0.08', '--every', '1', '--max-growth', '64']
  const { status, stdout, stderr, result } = soak(t.testdir(), ...options)
  t.equal(status, 0, stdout + stderr)
  const { samples, growthMb, error, ...rest } = result()
  t.equal(error, null)
  t.match(stdout, /^minute \d.*RSS \d.*steps\/s/m)
  t.match(stdout, /^passed: after minute/m)
  t.ok(samples.length >= 3 && samples.every(({ rssMb }) => rssMb > 10))
  for (const key of ['steps', 'checkpoints', 'solves', 'models'] as const) t.ok(rest[key] > 0, `${rest[key]} ${key}`)
  const rates = (pair: number[]) => pair.map((rate) => rate.toFixed(1)).join(', then ')
  figure(t, 'soak', {
    minutes: rest.minutes,
    'RSS growth after the warm-up MB': growthMb.toFixed(2),
    'highest RSS MB': rest.highestRssMb.toFixed(1),
    steps: rest.steps,
    checkpoints: rest.checkpoints,
    solves: rest.solves,
    models: rest.models,
    'steps a second, in either half': rates(rest.stepsPerSecond),
    'solves a second, in either half': rates(rest.solvesPerSecond),
    errors: error === null ? 0 : 1,
  })
})

test('growth above the bound fails, and so does a wrong option', async (t) => {
  const grown = soak(t.testdir(), '--minutes', '0.02', '--every', '1', '--max-growth=-1000')
  t.equal(grown.status, 1)
  t.match(grown.stdout, /^failed: /m)
  t.equal(grown.result().passed, false)
  t.match(soak(t.testdirName, '--minutes', 'long'), { status: 2, stderr: /expected --minutes to be a number/ })
})
