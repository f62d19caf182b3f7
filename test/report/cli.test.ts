import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { PNG } from 'pngjs'
import t from 'tap'
import { hrm, lastJson } from '../cli/process.js'
import { trainedFolder } from './fixtures.js'

t.test('hrm report writes one page into the run, and the same one again', async (t) => {
  const cwd = await trainedFolder(t)
  const made = await hrm(['report', 'run', '--threads', '1'], { cwd })
  t.equal(made.code, 0, made.stderr)
  const path = join(cwd, 'run', 'report.html')
  t.equal(made.stdout, `${path}\n`)
  t.match(made.stderr, /run: 12 logged steps, best exact .* %/)
  t.match(made.stderr, /\d of 9 test examples tried are exact/)
  const page = readFileSync(path, 'utf8')
  t.match(page, '"name":"run"')

  const again = await hrm(['report', 'run', 'run', '-o', 'two.html', '--puzzles', '2', '--json'], { cwd })
  t.equal(again.code, 0, again.stderr)
  const result = lastJson(again.stdout)
  const file = join(cwd, 'two.html')
  t.match(result, { type: 'result', path: file, bytes: readFileSync(file).length, pictures: [] })
  t.match(result['runs'], [
    { name: 'run', step: 12, best: { set: 'all' }, puzzles: { tried: 9, exact: Number } },
    { name: 'run' },
  ])
  await hrm(['report', 'run', '--threads', '2'], { cwd })
  t.equal(readFileSync(path, 'utf8'), page)

  await t.test('pictures are written in the format asked for', async (t) => {
    const svg = await hrm(['report', 'run', '--puzzles', '2', '--export', 'svg', '--json'], { cwd })
    t.equal(svg.code, 0, svg.stderr)
    const names = readdirSync(join(cwd, 'svg')).sort()
    t.equal(names.length, 2 * (1 + 3 + 1 + 1), 'puzzle, three segments, answer and filmstrip of each')
    t.same(
      (lastJson(svg.stdout)['pictures'] as string[]).sort(),
      names.map((name) => join(cwd, 'svg', name)),
    )
    t.ok(names.some((name) => /^all-\d+-segment-03\.svg$/.test(name)))
    for (const name of names) t.match(readFileSync(join(cwd, 'svg', name), 'utf8'), /^<svg .*<\/svg>$/s)

    const png = await hrm(['report', 'run', 'run', '--puzzles', '1', '--export', 'png', '--format', 'png'], { cwd })
    t.equal(png.code, 0, png.stderr)
    t.same(readdirSync(join(cwd, 'png')).sort(), ['run-1', 'run-2'])
    for (const name of readdirSync(join(cwd, 'png', 'run-1')))
      t.ok(PNG.sync.read(readFileSync(join(cwd, 'png', 'run-1', name))).width > 4 * 32, name)
  })

  await t.test('what is wrong is said with its exit code', async (t) => {
    const refused = async (args: string[], code: number, stderr: RegExp) =>
      t.match(await hrm(['report', ...args], { cwd }), { code, stderr })
    await refused([], 2, /missing required argument/)
    await refused(['nothing'], 3, /nothing.*\[ERR_HRM_CHECKPOINT\]\n$/)
    await refused(['data'], 3, /\[ERR_HRM_CHECKPOINT\]/)
    await refused(['run', '--puzzles', 'x'], 2, /integer/)
    await refused(['run', '--format', 'gif'], 2, /svg, png/)
    await refused(['run', '--paper', 'chess'], 2, /sudoku-extreme/)
    await refused(['run', '--port', '80'], 2, /--watch/)
    await refused(['run', '--watch', '-o', 'x.html'], 2, /leave one out/)
    await refused(['run', '--device', 'cuda:999'], 4, /\[ERR_HRM_NO_DEVICE\]/)
    await refused(['run', '--puzzles', '0', '--export', 'none'], 3, /none were asked for.*\[ERR_HRM_DATASET\]/)
    t.notOk(existsSync(join(cwd, 'none')))
    await refused(['run', '-o', 'run/run.json/x.html'], 1, /\[ERR_HRM_IO\]/)
  })

  await t.test('the help lists it', async (t) => {
    t.match((await hrm(['--help'])).stdout, /^ +report /m)
    t.match((await hrm(['report', '--help'])).stdout, '--watch')
  })
})
