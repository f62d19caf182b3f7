import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { test } from 'tap'
import { Dataset, IGNORE_LABEL } from '#dist/dataset.js'
import { encodeHashes, sha256OfFile } from '#dist/dataset-files.js'
import { damagedFiles, golden, hrmError, npy, smallSplit, unlessGolden, writeSplit } from './fixtures.js'

/** Tokens of a grid as text, `.` or 0 for blank. */
function tokens(digits: string): number[] {
  return [...digits.replaceAll('.', '0')].map((digit) => Number(digit) + 1)
}

type Files = Record<string, Uint8Array | string>

function withMetadata(change: Record<string, unknown>): Files {
  const files = smallSplit()
  const metadata = { ...(JSON.parse(files['dataset.json'] as string) as Record<string, unknown>), ...change }
  return { ...files, 'dataset.json': JSON.stringify(metadata) }
}

void test('an official dataset opens with its metadata', { skip: unlessGolden('ckpt/sudoku-tiny') }, async (t) => {
  const dataset = await Dataset.open(join(golden, 'ckpt/sudoku-tiny'))
  t.same(dataset.splits, ['train', 'test'])
  t.equal(dataset.vocabSize, 11)
  t.equal(dataset.seqLen, 81)
  t.equal(dataset.numPuzzleIdentifiers, 1)
  t.same(dataset.metadata('train'), {
    padId: 0,
    ignoreLabelId: 0,
    blankIdentifierId: 0,
    vocabSize: 11,
    seqLen: 81,
    numPuzzleIdentifiers: 1,
    totalGroups: 6,
    meanPuzzleExamples: 1,
    sets: ['all'],
  })
  t.same(dataset.identifiers(), ['<blank>'])
  const csv = readFileSync(join(golden, 'ckpt/_csv/train.csv'), 'utf8').split('\n')[1]!.split(',')
  const example = dataset.example('train', 'all', 0)
  t.same([...example.inputs], tokens(csv[1]!))
  t.same([...example.labels], tokens(csv[2]!))
  dataset.close()
})

void test('an example has its puzzle, and its ignored labels are -100', async (t) => {
  const dir = writeSplit(t.testdir(), 'train', {
    ...smallSplit(),
    'all__labels.npy': npy('<i4', [6, 4], [0, 1, -100, 3, ...Array.from({ length: 20 }, () => 2)]),
  })
  const dataset = await Dataset.open(dir)
  t.same([...dataset.example('train', 'all', 0).labels], [IGNORE_LABEL, 1, IGNORE_LABEL, 3])
  t.same(
    Array.from({ length: 6 }, (_, index) => dataset.example('train', 'all', index).puzzleId),
    [1, 2, 2, 3, 3, 3],
  )
  t.throws(() => dataset.example('train', 'all', 6), { name: 'RangeError', code: 'ERR_HRM_ARGUMENT' })
  t.throws(() => dataset.example('train', 'none', 0), { name: 'RangeError', code: 'ERR_HRM_ARGUMENT' })
  t.throws(() => dataset.example('test', 'all', 0), { name: 'HRMError', code: 'ERR_HRM_DATASET' })
  dataset.close()
})

void test('the hash names the content, with and without hash.json, and verify finds a changed file', async (t) => {
  const dir = writeSplit(t.testdir(), 'test', smallSplit())
  const without = await (await Dataset.open(dir)).hash()
  const names = Object.keys(smallSplit()).map((name) => `test/${name}`)
  const hashes = await Promise.all(names.map(async (name) => [name, await sha256OfFile(join(dir, name))] as const))
  writeFileSync(join(dir, 'hash.json'), encodeHashes(new Map(hashes)))
  const dataset = await Dataset.open(dir)
  t.equal(await dataset.hash(), without)
  await dataset.verify()
  const changed = smallSplit()['all__inputs.npy'] as Uint8Array
  changed[130] = 2
  rmSync(join(dir, 'test/all__inputs.npy'))
  writeFileSync(join(dir, 'test/all__inputs.npy'), changed)
  t.match(await hrmError(() => dataset.verify()), { code: 'ERR_HRM_CORRUPT', message: /all__inputs\.npy/ })
  dataset.close()
})

