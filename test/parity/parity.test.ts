import { existsSync, readdirSync } from 'node:fs'
import { join, relative } from 'node:path'
import tap, { test } from 'tap'
import { parity, root } from './run-parity.js'

// Replays in double go through plain loops: seconds each.
tap.setTimeout(300_000)

const shared = process.env.HRM_GOLDEN ?? join(root, '../shared/golden')
const committed = join(root, 'test/golden')

function traceDirectories(): string[] {
  const wanted = ['i_sudoku_rope', 'ii_learned', 'iii_odd'].map((name) => join(shared, name))
  const found = [shared, committed]
    .filter((folder) => existsSync(folder))
    .flatMap((folder) => readdirSync(folder).map((name) => join(folder, name)))
    .filter((folder) => existsSync(join(folder, 'manifest.json')))
  return [...new Set([...wanted, ...found])]
}

for (const folder of traceDirectories()) {
  const skip = existsSync(folder) ? false : `no ${relative(root, folder)}`
  test(`${relative(root, folder)} is reproduced in double and in float`, { skip }, (t) => {
    const { status, reports, stderr } = parity(folder)
    t.equal(stderr, '')
    t.equal(status, 0)
    const [report] = reports
    t.strictSame(report?.failures, [])
    t.equal(report?.ok, true)
    t.strictSame(new Set(report?.runs.map(({ precision }) => precision)), new Set(['fp64', 'fp32']))
    for (const run of report?.runs ?? []) t.comment(run.engine, run.worst)
    t.end()
  })
}
