import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { test } from 'tap'
import { Dataset } from '#dist/dataset.js'
import { RandomStream } from '#dist/random.js'
import {
  applySymmetry,
  buildGeneratedSudoku,
  buildSudokuFromCsv,
  canonicalPuzzle,
  type CsvBuildOptions,
  type GeneratedBuildOptions,
  generatePuzzle,
  randomSymmetry,
  readSudokuCsv,
  solveSudoku,
  type SudokuBuildResult,
  tokensToDigits,
  verifySudoku,
} from '#dist/sudoku/index.js'
import { damagedFiles, hrmError } from './fixtures.js'

const text = (grid: Uint8Array): string => grid.join('').replaceAll('0', '.')

/** Puzzles with their ratings, as CSV. */
function csv(count: number, seed: number): string {
  const rows = Array.from({ length: count }, (_, index) => {
    const { puzzle, solution } = generatePuzzle(9, 30, new RandomStream(seed, 'puzzle', index))
    return `some source,${text(puzzle)},${text(solution)},${index}`
  })
  return `source,question,answer,rating\n${rows.join('\n')}\n`
}

const trainCsv = csv(12, 1)
const testCsv = csv(5, 2)

function fromCsv(source: string, outDir: string, more: Partial<CsvBuildOptions> = {}): Promise<SudokuBuildResult> {
  return buildSudokuFromCsv({ source, outDir, seed: 0, numAug: 0, ...more })
}

function generated(outDir: string, more: Partial<GeneratedBuildOptions> = {}): Promise<SudokuBuildResult> {
  return buildGeneratedSudoku({
    outDir,
    size: 4,
    trainPuzzles: 40,
    testPuzzles: 16,
    holes: 8,
    seed: 0,
    numAug: 0,
    ...more,
  })
}

function digest(dir: string): Record<string, string> {
  const files = readdirSync(dir, { recursive: true, encoding: 'utf8' }).filter((name) =>
    statSync(join(dir, name)).isFile(),
  )
  return Object.fromEntries(
    files.toSorted().map((name) => [
      name,
      createHash('sha256')
        .update(readFileSync(join(dir, name)))
        .digest('hex'),
    ]),
  )
}

async function rows(path: string): Promise<{ line: number; question: string }[]> {
  const found: { line: number; question: string }[] = []
  for await (const { line, puzzle } of readSudokuCsv(path)) found.push({ line, question: text(puzzle) })
  return found
}

const question = trainCsv.split('\n')[1]!.split(',')[1]!
const answer = trainCsv.split('\n')[1]!.split(',')[2]!
const header = 'source,question,answer,rating'

test('a folder of CSV files gives both splits in the official form, intact and with hashes', async (t) => {
  const dir = t.testdir({ csv: { 'train.csv': trainCsv, 'test.csv': testCsv } })
  const out = join(dir, 'out')
  const result = await fromCsv(join(dir, 'csv'), out, { numAug: 3 })
  t.same(result.splits, {
    test: { groups: 5, puzzles: 5, examples: 5 },
    train: { groups: 12, puzzles: 48, examples: 48 },
  })
  t.same(result.leaks, { compared: 'solutions up to symmetry', testExamples: 5, leaked: 0, firstLeaked: [] })
  const dataset = await Dataset.open(out)
  await dataset.verify()
  t.equal(await dataset.hash(), result.hash)
  t.same(dataset.identifiers(), ['<blank>'])
  t.same(dataset.metadata('train'), {
    padId: 0,
    ignoreLabelId: 0,
    blankIdentifierId: 0,
    vocabSize: 11,
    seqLen: 81,
    numPuzzleIdentifiers: 1,
    totalGroups: 12,
    meanPuzzleExamples: 1,
    sets: ['all'],
  })
  const set = dataset.sets('train')[0]!
  t.same(
    [...set.groupIndices],
    Array.from({ length: 13 }, (_, group) => group * 4),
  )
  const lines = trainCsv.split('\n').slice(1)
  for (let group = 0; group < 12; group++) {
    const versions = Array.from({ length: 4 }, (_, copy) => dataset.example('train', 'all', group * 4 + copy))
    t.equal(text(tokensToDigits(versions[0]!.inputs)), lines[group]!.split(',')[1], 'the first is not augmented')
    t.equal(new Set(versions.map(({ inputs }) => inputs.join())).size, 4)
    for (const { inputs, labels } of versions)
      t.same(verifySudoku(9, tokensToDigits(inputs), tokensToDigits(labels)), { valid: true })
  }
  t.same(readdirSync(out).toSorted(), ['hash.json', 'identifiers.json', 'test', 'train'], 'nothing temporary stays')
  dataset.close()
})