const tokens24 = Array.from({ length: 24 }, () => 1)
const wrong: Record<string, [Files, RegExp]> = {
  'a missing array': [{ 'all__labels.npy': '' }, /labels/],
  'labels of another length': [{ 'all__labels.npy': npy('|u1', [5, 4], tokens24.slice(4)) }, /all__labels\.npy/],
  'inputs of another width': [{ 'all__inputs.npy': npy('|u1', [4, 6], tokens24) }, /seq_len 4.*all__inputs\.npy/s],
  'inputs without rows': [{ 'all__inputs.npy': npy('|u1', [0, 4], []) }, /at least one example/],
  'inputs of one dimension': [{ 'all__inputs.npy': npy('|u1', [24], tokens24) }, /all__inputs\.npy/],
  'an input beyond the vocabulary': [
    { 'all__inputs.npy': npy('|u1', [6, 4], [...tokens24.slice(1), 6]) },
    /6 at position 3 of example 5/,
  ],
  'a negative input': [
    { 'all__inputs.npy': npy('<i4', [6, 4], [-1, ...tokens24.slice(1)]) },
    /-1 at position 0 of example 0/,
  ],
  'a label beyond the vocabulary': [
    { 'all__labels.npy': npy('<i8', [6, 4], [...tokens24.slice(1), 600]) },
    /600 at position 3 of example 5/,
  ],
  'indices that do not start at 0': [
    { 'all__puzzle_indices.npy': npy('<i4', [4], [1, 2, 3, 6]) },
    /first index to be 0/,
  ],
  'indices that repeat': [{ 'all__puzzle_indices.npy': npy('<i4', [4], [0, 3, 3, 6]) }, /above 3 at row 2/],
  'indices that descend': [{ 'all__puzzle_indices.npy': npy('<i4', [4], [0, 4, 3, 6]) }, /above 4 at row 2/],
  'puzzle indices that end early': [
    { 'all__puzzle_indices.npy': npy('<i4', [4], [0, 1, 3, 5]) },
    /last index to be 6, the number of examples/,
  ],
  'puzzle indices that end late': [{ 'all__puzzle_indices.npy': npy('<i4', [4], [0, 1, 3, 7]) }, /last index to be 6/],
  'too few puzzle indices': [{ 'all__puzzle_indices.npy': npy('<i4', [3], [0, 1, 6]) }, /4 indices for 3 puzzles/],
  'group indices that end early': [
    { 'all__group_indices.npy': npy('<i4', [3], [0, 1, 2]) },
    /last index to be 3, the number of puzzles/,
  ],
  'one group index': [{ 'all__group_indices.npy': npy('<i4', [1], [0]) }, /at least 2/],
  'indices of two dimensions': [{ 'all__group_indices.npy': npy('<i4', [3, 1], [0, 2, 3]) }, /one dimension/],
  'an identifier out of range': [{ 'all__puzzle_identifiers.npy': npy('<i4', [3], [1, 4, 3]) }, /4 of puzzle 1/],
  'a negative identifier': [{ 'all__puzzle_identifiers.npy': npy('<i4', [3], [1, 2, -3]) }, /-3 of puzzle 2/],
  'no dataset.json': [{ 'dataset.json': '' }, /dataset\.json/],
  'dataset.json that is no JSON': [{ 'dataset.json': '{"pad_id": 0,' }, /JSON.*dataset\.json/s],
  'dataset.json with a byte order mark': [{ 'dataset.json': '\ufeff{}' }, /dataset\.json/],
  'dataset.json that is not UTF-8': [{ 'dataset.json': Uint8Array.from([0x7b, 0xff, 0x7d]) }, /UTF-8/],
  'dataset.json that is a list': [{ 'dataset.json': '[]' }, /an object/],
  'dataset.json with a repeated key': [{ 'dataset.json': '{"pad_id":0,"pad_id":1}' }, /repeated/],
  'another number of groups': [withMetadata({ total_groups: 3 }), /total_groups to be 2/],
  'no vocabulary': [withMetadata({ vocab_size: 0 }), /vocab_size/],
  'a vocabulary as text': [withMetadata({ vocab_size: '6' }), /vocab_size/],
  'a fractional length': [withMetadata({ seq_len: 4.5 }), /seq_len/],
  'a length beyond all memory': [withMetadata({ seq_len: 2 ** 40 }), /seq_len/],
  'a pad token outside the vocabulary': [withMetadata({ pad_id: 6 }), /pad_id/],
  'a blank identifier out of range': [withMetadata({ blank_identifier_id: 4 }), /blank_identifier_id/],
  'an absent ignore label': [withMetadata({ ignore_label_id: undefined }), /ignore_label_id/],
  'a mean of 0': [withMetadata({ mean_puzzle_examples: 0 }), /mean_puzzle_examples/],
  'no sets': [withMetadata({ sets: [] }), /sets/],
  'a set twice': [withMetadata({ sets: ['all', 'all'], total_groups: 4 }), /sets to be a list of different names/],
  'a set that leads outside the folder': [withMetadata({ sets: ['../all'] }), /sets/],
  'a set that does not exist': [withMetadata({ sets: ['all', 'more'] }), /more__inputs\.npy/],
}

