import { copyFileSync, cpSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { HRM } from '#dist/index.js'
import { type ReportRun, segmentsOf, type SolvedPuzzles } from '#dist/report/data.js'
import { paperFigures } from '#dist/report/paper.js'
import { type CollectOptions, RunSource } from '#dist/report/run.js'
import { wilsonInterval } from '#dist/wilson.js'
import { stepLine, trainedFolder, writeMetrics } from './fixtures.js'

async function collect(dir: string, options: Partial<CollectOptions> = {}): Promise<ReportRun> {
  return (await RunSource.open(dir)).collect({ puzzles: 3, threads: 1, ...options })
}

const reasonOf = ({ puzzles }: ReportRun) => ('reason' in puzzles ? puzzles.reason : 'solved')

t.test('a finished run is collected whole', async (t) => {
  const cwd = await trainedFolder(t)
  const dir = join(cwd, 'run')
  const data = join(cwd, 'data')
  const run = await collect(dir, { data, puzzles: 4 })

  t.match(run, { name: 'run', path: dir, validation: false, paper: null })
  t.match(run.config, { global_batch_size: 8, arch: { hidden_size: 16 } })
  t.match(run.metrics, { step: 12, lastStep: 12, end: 'completed', evaluated: 3, unreadable: 0 })
  t.same(
    run.metrics.train.step,
    Array.from({ length: 12 }, (_, at) => at + 1),
  )
  t.match(run.metrics.starts, [{ step: 0, environment: { device: /^cpu/, node: process.version } }])

  const solved = run.puzzles as SolvedPuzzles
  t.match(solved, { task: 'sudoku', total: 9, tried: 9, sizes: { seqLen: 16, vocabSize: 6 }, vocabulary: null })
  t.same(solved.interval, wilsonInterval(solved.exact / 9, 9))
  t.equal(solved.shown.length, 4)
  t.equal(solved.shown.filter(({ wrong }) => wrong > 0).length, Math.min(4, 9 - solved.exact), 'failures first')

  await t.test('its puzzles are what the model answers, segment by segment', async (t) => {
    await using model = await HRM.load(join(dir, solved.checkpoint), { threads: 1 })
    for (const puzzle of solved.shown) {
      const states = []
      for await (const state of model.segments(puzzle.input)) states.push(state)
      t.same(
        segmentsOf(puzzle),
        states.map(({ tokens }) => [...tokens]),
      )
      t.same(
        puzzle.qHalt,
        states.map(({ qHalt }) => Number(qHalt.toPrecision(5))),
      )
      const last = states.at(-1)!.tokens
      t.equal(puzzle.wrong, puzzle.labels.filter((label, at) => label >= 0 && label !== last[at]).length)
      if (puzzle.wrong === 0) t.equal(puzzle.valid, true)
    }
  })

  await t.test('the same again is the same', async (t) => {
    t.same(await collect(dir, { data, puzzles: 4 }), run)
  })

  await t.test('progress begins at 0 and ends with all that is tried', async (t) => {
    const seen: number[][] = []
    await collect(dir, { data, puzzles: 1, onProgress: (done, total) => seen.push([done, total]) })
    t.same(
      [seen[0], seen.at(-1)],
      [
        [0, 8],
        [8, 8],
      ],
    )
  })

  await t.test('an abort ends the solving', async (t) => {
    const reason = new Error('enough')
    await t.rejects(collect(dir, { data, signal: AbortSignal.abort(reason) }), reason)
  })

  await t.test('why there are no puzzles is said', async (t) => {
    t.match(reasonOf(await collect(dir, { data, puzzles: 0 })), 'none were asked for')
    t.match(reasonOf(await collect(dir)), /the dataset cannot be read: .*train or test/, 'data_path is relative')
    const other = join(cwd, 'other')
    cpSync(data, other, { recursive: true })
    copyFileSync(join(other, 'test/all__inputs.npy'), join(other, 'test/all__labels.npy'))
    t.match(reasonOf(await collect(dir, { data: other })), 'its hash differs')
    const unsaved = join(cwd, 'unsaved')
    mkdirSync(unsaved)
    copyFileSync(join(dir, 'run.json'), join(unsaved, 'run.json'))
    writeMetrics(unsaved, [stepLine(1)])
    t.match(reasonOf(await collect(unsaved, { data })), 'no checkpoint yet')
    const bare = join(cwd, 'bare')
    mkdirSync(bare)
    writeMetrics(bare, [stepLine(1)])
    const run = await collect(bare)
    t.match(run, { config: null, parameters: null, name: 'bare', metrics: { train: { step: [1] } } })
    t.match(reasonOf(run), 'give it with --data')
  })

  await t.test('a damaged checkpoint costs the puzzles alone', async (t) => {
    const damaged = join(cwd, 'damaged')
    cpSync(dir, damaged, { recursive: true, verbatimSymlinks: true })
    const file = join(damaged, 'best', 'model.safetensors')
    const bytes = readFileSync(file)
    bytes[bytes.length - 1]! ^= 1
    writeFileSync(file, bytes)
    const run = await collect(damaged, { data })
    t.match(reasonOf(run), /they could not be solved: .*model\.safetensors/)
    t.equal(run.metrics.train.logged, 12)
  })

  await t.test('a device that is missing is an error', async (t) => {
    await t.rejects(collect(dir, { data, device: 'cuda:999' }), { code: 'ERR_HRM_NO_DEVICE' })
  })

  await t.test('the figure of the paper is given for its data alone, or by name', async (t) => {
    t.equal((await collect(dir, { data, puzzles: 0 })).paper, null)
    const named = await collect(dir, { data, puzzles: 0, paper: 'maze-hard' })
    t.same(named.paper, paperFigures['maze-hard'])
    t.equal((await collect(dir, { data, puzzles: 0, paper: 'none' })).paper, null)
  })

  await t.test('best goes before latest, and latest does where there is no best', async (t) => {
    const source = await RunSource.open(dir)
    const best = await source.checkpoint()
    renameSync(join(dir, 'best'), join(dir, 'hidden'))
    t.match(await source.checkpoint(), /step_12$/)
    renameSync(join(dir, 'hidden'), join(dir, 'best'))
    t.equal(await source.checkpoint(), best)
  })
})

t.test('what is no run is refused', async (t) => {
  const dir = t.testdir({ empty: {}, file: '' })
  for (const name of ['nothing', 'empty', 'file'])
    await t.rejects(RunSource.open(join(dir, name)), {
      code: 'ERR_HRM_CHECKPOINT',
      message: /\[report\] expected a run/,
    })
})

t.test('a configuration that is no JSON is reported with its file', async (t) => {
  const dir = t.testdir({ 'run.json': '{', 'metrics.jsonl': `${stepLine(1)}\n` })
  await t.rejects(collect(dir), { code: 'ERR_HRM_CORRUPT', message: /run\.json/ })
  rmSync(join(dir, 'run.json'))
  t.equal((await collect(dir)).config, null)
})
