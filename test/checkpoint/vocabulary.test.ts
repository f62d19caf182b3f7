import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'tap'
import { buildGrids } from '#dist/grid/index.js'
import { Dataset, HRM } from '#dist/index.js'
import { recipe, rejection, tiny } from '../facade/fixtures.js'

test('a checkpoint takes along what the tokens of its training data stand for', async (t) => {
  const pairs = Array.from({ length: 8 }, (_, at) => JSON.stringify({ input: [at, 'a'], output: ['a', at] }))
  const dir = t.testdir({ 'pairs.jsonl': pairs.join('\n') })
  await buildGrids({ sources: [join(dir, 'pairs.jsonl')], outDir: join(dir, 'data'), seed: 0 })
  using data = await Dataset.open(join(dir, 'data'))
  const { vocabSize, seqLen } = data
  const expected = {
    task: 'grid',
    form: 'sequence',
    rows: 1,
    columns: 2,
    answer: 'input',
    values: [null, 0, 1, 2, 3, 4, 5, 6, 7, 'a'],
  }
  await using model = await HRM.create({ ...tiny, vocabSize, seqLen })
  t.equal(model.vocabulary, undefined)
  const run = join(dir, 'run')
  await model.train(data, { ...recipe, maxSteps: 1, checkpoint: { dir: run } }).done()
  t.same(model.vocabulary, expected)
  await using loaded = await HRM.load(run)
  t.same(loaded.vocabulary, expected)
  await loaded.save(join(dir, 'copy'))
  await using copy = await HRM.load(join(dir, 'copy'))
  t.same(copy.vocabulary, expected, 'also when saved again')
  const path = join(dir, 'copy/vocabulary.json')
  writeFileSync(path, readFileSync(path, 'utf8').replace('"a"', '"b"'))
  t.match(await rejection(HRM.load(join(dir, 'copy'))), { code: 'ERR_HRM_CORRUPT', message: /vocabulary\.json/ })
})

test('a damaged vocabulary of a dataset is refused, naming the file', async (t) => {
  const dir = t.testdir({ 'pairs.jsonl': '{"input":[1,2],"output":[2,1]}\n' })
  await buildGrids({ sources: [join(dir, 'pairs.jsonl')], outDir: join(dir, 'data'), seed: 0 })
  const path = join(dir, 'data/vocabulary.json')
  const text = readFileSync(path, 'utf8')
  using data = await Dataset.open(join(dir, 'data'))
  const changes: [string, RegExp][] = [
    [text.replace('"grid"', '"chess"'), /task/],
    [text.replace('sequence', 'tree'), /form/],
    [text.replace('"rows":1', '"rows":0'), /rows and columns/],
    [text.replace('"rows":1', '"rows":2'), /2 cells/],
    [text.replace('"input"', '[1]'), /answer/],
    [text.replace('[null,1', '[0,1'), /values/],
    [text.replace('null,1', 'null'), /3 values/],
    [text.replace('{', '{"task":"grid",'), /each key once/],
    ['[]', /an object/],
    ['', /JSON/],
  ]
  for (const [changed, message] of changes) {
    t.not(changed, text)
    writeFileSync(path, changed)
    t.throws(() => data.vocabulary(), { code: 'ERR_HRM_DATASET', message })
    t.throws(() => data.vocabulary(), { message: /vocabulary\.json/ })
  }
})