test('the same seed gives the same bytes, another seed others', async (t) => {
  const dir = t.testdir({ csv: { 'train.csv': trainCsv, 'test.csv': testCsv } })
  const build = async (name: string, seed: number): Promise<Record<string, string>> => {
    await fromCsv(join(dir, 'csv'), join(dir, name), { numAug: 2, subsampleSize: 6, seed })
    return digest(join(dir, name))
  }
  const first = await build('a', 7)
  t.same(await build('b', 7), first)
  const other = await build('c', 8)
  t.not(other['train/all__inputs.npy'], first['train/all__inputs.npy'])
  t.equal(other['test/all__inputs.npy'], first['test/all__inputs.npy'])
})

test('what the seed gives is the same on every platform and in every version', async (t) => {
  const dir = t.testdir()
  await generated(join(dir, 'a'), { grids: 240, numAug: 2 })
  t.equal(
    digest(join(dir, 'a'))['train/all__inputs.npy'],
    '13d2cd6bb86768b13f594212a18ed21ec7634625e5bfef02496f0e0dde0d4376',
  )
  await generated(join(dir, 'b'), { size: 6, holes: 18, trainPuzzles: 5, testPuzzles: 0 })
  t.equal(
    digest(join(dir, 'b'))['train/all__inputs.npy'],
    'f038792cb2ead9c00df66dbefd1fcbc4186d7c73f562765d7235b436e2371fe5',
  )
  await generated(join(dir, 'c'), { size: 9, holes: 45, trainPuzzles: 5, testPuzzles: 0, numAug: 1 })
  t.equal(
    digest(join(dir, 'c'))['train/all__labels.npy'],
    '6b032b3357083caa390ade8747adb29add740b35a2198e2804a146b901a4672b',
  )
})

test('a subsample is drawn without replacement, stays in order and reaches every row', async (t) => {
  const dir = t.testdir({ 'train.csv': trainCsv })
  const all = (await rows(join(dir, 'train.csv'))).map((row) => row.question)
  const seen = new Set<string>()
  for (let seed = 0; seed < 25; seed++) {
    const out = join(dir, `${seed}`)
    await fromCsv(join(dir, 'train.csv'), out, { subsampleSize: 4, seed })
    const dataset = await Dataset.open(out)
    const drawn = Array.from({ length: 4 }, (_, index) =>
      text(tokensToDigits(dataset.example('train', 'all', index).inputs)),
    )
    const places = drawn.map((row) => all.indexOf(row))
    t.ok(
      places.every((place, index) => place >= 0 && (index === 0 || place > places[index - 1]!)),
      places.join(),
    )
    for (const row of drawn) seen.add(row)
    dataset.close()
  }
  t.equal(seen.size, 12)
  const { splits } = await fromCsv(join(dir, 'train.csv'), join(dir, 'more'), { subsampleSize: 100 })
  t.equal(splits.train!.groups, 12, 'a larger number takes all')
})

test('a least difficulty filters both splits', async (t) => {
  const dir = t.testdir({ csv: { 'train.csv': trainCsv, 'test.csv': testCsv } })
  const { splits } = await fromCsv(join(dir, 'csv'), join(dir, 'out'), { minDifficulty: 3 })
  t.equal(splits.train!.groups, 9)
  t.equal(splits.test!.groups, 2)
  const none = await hrmError(() => fromCsv(join(dir, 'csv'), join(dir, 'none'), { minDifficulty: 100 }))
  t.match(none, { code: 'ERR_HRM_DATASET', message: /rating of 100/ })
  t.notOk(existsSync(join(dir, 'none')), 'a failed build leaves nothing')
})