for (const [what, [change, message]] of Object.entries(wrong)) {
  void test(`${what} is an error that says where`, async (t) => {
    const files = { ...smallSplit(), ...change }
    const present = Object.fromEntries(Object.entries(files).filter(([, content]) => content !== ''))
    const dir = writeSplit(t.testdir(), 'train', present)
    const error = await hrmError(() => Dataset.open(dir))
    t.match(error, { code: 'ERR_HRM_DATASET', message })
    t.ok(error.message.length < 2000)
  })
}

void test('a folder without splits, a missing folder and a file are errors', async (t) => {
  const dir = t.testdir({ file: '', folder: {} })
  for (const name of ['file', 'folder', 'none']) {
    t.match(
      await hrmError(() => Dataset.open(join(dir, name))),
      { code: 'ERR_HRM_DATASET', message: /train or test/ },
      name,
    )
  }
})

void test('splits that do not fit each other are an error', async (t) => {
  const dir = writeSplit(t.testdir(), 'train', smallSplit())
  writeSplit(dir, 'test', withMetadata({ vocab_size: 7 }))
  t.match(await hrmError(() => Dataset.open(dir)), { code: 'ERR_HRM_DATASET', message: /vocabSize 6/ })
})

void test('identifiers.json that is no list of strings is an error', async (t) => {
  const dir = writeSplit(t.testdir(), 'train', smallSplit())
  const dataset = await Dataset.open(dir)
  t.same(dataset.identifiers(), [])
  for (const content of ['{}', '[1]', '[', '']) {
    writeFileSync(join(dir, 'identifiers.json'), content)
    t.match(await hrmError(() => dataset.identifiers()), { code: 'ERR_HRM_DATASET', message: /identifiers\.json/ })
  }
  dataset.close()
})

void test('tokens of arrays too large to be checked at opening are checked when read', async (t) => {
  const examples = 2 ** 22 + 8
  const dir = t.testdir()
  const write = (name: string, bytes: Uint8Array): void => writeFileSync(join(dir, 'train', name), bytes)
  mkdirSync(join(dir, 'train'))
  const big = Buffer.concat([npy('|u1', [examples, 16], []), new Uint8Array(examples * 16).fill(1)])
  write('all__labels.npy', big)
  big[128 + 16 * 4_000_000 + 5] = 9
  write('all__inputs.npy', big)
  write('all__puzzle_identifiers.npy', npy('|u1', [1], [0]))
  write('all__puzzle_indices.npy', npy('<i4', [2], [0, examples]))
  write('all__group_indices.npy', npy('|u1', [2], [0, 1]))
  const metadata = withMetadata({ seq_len: 16, total_groups: 1 })['dataset.json'] as string
  write('dataset.json', Buffer.from(metadata))
  const dataset = await Dataset.open(dir)
  t.same(
    [...dataset.example('train', 'all', 3_999_999).inputs],
    Array.from({ length: 16 }, () => 1),
  )
  const error = await hrmError(() => dataset.example('train', 'all', 4_000_000))
  t.match(error, { code: 'ERR_HRM_DATASET', message: /9 at position 5 of example 4000000/ })
  dataset.close()
})

void test('no damage to any file of a dataset leads to anything but examples or an HRMError', async (t) => {
  const dir = t.testdir()
  const files = smallSplit()
  writeSplit(dir, 'train', files)
  const path = join(dir, 'train/target')
  const damage = fc.record({
    name: fc.constantFrom(...Object.keys(files)),
    at: fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
    byte: fc.nat(255),
    cut: fc.boolean(),
  })
  await fc.assert(
    fc.asyncProperty(damage, async ({ name, at, byte, cut }) => {
      const bytes = Buffer.from(files[name]!)
      const index = Math.floor(at * bytes.length)
      bytes[index] = byte
      writeFileSync(path, cut ? bytes.subarray(0, index) : bytes)
      renameSync(path, join(dir, 'train', name))
      let dataset: Dataset | undefined
      try {
        dataset = await Dataset.open(dir)
        for (const set of dataset.sets('train')) {
          for (let example = 0; example < set.numExamples; example++) dataset.example('train', set.name, example)
        }
        return true
      } catch (error) {
        return (error as { code?: string }).code === 'ERR_HRM_DATASET'
      } finally {
        dataset?.close()
        writeFileSync(path, files[name]!)
        renameSync(path, join(dir, 'train', name))
      }
    }),
    { numRuns: damagedFiles },
  )
  t.ok(existsSync(dir))
})
