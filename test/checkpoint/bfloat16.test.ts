// Checkpoints stored in bfloat16, and model cards of one's own.
import { appendFileSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test, type Test } from 'tap'
import { convertToFolder, convertToPyTorch } from '#dist/convert.js'
import { HRM } from '#dist/index.js'
import { readSafetensors } from '#dist/safetensors.js'
import { toBfloat16 } from '#dist/tensor-types.js'
import { hrm } from '../cli/process.js'
import { examples, rejection, tiny } from '../facade/fixtures.js'

const bits = (...patterns: number[]) => new Float32Array(Uint32Array.from(patterns).buffer)

async function saved(t: Test): Promise<string> {
  const dir = t.testdir()
  using model = await HRM.create(tiny, { seed: 3 })
  await model.save(join(dir, 'single'))
  return dir
}

test('values become the nearest in bfloat16, ties the even one', (t) => {
  const cases = [
    [0x3f800000, 0x3f80], // 1
    [0x3f807fff, 0x3f80],
    [0x3f808000, 0x3f80], // a tie: down to even
    [0x3f808001, 0x3f81],
    [0x3f818000, 0x3f82], // a tie: up to even
    [0xbf818000, 0xbf82],
    [0x80000000, 0x8000], // -0
    [0x00000001, 0x0000], // the smallest denormal
    [0x7f7fffff, 0x7f80], // the largest float: infinity
    [0xff800000, 0xff80],
  ] as const
  t.strictSame(
    [...toBfloat16(bits(...cases.map(([from]) => from)))],
    cases.map(([, to]) => to),
  )
  const [nan] = toBfloat16(bits(0x7f800001))
  t.ok((nan! & 0x7f80) === 0x7f80 && (nan! & 0x7f) !== 0, 'a NaN stays one')
  t.end()
})

test('a checkpoint in bfloat16 takes half the space, loads, and is exact in every further conversion', async (t) => {
  const dir = await saved(t)
  const [single, half, back] = ['single', 'half', 'back'].map((name) => join(dir, name)) as [string, string, string]
  await convertToFolder(single, half, { dtype: 'bf16' })
  await convertToFolder(half, back, {})
  const [before, stored, after] = await Promise.all(
    [single, half, back].map((folder) => readSafetensors(join(folder, 'model.safetensors'))),
  )
  let changed = 0
  for (const name of before!.names()) {
    t.equal(stored!.info(name).dtype, 'BF16', name)
    const exact = await before!.readFloat32(name)
    const rounded = await stored!.readFloat32(name)
    t.strictSame(await after!.readFloat32(name), rounded)
    // 8 bits of mantissa: at most half of the last one is lost.
    t.ok(exact.every((value, at) => Math.abs(value - rounded[at]!) <= Math.abs(value) * 2 ** -8))
    changed += exact.reduce((sum, value, at) => sum + (value === rounded[at] ? 0 : 1), 0)
  }
  t.ok(changed > 1000, 'most values are not in bfloat16')
  for (const file of [before, stored, after]) await file!.close()
  using loaded = await HRM.load(half)
  using same = await HRM.load(back)
  const inputs = examples(4)
  const answers = (model: HRM) => model.solve(inputs).then((list) => list.map(({ tokens, qHalt }) => [tokens, qHalt]))
  t.strictSame(await answers(loaded), await answers(same))
})

test('what is no number in bfloat16 is not stored', async (t) => {
  const dir = await saved(t)
  // A model from elsewhere, without hashes, with the largest float as its last value.
  const path = join(dir, 'single', 'model.safetensors')
  const bytes = readFileSync(path)
  bytes.writeUInt32LE(0x7f7fffff, bytes.length - 4)
  const text = bytes.toString('latin1').replace('"format":"hrm-native/1"', '"format":"elsewhere/12"')
  writeFileSync(path, text, 'latin1')
  rmSync(join(dir, 'single', 'hash.json'))
  await convertToFolder(join(dir, 'single'), join(dir, 'copy'), { dtype: 'fp32' })
  const error = await rejection(convertToFolder(join(dir, 'single'), join(dir, 'half'), { dtype: 'bf16' }))
  t.match(error, { code: 'ERR_HRM_NON_FINITE', details: { tensor: 'inner.L_init' } })
})

test('a model card of one’s own is hashed like any other file', async (t) => {
  const dir = await saved(t)
  const card = join(dir, 'card.md')
  writeFileSync(card, '# Mine\n')
  const cwd = dir
  t.match(await hrm(['convert', 'single', 'half', '--dtype', 'bf16', '--card', 'card.md'], { cwd }), { code: 0 })
  t.equal(readFileSync(join(dir, 'half', 'README.md'), 'utf8'), '# Mine\n')
  appendFileSync(join(dir, 'half', 'README.md'), 'changed')
  t.match(await rejection(HRM.load(join(dir, 'half'))), { code: 'ERR_HRM_CORRUPT', details: { file: 'README.md' } })
  t.match(await hrm(['convert', 'single', 'other', '--card', 'none.md'], { cwd }), { code: 1, stderr: /ERR_HRM_IO/ })
  t.match(await hrm(['convert', 'single', 'other', '--dtype', 'fp8'], { cwd }), { code: 2 })
  for (const options of [{ dtype: 'bf16' }, { card: 'text' }] as const) {
    const refused = await rejection(convertToPyTorch(join(dir, 'single'), join(dir, 'pt/a.pt'), options))
    t.match(refused, { code: 'ERR_HRM_ARGUMENT', message: /with a checkpoint folder only/ })
  }
})
