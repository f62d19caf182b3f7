import { copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'tap'
import type { Test } from 'tap'
import { convertToFolder, convertToPyTorch } from '#dist/convert.js'
import { replaceFile } from '#dist/durable-folder.js'
import { HRM } from '#dist/index.js'
import { puzzleTable } from '#dist/model-tensors.js'
import { configFile } from '#dist/pytorch/official-config.js'
import { PyTorchFile } from '#dist/pytorch/pytorch-file.js'
import { writePyTorch } from '#dist/pytorch/pytorch-writer.js'
import { readSafetensors } from '#dist/safetensors.js'
import { hrm, lastJson } from '../cli/process.js'
import { hrmError } from '../data/fixtures.js'
import { recipe, tiny, tinyDataset } from '../facade/fixtures.js'
import { dict, tensorBytes, tensor, tensorValues, text, torchBytes } from './fixtures.js'

/** A folder with a checkpoint `ours` of a tiny model and the same as `official/step_7.pt`. */
async function converted(t: Test, options: Parameters<typeof HRM.create>[0] = tiny): Promise<string> {
  const dir = t.testdir()
  await using model = await HRM.create(options, { seed: 3, threads: 1 })
  await model.save(join(dir, 'ours'))
  await convertToPyTorch(join(dir, 'ours'), join(dir, 'official/step_7.pt'), {})
  return dir
}

const tensors = (dir: string) => readFileSync(join(dir, 'model.safetensors'))

void test('a checkpoint goes to PyTorch and back without a change, whatever its sizes', async (t) => {
  for (const variant of [
    {},
    { posEncodings: 'learned' },
    { puzzleEmbNdim: 0 },
    { puzzleEmbNdim: 24 },
    { ropeTheta: 1e-7 },
  ] as const) {
    const dir = await converted(t, { ...tiny, ...variant })
    t.match(await convertToFolder(join(dir, 'official'), join(dir, 'back'), {}), { seqLenFrom: 'the configuration' })
    t.ok(tensors(join(dir, 'back')).equals(tensors(join(dir, 'ours'))))
    const model = await HRM.load(join(dir, 'back'), { threads: 1 })
    t.match(model.config, { ...tiny, ...variant })
    model.dispose()
  }
})

void test('the official code finds its own keys only, and numbers that PyYAML takes for numbers', async (t) => {
  const dir = await converted(t, { ...tiny, rmsNormEps: 1e-7 })
  const yaml = readFileSync(join(dir, 'official', configFile), 'utf8')
  const arch = yaml.slice(yaml.indexOf('arch:'), yaml.indexOf('beta1:'))
  t.notMatch(arch, /vocab_size|seq_len|num_puzzle_identifiers/, 'the dataset gives these')
  t.match(arch, /rms_norm_eps: 1\.0e-7\n/)
  for (const key of 'data_path global_batch_size epochs lr lr_min_ratio lr_warmup_steps weight_decay beta1 beta2'.split(
    ' ',
  ))
    t.match(yaml, new RegExp(`^${key}: `, 'm'))
  t.notMatch(yaml, /^(log_every|ema|on_non_finite):/m, 'our own keys stay here')
})

void test('names with and without the prefixes of torch.compile and of the loss head are the same', async (t) => {
  const dir = await converted(t)
  const bytes = readFileSync(join(dir, 'official/step_7.pt'))
  t.ok(bytes.includes('_orig_mod.model.inner.H_init'))
  mkdirSync(join(dir, 'other'))
  copyFileSync(join(dir, 'official', configFile), join(dir, 'other', configFile))
  const file = await PyTorchFile.open(join(dir, 'official/step_7.pt'))
  for (const prefix of ['', 'model.', '_orig_mod.', 'model._orig_mod.']) {
    const entries = file.names().map((stored) => {
      const name = stored.replace('_orig_mod.model.', prefix)
      const { shape } = file.info(stored)
      const data = { byteLength: tensorBytes(file, stored).length, chunks: () => [tensorBytes(file, stored)] }
      return { name, dtype: 'F32' as const, shape, data }
    })
    await replaceFile('test', join(dir, 'other/step_7'), (handle) => writePyTorch(handle, entries))
    await convertToFolder(join(dir, 'other/step_7'), join(dir, 'back'), {})
    t.ok(tensors(join(dir, 'back')).equals(tensors(join(dir, 'ours'))), prefix)
  }
  file.close()
})

void test('the start states are BF16 where the forward pass is, and come back exactly', async (t) => {
  const dir = await converted(t)
  const half = join(dir, 'half')
  mkdirSync(half)
  copyFileSync(join(dir, 'official/step_7.pt'), join(half, 'step_7'))
  const yaml = readFileSync(join(dir, 'official', configFile), 'utf8').replace('float32', 'bfloat16')
  writeFileSync(join(half, configFile), yaml)
  await convertToPyTorch(join(half, 'step_7'), join(dir, 'out/a.pt'), {})
  const file = await PyTorchFile.open(join(dir, 'out/a.pt'))
  const exact = await readSafetensors(join(dir, 'ours/model.safetensors'))
  for (const name of ['inner.H_init', 'inner.L_init']) {
    t.equal(file.info(`_orig_mod.model.${name}`).dtype, 'BF16')
    const [rounded, values] = [await tensorValues(file, `_orig_mod.model.${name}`), await exact.readFloat32(name)]
    values.forEach((value, at) => t.ok(Math.abs(rounded[at]! - value) <= Math.abs(value) * 2 ** -8))
  }
  t.equal(file.info('_orig_mod.model.inner.lm_head.weight').dtype, 'F32')
  file.close()
  await exact.close()
  await convertToFolder(join(dir, 'out'), join(dir, 'back'), {})
  await convertToPyTorch(join(dir, 'back'), join(dir, 'again/a.pt'), {})
  t.ok(readFileSync(join(dir, 'again/a.pt')).equals(readFileSync(join(dir, 'out/a.pt'))), 'the same bytes')
})

void test('averaged weights are converted where a run has them, with the rest of the trained ones', async (t) => {
  const data = await tinyDataset(t)
  const dir = t.testdirName
  await using model = await HRM.create(tiny, { seed: 1, threads: 1 })
  await model.train(data, { ...recipe, ema: 0.5, maxSteps: 4, checkpoint: { dir: join(dir, 'run') } }).done()
  const outputs: Buffer[] = []
  for (const weights of [undefined, 'ema', 'raw'] as const) {
    t.match(await convertToFolder(join(dir, 'run'), join(dir, 'out'), { weights }), { weights: weights ?? 'ema' })
    outputs.push(tensors(join(dir, 'out')))
    await using loaded = await HRM.load(join(dir, 'out'), { threads: 1 })
    await using original = await HRM.load(join(dir, 'run'), { threads: 1, ...(weights ? { weights } : {}) })
    const [a, b] = [await loaded.solve([1, 2, 3, 4, 5]), await original.solve([1, 2, 3, 4, 5])]
    t.equal(a.qHalt, b.qHalt)
  }
  t.ok(outputs[0]!.equals(outputs[1]!))
  t.notOk(outputs[0]!.equals(outputs[2]!))
  await convertToPyTorch(join(dir, 'out'), join(dir, 'pt/a.pt'), {})
  await t.rejects(convertToFolder(join(dir, 'pt/a.pt'), join(dir, 'b'), { weights: 'ema' }), {
    code: 'ERR_HRM_ARGUMENT',
  })
  await t.rejects(convertToFolder(join(dir, 'out'), join(dir, 'b'), { seqLen: 5 }), { code: 'ERR_HRM_ARGUMENT' })
})

void test('the length comes from the call, the dataset or the official task, else it is asked for', async (t) => {
  const dir = await converted(t)
  const yaml = join(dir, 'official', configFile)
  const input = join(dir, 'official/step_7.pt')
  writeFileSync(yaml, readFileSync(yaml, 'utf8').replace(/dataset_metadata:\n(?: .*\n)+/, ''))
  t.match(await hrmError(() => convertToFolder(input, join(dir, 'a'), {})), {
    code: 'ERR_HRM_CHECKPOINT',
    message: /vocabulary of 11, 6 or 12.*got 7.*--seq-len or --dataset/s,
  })
  t.match(await convertToFolder(input, join(dir, 'a'), { seqLen: 5 }), { seqLenFrom: '--seq-len' })
  t.ok(tensors(join(dir, 'a')).equals(tensors(join(dir, 'ours'))))
  const sudoku = await converted(t, { ...tiny, vocabSize: 11, seqLen: 81 })
  const config = join(sudoku, 'official', configFile)
  writeFileSync(config, readFileSync(config, 'utf8').replace(/dataset_metadata:\n(?: .*\n)+/, ''))
  const from = await convertToFolder(join(sudoku, 'official/step_7.pt'), join(sudoku, 'a'), {})
  t.equal(from.seqLenFrom, 'the official task with a vocabulary of 11')
  t.equal(JSON.parse(readFileSync(join(sudoku, 'a/config.json'), 'utf8')).arch.seq_len, 81)
})

void test('a checkpoint that does not fit its configuration is refused by the tensor', async (t) => {
  const dir = await converted(t)
  const yaml = join(dir, 'official', configFile)
  const text = readFileSync(yaml, 'utf8')
  const cases: [RegExp, string, RegExp][] = [
    [/H_layers: 1/, 'H_layers: 2', /tensor inner\.H_level\.layers\.1\.self_attn\.qkv_proj\.weight.*none/],
    [/hidden_size: 16/, 'hidden_size: 32', /inner\.embed_tokens\.embedding_weight of shape \[7, 32\].*\[7, 16\]/],
    [/puzzle_emb_ndim: 16/, 'puzzle_emb_ndim: 0', /only tensors of the configured model.*inner\.puzzle_emb\.weights/],
    [/pos_encodings: rope/, 'pos_encodings: learned', /inner\.embed_pos\.embedding_weight/],
  ]
  for (const [from, to, message] of cases) {
    writeFileSync(yaml, text.replace(from, to))
    const error = await hrmError(() => convertToFolder(join(dir, 'official'), join(dir, 'a'), {}))
    t.match(error, { code: 'ERR_HRM_CHECKPOINT', message }, to)
    t.notOk(existsSync(join(dir, 'a')), 'nothing is left behind')
  }
})

/** Embeddings of three puzzles, one value each. */
async function tableOf(dir: string): Promise<number[]> {
  const file = await readSafetensors(join(dir, 'model.safetensors'))
  const values = await file.readFloat32(puzzleTable)
  const [rows, width] = file.info(puzzleTable).shape as [number, number]
  await file.close()
  return Array.from({ length: rows }, (_, row) => {
    const [first, ...rest] = values.subarray(row * width, (row + 1) * width)
    if (rest.some((value) => value !== first)) throw new Error(`row ${row} is mixed`)
    return first!
  })
}

void test('puzzle embeddings follow their names into another dataset, from folders and from PyTorch', async (t) => {
  const dataset = await tinyDataset(t)
  const dir = t.testdirName
  const oldNames = ['<blank>', 'a', 'b', 'c']
  await using model = await HRM.create({ ...tiny, numPuzzleIdentifiers: 4 }, { seed: 3, threads: 1 })
  await model.save(join(dir, 'plain'))
  await convertToPyTorch(join(dir, 'plain'), join(dir, 'plain-pt/a.pt'), {})
  // Row r of the table holds the value r + 1 everywhere.
  const file = await PyTorchFile.open(join(dir, 'plain-pt/a.pt'))
  const entries = file.names().map((name) => {
    const data = tensorBytes(file, name)
    if (name.endsWith(puzzleTable))
      new Float32Array(data.buffer).forEach((_, at, all) => (all[at] = Math.floor(at / 16) + 1))
    return {
      name,
      dtype: 'F32' as const,
      shape: file.info(name).shape,
      data: { byteLength: data.length, chunks: () => [data] },
    }
  })
  file.close()
  await replaceFile('test', join(dir, 'plain-pt/a.pt'), (handle) => writePyTorch(handle, entries))
  await convertToFolder(join(dir, 'plain-pt'), join(dir, 'ours'), {})
  t.same(await tableOf(join(dir, 'ours')), [1, 2, 3, 4])

  writeFileSync(join(dir, 'old.json'), JSON.stringify(oldNames))
  const match = { dataset: dataset.dir, identifiersFrom: join(dir, 'old.json') }
  writeFileSync(join(dataset.dir, 'identifiers.json'), JSON.stringify(['<blank>', 'c', '__proto__']))
  for (const input of ['ours', 'plain-pt/a.pt']) {
    const { puzzles } = await convertToFolder(join(dir, input), join(dir, 'new'), match)
    t.same(puzzles, { matched: 2, new: 1, dropped: 2 })
    t.same(await tableOf(join(dir, 'new')), [1, 4, 0])
    await using loaded = await HRM.load(join(dir, 'new'), { threads: 1 })
    t.equal(loaded.config.numPuzzleIdentifiers, 3)
  }

  const refused = async (names: unknown, where: 'old.json' | 'data/identifiers.json', message: RegExp) => {
    const path = join(dir, where)
    const before = readFileSync(path)
    writeFileSync(path, JSON.stringify(names))
    t.match(await hrmError(() => convertToFolder(join(dir, 'ours'), join(dir, 'no'), match)), {
      code: 'ERR_HRM_DATASET',
      message,
    })
    writeFileSync(path, before)
  }
  await refused(['<blank>', 'a'], 'old.json', /4 names, one for each row.*2/s)
  await refused(['<blank>', 'a', 'a', 'c'], 'old.json', /each name once.*"a" at 1 and 2/s)
  await refused({ a: 1 }, 'old.json', /a list of strings/)
  await refused(['<blank>', 'a'], 'data/identifiers.json', /3 names.*2/s)
  await refused(['<blank>', 'a', 'a'], 'data/identifiers.json', /each name once/)
  await t.rejects(convertToFolder(join(dir, 'ours'), join(dir, 'no'), { identifiersFrom: 'x' }), {
    code: 'ERR_HRM_ARGUMENT',
  })
})

void test('what the tokens stand for goes along, from the dataset or the checkpoint', async (t) => {
  const dataset = await tinyDataset(t)
  const dir = t.testdirName
  const vocabulary = {
    task: 'grid',
    form: 'sequence',
    rows: 1,
    columns: 5,
    answer: 'input',
    values: [null, 'a', 'b', 'c', 'd', 'e', 'f'],
  }
  writeFileSync(join(dataset.dir, 'vocabulary.json'), JSON.stringify(vocabulary))
  await using model = await HRM.create(tiny, { threads: 1 })
  await model.save(join(dir, 'ours'))
  await convertToPyTorch(join(dir, 'ours'), join(dir, 'official/a.pt'), {})
  await convertToFolder(join(dir, 'official'), join(dir, 'first'), { dataset: dataset.dir })
  await convertToFolder(join(dir, 'first'), join(dir, 'second'), {})
  for (const folder of ['first', 'second'])
    t.same(JSON.parse(readFileSync(join(dir, folder, 'vocabulary.json'), 'utf8')), vocabulary, folder)
})

void test('a table that is too small for the dataset is refused with the way out', async (t) => {
  const dataset = await tinyDataset(t)
  await using model = await HRM.create({ ...tiny, numPuzzleIdentifiers: 2 }, { threads: 1 })
  await model.save(join(t.testdirName, 'ours'))
  t.match(
    await hrmError(() =>
      convertToFolder(join(t.testdirName, 'ours'), join(t.testdirName, 'a'), { dataset: dataset.dir }),
    ),
    { code: 'ERR_HRM_DATASET', message: /at most 2 puzzle identifiers.*3.*--identifiers-from/s },
  )
})

void test('hrm convert, inspect and solve work on PyTorch files; what is hostile ends with 3', async (t) => {
  const cwd = await converted(t)
  const json = await hrm(['convert', 'official/step_7.pt', 'out', '--json'], { cwd })
  t.equal(json.code, 0, json.stderr)
  t.match(lastJson(json.stdout), { type: 'result', input: 'official/step_7.pt', output: 'out', weights: 'raw' })
  const solved = await hrm(['solve', 'out', '--threads', '1', '--json'], { cwd, input: '[1,2,3,4,5]\n' })
  t.equal(solved.code, 0, solved.stderr)
  t.match(await hrm(['convert', 'official', 'plain'], { cwd }), {
    code: 0,
    stdout: /plain: checkpoint folder.*from the configuration/s,
  })
  copyFileSync(join(cwd, 'official/step_7.pt'), join(cwd, 'step_7'))
  const inspected = await hrm(['inspect', 'step_7', '--json'], { cwd })
  t.match(lastJson(inspected.stdout), { kind: 'pt' }, 'guessed by its content')
  t.equal((lastJson(inspected.stdout)['tensors'] as unknown[]).length, 15)
  t.equal((await hrm(['inspect', 'step_7', '--as', 'pt'], { cwd })).code, 0)

  t.match(await hrm(['convert', 'step_7', 'no'], { cwd }), {
    code: 3,
    stderr: /all_config\.yaml, got nothing.*--config/,
  })
  t.match(await hrm(['convert', 'official', 'no.bin'], { cwd }), { code: 2, stderr: /\[ERR_HRM_ARGUMENT\]/ })
  t.match(await hrm(['convert', 'ours', 'ours/../official'], { cwd }), {
    code: 3,
    stderr: /a new folder or a checkpoint/,
  })
  t.match(await hrm(['convert', 'nothing', 'no'], { cwd }), { code: 3, stderr: /nothing/ })
  writeFileSync(join(cwd, 'evil.pt'), torchBytes(`\x80\x02cos\nsystem\n(${text('touch marker')}tR.`))
  for (const args of [
    ['convert', 'evil.pt', 'no'],
    ['inspect', 'evil.pt', '--json'],
    ['inspect', 'evil.pt', '--as', 'pt'],
  ]) {
    t.match(await hrm(args, { cwd }), { code: 3, stdout: '', stderr: /"os\.system".*\[ERR_HRM_UNSAFE_PICKLE\]\n$/ })
  }
  const damaged = readFileSync(join(cwd, 'step_7'))
  damaged[damaged.length >> 1]! ^= 1
  writeFileSync(join(cwd, 'step_7'), damaged)
  t.match(await hrm(['inspect', 'step_7'], { cwd }), { code: 3, stderr: /\[ERR_HRM_CORRUPT\]/ })
  writeFileSync(join(cwd, 'other.pt'), torchBytes(dict(text('x'), tensor())))
  copyFileSync(join(cwd, 'official', configFile), join(cwd, configFile))
  t.match(await hrm(['convert', 'other.pt', 'no'], { cwd }), { code: 3, stderr: /HRM checkpoint/ })
  t.notOk(existsSync(join(cwd, 'marker')))
  t.notOk(existsSync(join(cwd, 'no')))
})