test('a second file adds the other split, and both are hashed and compared', async (t) => {
  const dir = t.testdir({ 'sudoku.csv': trainCsv, 'test-small.csv': testCsv })
  const out = join(dir, 'out')
  t.equal((await fromCsv(join(dir, 'sudoku.csv'), out, { numAug: 1 })).leaks, undefined)
  const { splits, leaks, hash } = await fromCsv(join(dir, 'test-small.csv'), out, { numAug: 1 })
  t.same(splits, { test: { groups: 5, puzzles: 5, examples: 5 } }, 'test is not augmented')
  t.equal(leaks!.leaked, 0)
  const dataset = await Dataset.open(out)
  t.same(dataset.splits, ['train', 'test'])
  await dataset.verify()
  t.equal(await dataset.hash(), hash)
  dataset.close()
})

test('a test puzzle whose solution is one of training up to symmetry is reported', async (t) => {
  const lines = trainCsv.trim().split('\n')
  const disguise = (line: string, index: number): string => {
    const [, puzzle, solution] = line.split(',')
    const symmetry = randomSymmetry(9, new RandomStream(11, 'augmentation', index))
    const change = (grid: string): string =>
      text(applySymmetry(9, symmetry, Uint8Array.from(grid.replaceAll('.', '0'), Number)))
    return `x,${change(puzzle!)},${change(solution!)},0`
  }
  const leaking = [...testCsv.trim().split('\n'), disguise(lines[3]!, 0), disguise(lines[9]!, 1)].join('\n')
  const dir = t.testdir({ csv: { 'train.csv': trainCsv, 'test.csv': leaking } })
  const { leaks } = await fromCsv(join(dir, 'csv'), join(dir, 'out'), { numAug: 1 })
  t.same(leaks, { compared: 'solutions up to symmetry', testExamples: 7, leaked: 2, firstLeaked: [5, 6] })
})

test('an existing split is kept unless it is to be replaced', async (t) => {
  const dir = t.testdir({ csv: { 'train.csv': trainCsv, 'test.csv': testCsv } })
  const out = join(dir, 'out')
  await fromCsv(join(dir, 'csv'), out)
  const before = digest(out)
  const error = await hrmError(() => fromCsv(join(dir, 'csv'), out, { seed: 1, numAug: 1 }))
  t.match(error, { code: 'ERR_HRM_DATASET', message: /--force/ })
  t.same(digest(out), before)
  await fromCsv(join(dir, 'csv'), out)
  t.same(digest(out), before, 'the same build again changes nothing')
  await fromCsv(join(dir, 'csv/train.csv'), out, { seed: 1, numAug: 1, force: true })
  const after = digest(out)
  t.not(after['train/all__inputs.npy'], before['train/all__inputs.npy'])
  t.equal(after['test/all__inputs.npy'], before['test/all__inputs.npy'])
  const dataset = await Dataset.open(out)
  await dataset.verify()
  dataset.close()
})

test('a build that fails or is ended changes nothing', async (t) => {
  const broken = trainCsv.replace(/,[0-9]{81},11\n$/, `,${answer},11\n`)
  const dir = t.testdir({ 'train.csv': trainCsv, broken: { 'train.csv': broken } })
  const out = join(dir, 'out')
  await fromCsv(join(dir, 'train.csv'), out)
  const before = digest(out)
  t.match(await hrmError(() => fromCsv(join(dir, 'broken/train.csv'), out, { force: true })), { details: { line: 13 } })
  t.same(digest(out), before)
  const controller = new AbortController()
  const ended = fromCsv(join(dir, 'train.csv'), out, {
    force: true,
    numAug: 5,
    signal: controller.signal,
    onProgress: () => controller.abort(new Error('enough')),
  })
  await t.rejects(ended, { message: 'enough' })
  t.same(digest(out), before)
})

test('a split of another format is not put beside the one that stays', async (t) => {
  const dir = t.testdir({ 'test.csv': testCsv })
  const out = join(dir, 'out')
  await generated(out, { testPuzzles: 0 })
  const before = digest(out)
  t.match(await hrmError(() => fromCsv(join(dir, 'test.csv'), out)), { code: 'ERR_HRM_DATASET', message: /seqLen 81/ })
  t.same(digest(out), before)
  writeFileSync(join(out, 'identifiers.json'), '["<blank>","task"]')
  const other = await hrmError(() => fromCsv(join(dir, 'test.csv'), out))
  t.match(other, { code: 'ERR_HRM_DATASET', message: /identifiers\.json/ })
})

