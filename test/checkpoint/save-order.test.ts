// The order of system calls in every write of this package, as the kernel sees them.
import { join } from 'node:path'
import { test } from 'tap'
import { figure, long } from '../reliability/figures.js'
import { recipe, tiny, tinyDataset } from '../facade/fixtures.js'
import { checkOrder, trace, withoutStrace } from './system-calls.js'

const skip = withoutStrace()
const timeout = 3_600_000

/** Written and deleted in place, by design. */
const logAndLock = /\/(metrics\.jsonl|run\.lock)$/

test('every save writes, forces, renames and forces the folder, in this order', { skip, timeout }, async (t) => {
  const data = await tinyDataset(t)
  const root = t.testdirName
  const dir = join(root, 'new', 'run')
  const saves = long ? 100 : 8
  const options = { ...recipe, ema: 0.9, epochs: saves, checkpoint: { dir, everySteps: 1, keep: 2 } }
  const { calls, status } = await trace(`
    import { Dataset, HRM } from '#dist/index.js'
    const model = await HRM.create(${JSON.stringify(tiny)}, { threads: 1 })
    const data = await Dataset.open(${JSON.stringify(data.dir)})
    const options = ${JSON.stringify(options)}
    for (const maxSteps of [${saves / 2}, ${saves}])
      await model.train(data, { ...options, maxSteps, resume: 'auto' }).done()`)
  t.equal(status, 0)
  const { renames, faults } = checkOrder(calls, root, logAndLock)
  t.same(faults, [])
  const saved = calls.filter(({ name, to }) => name === 'rename' && /\/step_\d+$/.test(to!)).length
  t.equal(saved, saves)
  const syncs = calls.filter(({ name, path }) => name === 'fsync' && path.startsWith(root)).length
  t.ok(renames >= 2 * saves, `${renames} renames: checkpoints and pointers`)
  figure(t, 'save-order', { saves, renames, syncs, out_of_order: faults.length })
})

test('all other writers keep the same order', { skip, timeout }, async (t) => {
  const data = await tinyDataset(t)
  const root = t.testdirName
  const script = `
    import { convertToFolder, convertToPyTorch } from '#dist/convert.js'
    import { Dataset, HRM } from '#dist/index.js'
    import { exportOnnx } from '#dist/onnx/export.js'
    import { buildGeneratedSudoku } from '#dist/sudoku/index.js'
    const model = await HRM.create(${JSON.stringify(tiny)}, { threads: 1 })
    const data = await Dataset.open(${JSON.stringify(data.dir)})
    for (let i = 0; i < 2; i++) await model.save('saved')
    for (let i = 0; i < 2; i++) await convertToPyTorch('saved', 'torch/model.pt', {})
    await convertToFolder('torch/model.pt', 'converted', { seqLen: ${tiny.seqLen} })
    for (let i = 0; i < 2; i++) await exportOnnx('saved', 'model.onnx')
    const sudoku = { outDir: 'sudoku', size: 4, holes: 8, grids: 8, trainPuzzles: 8, testPuzzles: 8, numAug: 0 }
    for (const seed of [0, 1]) await buildGeneratedSudoku({ ...sudoku, seed, force: true })
    const options = ${JSON.stringify({ ...recipe, checkpoint: { dir: 'run', everySteps: 2, keep: 9 } })}
    await model.train(data, { ...options, maxSteps: 4 }).done()
    await model.train(data, { ...options, maxSteps: 6, resume: 'run/step_2' }).done()`
  const { calls, status } = await trace(script, { cwd: root })
  t.equal(status, 0)
  const { faults } = checkOrder(calls, root, new RegExp(`${logAndLock.source}|/sudoku/hash.json$`))
  t.same(faults, [])
  for (const name of ['saved', 'torch/model.pt', 'converted', 'model.onnx', 'sudoku/train', 'run/metrics.jsonl']) {
    const path = join(root, name)
    t.ok(
      calls.some((call) => call.name === 'rename' && call.to === path),
      `${name} got its name by a rename`,
    )
  }
})
