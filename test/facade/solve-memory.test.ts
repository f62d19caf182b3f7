import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { test } from 'tap'
import { figure, long } from '../reliability/figures.js'

// Resident memory goes up and down by megabytes with every collection: fewer solves than these do not show 100 bytes each.
const count = long ? 100_000 : 40_000
const script = fileURLToPath(new URL('solve-loop.js', import.meta.url))

/** Slope of the least-squares line through equally spaced values, per value. */
function slope(values: readonly number[]): number {
  const middle = (values.length - 1) / 2
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length
  const covariance = values.reduce((sum, value, at) => sum + (at - middle) * (value - mean), 0)
  return covariance / values.reduce((sum, _, at) => sum + (at - middle) ** 2, 0)
}

test(`resident memory stays flat over ${count} solves`, async (t) => {
  // V8 makes its young generation larger or smaller as it likes, by megabytes, unless that is bounded.
  const flags = ['--expose-gc', '--max-semi-space-size=1']
  const { stdout } = await promisify(execFile)(process.execPath, [...flags, script, String(count)])
  const resident = JSON.parse(stdout) as number[]
  t.equal(resident.length, count / 100)
  // The first thousand solves fill the heap, the pools of the allocator and the code caches.
  const bytesPerSolve = slope(resident.slice(10)) / 100
  t.comment(`${bytesPerSolve.toFixed(2)} bytes a solve, ${(resident.at(-1)! / 2 ** 20).toFixed(1)} MiB at the end`)
  t.ok(bytesPerSolve < 100, `${bytesPerSolve} bytes a solve; a result that is kept takes more than 400`)
  figure(t, 'solve-memory', {
    solves: count,
    'bytes a solve': Number(bytesPerSolve.toFixed(2)),
    'RSS at the end MiB': Number((resident.at(-1)! / 2 ** 20).toFixed(1)),
  })
})