test('CSV with byte order mark, CRLF, quotes, zeros, other column orders and blank lines is read', async (t) => {
  const zeros = question.replaceAll('.', '0')
  const dir = t.testdir({
    bom: `\ufeff${header}\n"a, ""b""",${question},${answer},3\n`,
    quotedBom: `\ufeff"source","question","answer","rating"\nx,${question},${answer},3\n`,
    crlf: `${header}\r\nx,${zeros},${answer},3\r\n`,
    quoted: `"source","question","answer","rating"\n"two\nlines","${question}","${answer}","3"\n`,
    order: `rating,answer,extra,question\n3,${answer},,${question}\n`,
    blank: `${header}\n\nx,${question},${answer},3\n\n\n`,
    open: `${header}\nx,${question},${answer},3`,
    unrated: `question,answer\n${question},${answer}\n`,
  })
  const lines = { bom: 2, quotedBom: 2, crlf: 2, quoted: 3, order: 2, blank: 3, open: 2, unrated: 2 }
  for (const [name, line] of Object.entries(lines)) t.same(await rows(join(dir, name)), [{ line, question }], name)
})

const row = (change: Partial<Record<'question' | 'answer' | 'rating', string>>): string => {
  const fields = { question, answer, rating: '3', ...change }
  return `${header}\nx,${question},${answer},1\ny,${fields.question},${fields.answer},${fields.rating}\n`
}
const wrongGiven = question.replace(/[1-9]/, (digit) => (digit === '1' ? '2' : '1'))
const malformed: Record<string, [string, RegExp, number]> = {
  'an empty file': ['', /header/, 1],
  'no header': [`x,${question},${answer},3\n`, /header/, 1],
  'a header without answer': [`source,question,rating\nx,${question},3\n`, /header/, 1],
  'a column twice': [`question,answer,question\n${question},${answer},${question}\n`, /header/, 1],
  'too few fields': [`${header}\nx,${question},${answer},3\nx,${question}\n`, /4 fields/, 3],
  'too many fields': [`${header}\nx,${question},${answer},3,4\n`, /4 fields/, 2],
  'a short question': [row({ question: question.slice(1) }), /81 characters as question/, 3],
  'a long answer': [row({ answer: `${answer}1` }), /81 characters as answer/, 3],
  'a letter in the question': [row({ question: `x${question.slice(1)}` }), /question.*"x"/, 3],
  'a blank in the answer': [row({ answer: `.${answer.slice(1)}` }), /answer.*"\."/, 3],
  'digits that are not ASCII': [row({ answer: `٣${answer.slice(1)}` }), /answer/, 3],
  'an answer that changes a given': [row({ question: wrongGiven }), /given/, 3],
  'an answer that breaks the rules': [row({ question: '.'.repeat(81), answer: '1'.repeat(81) }), /1 twice in row 1/, 3],
  'a rating that is no number': [row({ rating: 'hard' }), /rating.*"hard"/, 3],
  'a negative rating': [row({ rating: '-1' }), /rating/, 3],
  'a quote that is never closed': [`${header}\n"x,${question},${answer},3\n`, /CSV/, 2],
  'a quote inside a field': [`${header}\nx"y,${question},${answer},3\n`, /CSV/, 2],
  'a row of a megabyte': [`${header}\n${'x'.repeat(2 ** 20)}`, /CSV/, 2],
}

for (const [what, [content, message, line]] of Object.entries(malformed)) {
  test(`${what} is an error that names file and line`, async (t) => {
    const path = join(t.testdir({ 'train.csv': content }), 'train.csv')
    const error = await hrmError(() => rows(path))
    t.match(error, { code: 'ERR_HRM_DATASET', message, details: { line } })
    t.ok(error.message.includes(path) && error.message.length < 2000, error.message)
  })
}

test('no mutation of a CSV leads to anything but valid rows or an HRMError', async (t) => {
  const dir = t.testdir()
  const path = join(dir, 'train.csv')
  const original = Buffer.from(trainCsv.split('\n').slice(0, 4).join('\r\n'))
  const change = fc.record({
    at: fc.nat(original.length - 1),
    byte: fc.oneof(fc.nat(255), fc.constantFrom(...Buffer.from('",\n\r.019'))),
  })
  await fc.assert(
    fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 3 }), async (changes) => {
      const bytes = Buffer.from(original)
      for (const { at, byte } of changes) bytes[at] = byte
      writeFileSync(path, bytes)
      try {
        for await (const { puzzle, solution } of readSudokuCsv(path)) {
          if (!verifySudoku(9, puzzle, solution).valid) return false
        }
        return true
      } catch (error) {
        return (error as { code?: string }).code === 'ERR_HRM_DATASET'
      }
    }),
    { numRuns: damagedFiles },
  )
})

test('missing sources and impossible targets are errors', async (t) => {
  const dir = t.testdir({ 'train.csv': trainCsv, file: 'x', half: { 'train.csv': trainCsv } })
  t.match(await hrmError(() => fromCsv(join(dir, 'none'), join(dir, 'out'))), {
    code: 'ERR_HRM_DATASET',
    message: /none/,
  })
  t.match(await hrmError(() => fromCsv(join(dir, 'half'), join(dir, 'out'))), {
    code: 'ERR_HRM_DATASET',
    message: /no test\.csv/,
  })
  t.match(await hrmError(() => fromCsv(join(dir, 'train.csv'), join(dir, 'file'))), { code: 'ERR_HRM_IO' })
  t.notOk(existsSync(join(dir, 'out')))
  mkdirSync(join(dir, 'folder.csv'))
  t.match(await hrmError(() => rows(join(dir, 'folder.csv'))), { code: 'ERR_HRM_IO' })
})

test('generated puzzles have one solution, the asked holes and come once', async (t) => {
  const cases = [
    { size: 4, holes: 8, trainPuzzles: 200, testPuzzles: 80 },
    { size: 6, holes: 20, trainPuzzles: 30, testPuzzles: 10 },
    { size: 9, holes: 50, trainPuzzles: 6, testPuzzles: 3 },
  ] as const
  for (const options of cases) {
    const out = join(t.testdir(), 'out')
    const { leaks, splits } = await generated(out, options)
    t.equal(leaks!.leaked, 0)
    t.equal(splits.train!.examples, options.trainPuzzles)
    const dataset = await Dataset.open(out)
    t.equal(dataset.vocabSize, options.size + 2)
    t.equal(dataset.seqLen, options.size ** 2)
    const seen = new Set<string>()
    for (const split of dataset.splits) {
      for (let index = 0; index < dataset.sets(split)[0]!.numExamples; index++) {
        const { inputs, labels } = dataset.example(split, 'all', index)
        const puzzle = tokensToDigits(inputs)
        t.equal(puzzle.filter((digit) => digit === 0).length, options.holes)
        t.same(solveSudoku(options.size, puzzle), { count: 1, solution: tokensToDigits(labels) })
        seen.add(puzzle.join())
      }
    }
    t.equal(seen.size, options.trainPuzzles + options.testPuzzles)
    dataset.close()
  }
})

test('training and test puzzles have different solutions where grids are divided, also augmented', async (t) => {
  const out = join(t.testdir(), 'out')
  await generated(out, { trainPuzzles: 300, testPuzzles: 100, grids: 240, numAug: 5 })
  const dataset = await Dataset.open(out)
  const solutions = (split: 'train' | 'test'): Set<string> => {
    const { numExamples } = dataset.sets(split)[0]!
    return new Set(
      Array.from({ length: numExamples }, (_, index) => dataset.example(split, 'all', index).labels.join()),
    )
  }
  const [train, test] = [solutions('train'), solutions('test')]
  t.ok(train.size > 200 && train.size <= 240, `${train.size} training grids`)
  t.ok(test.size > 35 && test.size <= 48, `${test.size} test grids`)
  t.equal([...test].filter((grid) => train.has(grid)).length, 0)
  dataset.close()
})

test('augmentations that equal a test puzzle are reported', async (t) => {
  const { leaks } = await generated(join(t.testdir(), 'out'), {
    trainPuzzles: 400,
    testPuzzles: 100,
    holes: 2,
    numAug: 40,
  })
  t.equal(leaks!.compared, 'puzzles')
  t.ok(leaks!.leaked > 0 && leaks!.leaked <= 100)
  t.ok(leaks!.firstLeaked.length <= 10)
})

test('no 6×6 puzzle is a symmetric twin of another, and twins in another file are found', async (t) => {
  // Few puzzles with one empty cell differ in more than symmetry, so that random ones alone would be twins.
  const out = join(t.testdir(), 'out')
  const { leaks } = await generated(out, { size: 6, holes: 1, trainPuzzles: 100, testPuzzles: 40, numAug: 1 })
  t.same(leaks, { compared: 'puzzles up to symmetry', testExamples: 40, leaked: 0, firstLeaked: [] })
  const dataset = await Dataset.open(out)
  const forms = (split: 'train' | 'test', count: number, step: number): string[] =>
    Array.from({ length: count }, (_, index) =>
      canonicalPuzzle(tokensToDigits(dataset.example(split, 'all', index * step).inputs)),
    )
  t.equal(new Set([...forms('train', 100, 2), ...forms('test', 40, 1)]).size, 140)
  dataset.close()
  const again = await generated(out, { size: 6, holes: 1, trainPuzzles: 100, testPuzzles: 0, seed: 1, force: true })
  t.ok(again.leaks!.leaked > 0)
})

test('hints add an easier twin of each training example to its group', async (t) => {
  const dir = t.testdir()
  const plan = { numAug: 2, holes: 8, trainPuzzles: 20 }
  await generated(join(dir, 'plain'), plan)
  await generated(join(dir, 'hints'), { ...plan, hints: true })
  const plain = await Dataset.open(join(dir, 'plain'))
  const mixed = await Dataset.open(join(dir, 'hints'))
  t.teardown(() => [plain, mixed].forEach((dataset) => dataset.close()))
  const [before, after] = [plain.sets('train')[0]!, mixed.sets('train')[0]!]
  t.equal(after.numExamples, 2 * before.numExamples)
  t.equal(after.numGroups, before.numGroups)
  const filled = new Set<number>()
  for (let index = 0; index < before.numExamples; index++) {
    const original = plain.example('train', 'all', index)
    t.same(mixed.example('train', 'all', 2 * index).inputs, original.inputs)
    const twin = mixed.example('train', 'all', 2 * index + 1)
    t.same(twin.labels, original.labels)
    const changed = [...original.inputs.keys()].filter((cell) => twin.inputs[cell] !== original.inputs[cell])
    t.ok(changed.every((cell) => original.inputs[cell] === 1 && twin.inputs[cell] === twin.labels[cell]))
    filled.add(changed.length)
  }
  t.same(
    [...filled].toSorted((a, b) => a - b),
    [1, 2, 3, 4, 5, 6, 7],
  )
  t.same(mixed.sets('test')[0]!.numExamples, plain.sets('test')[0]!.numExamples)
})

test('test puzzles depend on the seed and their number alone', async (t) => {
  const dir = t.testdir()
  await generated(join(dir, 'a'), { trainPuzzles: 10 })
  await generated(join(dir, 'b'), { trainPuzzles: 50, numAug: 2 })
  const path = 'test/all__inputs.npy'
  t.equal(digest(join(dir, 'a'))[path], digest(join(dir, 'b'))[path])
})

test('options out of range and puzzles that do not exist are argument errors, and leave nothing', async (t) => {
  const out = join(t.testdir(), 'out')
  const wrong: Partial<GeneratedBuildOptions>[] = [
    { holes: 13 },
    { trainPuzzles: 0 },
    { testPuzzles: -1 },
    { numAug: -1 },
    { seed: 0.5 },
    { size: 5 as 4 },
    { grids: 288 },
    { grids: 0 },
    { size: 6, grids: 10 },
    { grids: 1, holes: 1, trainPuzzles: 17, testPuzzles: 0 },
  ]
  for (const options of wrong) {
    await t.rejects(generated(out, options), { name: 'RangeError', code: 'ERR_HRM_ARGUMENT' }, JSON.stringify(options))
    t.notOk(existsSync(out))
  }
})
