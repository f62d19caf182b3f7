import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { test } from 'tap'
import { Dataset } from '#dist/dataset.js'
import {
  buildGrids,
  decodeAnswer,
  decodeInput,
  type GridBuildOptions,
  type GridBuildResult,
  type GridPair,
  readGridPairs,
  valuesToJson,
} from '#dist/grid/index.js'
import { hrm, lastJson } from '../cli/process.js'
import { damagedFiles, hrmError } from './fixtures.js'

type Json = unknown

function jsonLines(...pairs: Json[]): string {
  return pairs.map((pair) => `${JSON.stringify(pair)}\n`).join('')
}

function build(source: string, outDir: string, more: Partial<GridBuildOptions> = {}): Promise<GridBuildResult> {
  return buildGrids({ sources: [source], outDir, seed: 0, ...more })
}

/** The pairs of a split as the user wrote them. */
async function decoded(dir: string, split: 'train' | 'test'): Promise<{ input: unknown; output: unknown }[]> {
  const dataset = await Dataset.open(dir)
  const vocabulary = dataset.vocabulary()!
  const pairs = Array.from({ length: dataset.sets(split)[0]!.numExamples }, (_, at) => {
    const { inputs, labels } = dataset.example(split, 'all', at)
    const output = decodeAnswer(
      vocabulary,
      inputs,
      labels.map((token) => Math.max(0, token)),
    )
    return {
      input: valuesToJson(vocabulary, decodeInput(vocabulary, inputs).rows),
      output: valuesToJson(vocabulary, output.rows),
    }
  })
  dataset.close()
  return pairs
}

async function readAll(path: string): Promise<GridPair[]> {
  const pairs: GridPair[] = []
  for await (const pair of readGridPairs(path)) pairs.push(pair)
  return pairs
}

const pairs = [
  { input: [[0, 1], [2, 0]], output: [[2, 1], [2, 0]] }, // prettier-ignore
  { input: [[7, -1, 'red']], output: [['red', 7, 0.5]] },
]

test('grids of any size are padded, and come back as they were written', async (t) => {
  const dir = t.testdir({ 'pairs.jsonl': jsonLines(...pairs) })
  const out = join(dir, 'out')
  const { vocabulary, splits, leaks } = await build(join(dir, 'pairs.jsonl'), out)
  t.same(vocabulary, {
    task: 'grid',
    form: 'grid',
    rows: 2,
    columns: 3,
    answer: 'input',
    values: [null, -1, 0, 0.5, 1, 2, 7, 'red'],
  })
  t.same(splits, { train: { groups: 2, puzzles: 2, examples: 2 } })
  t.equal(leaks, undefined)
  t.same(await decoded(out, 'train'), pairs)
  const dataset = await Dataset.open(out)
  await dataset.verify()
  t.same(dataset.vocabulary(), vocabulary, 'the vocabulary is stored with the data')
  t.same([...dataset.example('train', 'all', 0).inputs], [2, 4, 0, 5, 2, 0])
  t.same([...dataset.example('train', 'all', 0).labels], [5, 4, -100, 5, 2, -100], 'padding does not count')
  t.match(dataset.metadata('train'), { vocabSize: 8, seqLen: 6, padId: 0, ignoreLabelId: 0 })
  dataset.close()
})

test('where sizes of answers vary, padding is learnt; where all are the same, the rest does not count', async (t) => {
  const free = [
    { input: [[1, 2, 3]], output: [[1]] },
    { input: [[1]], output: [[1, 2], [3, 1]] }, // prettier-ignore
  ]
  const fixed = [
    { input: [1, 2, 3], output: ['yes'] },
    { input: [1], output: ['no'] },
  ]
  const dir = t.testdir({ free: jsonLines(...free), fixed: jsonLines(...fixed) })
  t.equal((await build(join(dir, 'free'), join(dir, 'a'))).vocabulary.answer, 'padding')
  t.same(await decoded(join(dir, 'a'), 'train'), free)
  const dataset = await Dataset.open(join(dir, 'a'))
  t.equal(dataset.metadata('train').ignoreLabelId, null)
  t.same([...dataset.example('train', 'all', 0).labels], [1, 0, 0, 0, 0, 0])
  const vocabulary = dataset.vocabulary()!
  t.equal(decodeAnswer(vocabulary, [], [1, 2, 0, 3, 1, 0]).wellFormed, true)
  t.equal(decodeAnswer(vocabulary, [], [1, 2, 0, 3, 0, 0]).wellFormed, false)
  t.equal(decodeAnswer(vocabulary, [], [1, 0, 1, 0, 0, 0]).wellFormed, false)
  t.equal(decodeAnswer(vocabulary, [], [0, 0, 0, 0, 0, 0]).wellFormed, false)
  dataset.close()
  t.same((await build(join(dir, 'fixed'), join(dir, 'b'))).vocabulary.answer, [1, 1])
  t.same(await decoded(join(dir, 'b'), 'train'), fixed)
})

test('texts are sequences of characters, with line feeds grids; a CSV holds texts and lists', async (t) => {
  const dir = t.testdir({
    'a.csv': `\ufeffid,input,output,split\r\n1, ab,"b,a",train\r\n2,"[1, ""x""]","[3,4]",val\r\n`,
    'b.csv': 'input,output\n"ab\ncd","ba\ndc"',
    'c.jsonl':
      '\ufeff{"input":"AB C","output":"C BA","id":{"__proto__":[1]},"more":null}\r\n\r\n  {"input":"é","output":"😀"}',
  })
  const a = await readAll(join(dir, 'a.csv'))
  t.same(
    a.map(({ input, output, split, line }) => [input.rows, output.rows, split, line]),
    [
      [[[' ', 'a', 'b']], [['b', ',', 'a']], 'train', 2],
      [[[1, 'x']], [[3, 4]], 'test', 3],
    ],
  )
  const [b] = await readAll(join(dir, 'b.csv'))
  t.same(b!.input, { form: 'grid', rows: [['a', 'b'], ['c', 'd']] }) // prettier-ignore
  const c = await readAll(join(dir, 'c.jsonl'))
  t.same(
    c.map(({ output, line }) => [output.form, output.rows[0]!.join('|'), line]),
    [
      ['sequence', 'C| |B|A', 1],
      ['sequence', '😀', 3],
    ],
  )
})

const many = Array.from({ length: 40 }, (_, at) => ({ input: [[at, 100], [1, 2]], output: [[1, 2], [at, 100]] })) // prettier-ignore

test('the validation split is drawn by the seed, and by name where files or pairs say', async (t) => {
  const named = [
    { ...many[0], split: 'test' },
    { ...many[1], split: 'train' },
  ]
  const dir = t.testdir({ 'pairs.jsonl': jsonLines(...many), 'test-b.jsonl': jsonLines(many[2], ...named) })
  const source = join(dir, 'pairs.jsonl')
  const { splits, leaks, hash } = await build(source, join(dir, 'a'), { val: 0.1 })
  t.match(splits, { train: { groups: 36 }, test: { groups: 4 } })
  t.match(leaks, { compared: 'inputs', testExamples: 4, leaked: 0 })
  t.equal((await build(source, join(dir, 'b'), { val: 0.1 })).hash, hash, 'the same seed, the same bytes')
  t.not((await build(source, join(dir, 'c'), { val: 0.1, seed: 1 })).hash, hash)
  const both = [...(await decoded(join(dir, 'a'), 'train')), ...(await decoded(join(dir, 'a'), 'test'))]
  t.same(new Set(both.map((pair) => JSON.stringify(pair))), new Set(many.map((pair) => JSON.stringify(pair))))
  t.match((await build(join(dir, 'test-b.jsonl'), join(dir, 'd'))).splits, {
    train: { groups: 1 },
    test: { groups: 2 },
  })
  const refused = build(join(dir, 'test-b.jsonl'), join(dir, 'e'), { val: 0.5 })
  await t.rejects(refused, { code: 'ERR_HRM_ARGUMENT', message: /2 test pairs already/ })
})

test('inputs in both splits are reported, also as augmented twins', async (t) => {
  const turned = { input: [[1, 0], [2, 1]], output: [[5, 5], [5, 5]], split: 'test' } // prettier-ignore
  const train = { input: [[0, 1], [1, 2]], output: [[5, 5], [5, 5]] } // prettier-ignore
  const dir = t.testdir({ a: jsonLines(train, turned), b: jsonLines(train, { ...train, split: 'test' }) })
  t.match((await build(join(dir, 'a'), join(dir, 'out-a'))).leaks, { leaked: 0 })
  t.match((await build(join(dir, 'a'), join(dir, 'out-a8'), { dihedral: true })).leaks, { leaked: 1, firstLeaked: [0] })
  t.match((await build(join(dir, 'b'), join(dir, 'out-b'))).leaks, { leaked: 1 })
})

test('rotations and reflections turn input and output alike, each version once', async (t) => {
  const shape = { input: [[1, 2, 3], [4, 5, 6]], output: [[6, 5, 4], [3, 2, 1]] } // prettier-ignore
  const even = { input: [[1, 1], [1, 1]], output: [[2, 2], [2, 2]] } // prettier-ignore
  const dir = t.testdir({ a: jsonLines(shape, even) })
  const { vocabulary, splits } = await build(join(dir, 'a'), join(dir, 'out'), { dihedral: true })
  t.match(vocabulary, { rows: 3, columns: 3 })
  t.match(splits.train, { groups: 2, examples: 9 }, 'the even grid looks the same from all sides')
  const found = (await decoded(join(dir, 'out'), 'train')) as { input: number[][]; output: number[][] }[]
  t.equal(new Set(found.map(({ input }) => JSON.stringify(input))).size, 9)
  for (const { input, output } of found.slice(0, 8)) {
    t.same(
      output,
      input.map((row) => row.map((value) => 7 - value)),
    )
  }
  t.same(found[0], shape, 'the first is as written')
  const two = await build(join(dir, 'a'), join(dir, 'two'), { dihedral: true, numAug: 2 })
  t.equal(two.splits.train!.examples, 4)
})

test('values named are exchanged in input and output alike', async (t) => {
  const pair = { input: [1, 2, 3, 9], output: [9, 3, 2, 1] }
  const dir = t.testdir({ a: jsonLines(pair) })
  await build(join(dir, 'a'), join(dir, 'out'), { permute: ['1', '2', '3'], numAug: 50 })
  const found = (await decoded(join(dir, 'out'), 'train')) as { input: number[]; output: number[] }[]
  t.equal(found.length, 6, 'all permutations of three values')
  for (const { input, output } of found) {
    t.same(output, input.toReversed())
    t.equal(input[3], 9)
  }
  await build(join(dir, 'a'), join(dir, 'all'), { permute: 'all', numAug: 7 })
  const all = (await decoded(join(dir, 'all'), 'train')) as { input: number[] }[]
  t.equal(all.length, 8)
  t.ok(all.some(({ input }) => input[3] !== 9))
})

test('options that do not fit the data are argument errors, and leave nothing', async (t) => {
  const dir = t.testdir({ grid: jsonLines(...many), sequence: jsonLines({ input: [1, 2], output: [1, 2] }) })
  const wrong: [string, Partial<GridBuildOptions>, RegExp][] = [
    ['sequence', { dihedral: true }, /sequences/],
    ['sequence', { val: 0.5 }, /more pairs/],
    ['grid', { val: 1 }, /share/],
    ['grid', { permute: ['1', 'green'] }, /green/],
    ['grid', { numAug: 3 }, /augmentation/],
    ['grid', { dihedral: true, numAug: -1 }, /num-aug/],
    ['grid', { seed: -1 }, /seed/],
  ]
  for (const [source, options, message] of wrong) {
    await t.rejects(build(join(dir, source), join(dir, 'out'), options), { code: 'ERR_HRM_ARGUMENT', message })
    t.notOk(existsSync(join(dir, 'out')))
  }
  t.match(await hrmError(() => build(join(dir, 'absent'), join(dir, 'out'))), { code: 'ERR_HRM_DATASET' })
})

const good = '{"input":[[1,2]],"output":[[2,1]]}\n'
const malformed: Record<string, [string | Buffer, RegExp, number, string?]> = {
  'truncated JSON': [`${good}{"input":[[1,2]],"out`, /JSON.*character/, 2],
  'a list as line': [`${good}[1,2]\n`, /an object.*a list/, 2],
  'a number as line': [`${good}17\n`, /an object.*17/, 2],
  'no output': [`${good}{"input":[[1]]}\n`, /as output in line 2, got nothing/, 2],
  'an object as input': [`{"input":{"__proto__":1},"output":[1]}\n`, /as input.*an object/, 1],
  'a key twice': [`${good}{"input":[[1]],"output":[[1]],"input":[[2]]}\n`, /each key once/, 2],
  'ragged rows': ['{"input":[[1,2],[1]],"output":[[1]]}\n', /rows of 2 values.*1 in row 2/, 1],
  'a row that is no list': ['{"input":[[1,2],3],"output":[[1]]}\n', /as every row.*3 as row 2/, 1],
  'an empty grid': ['{"input":[],"output":[[1]]}\n', /at least one value.*none/, 1],
  'an empty row': ['{"input":[[]],"output":[[1]]}\n', /at least one value.*none/, 1],
  'a boolean': ['{"input":[[true]],"output":[[1]]}\n', /numbers or strings.*true in row 1/, 1],
  'a grid three deep': ['{"input":[[[1]]],"output":[[1]]}\n', /numbers or strings.*a list of 1/, 1],
  'an infinite number': ['{"input":[[1e999]],"output":[[1]]}\n', /numbers or strings/, 1],
  'a value of 65 characters': [`{"input":[["${'x'.repeat(65)}"]],"output":[[1]]}\n`, /64 characters/, 1],
  'a grid and a sequence': ['{"input":[[1]],"output":[1]}\n', /a grid as output.*a sequence/, 1],
  'an unknown split': ['{"input":[1],"output":[1],"split":"dev"}\n', /as split.*"dev"/, 1],
  'a split that is no text': ['{"input":[1],"output":[1],"split":{}}\n', /as split/, 1],
  'too many values': [`{"input":[${'1,'.repeat(65536)}1],"output":[1]}\n`, /at most 65536 values/, 1],
  'deep nesting': [`{"input":${'['.repeat(100_000)}\n`, /levels of nesting/, 1],
  'bytes that are not UTF-8': [Buffer.from(`${good}{"input":"\xff","output":"a"}\n`, 'latin1'), /UTF-8/, 2],
  'a line of two megabytes': [`${good}{"input":"${'x'.repeat(2 ** 21)}`, /at most 1048576 bytes/, 2],
  'JSON in a CSV that is cut': ['input,output\n"[[1,2]","[[1,2]]"\n', /JSON.*line 2/, 2, 'csv'],
  'a CSV without output': ['input,answer\n1,2\n', /header input,output/, 1, 'csv'],
  'an empty field': ['input,output\nab,\n', /at least one value as output/, 2, 'csv'],
}

for (const [what, [content, message, line, ending = 'jsonl']] of Object.entries(malformed)) {
  test(`${what} is an error that names file and line`, async (t) => {
    const path = join(t.testdir(), `pairs.${ending}`)
    writeFileSync(path, content)
    const error = await hrmError(() => readAll(path))
    t.match(error, { code: 'ERR_HRM_DATASET', message, details: { line } })
    t.ok(error.message.includes(path) && Buffer.byteLength(error.message) < 2000, error.message)
  })
}

test('forms that differ between pairs, and files without pairs, are errors', async (t) => {
  const dir = t.testdir({ mixed: `${good}{"input":[1],"output":[1]}\n`, empty: '\n', 'empty.csv': 'input,output\n' })
  const out = join(dir, 'out')
  t.match(await hrmError(() => build(join(dir, 'mixed'), out)), { message: /a grid as in the first pair in line 2/ })
  for (const name of ['empty', 'empty.csv'])
    t.match(await hrmError(() => build(join(dir, name), out)), { message: /at least one pair/ })
})

for (const ending of ['jsonl', 'csv']) {
  test(`no change of a ${ending} file leads to anything but whole rectangles or an HRMError`, async (t) => {
    const path = join(t.testdir(), `pairs.${ending}`)
    const text =
      ending === 'csv'
        ? 'input,output,split\r\n"[[1,2],[""a"",4]]","[[4],[2]]",val\r\n"ab\ncd",12,\r\n'
        : `${jsonLines({ input: [[1, 'a'], [3, 4]], output: [[4e0, -2]], split: 'val', __proto__x: { a: [null] } })}{"input":"ab","output":"\\u00e9"}` // prettier-ignore
    const original = Buffer.from(text)
    const change = fc.record({
      at: fc.nat(original.length - 1),
      byte: fc.oneof(fc.nat(255), fc.constantFrom(...Buffer.from('[]{}",:\\\n\r-.e019'))),
    })
    await fc.assert(
      fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 3 }), async (changes) => {
        const bytes = Buffer.from(original)
        for (const { at, byte } of changes) bytes[at] = byte
        writeFileSync(path, bytes)
        try {
          const read = await readAll(path)
          return read.every(({ input, output }) =>
            [input, output].every(({ rows }) => rows.every((row) => row.length === rows[0]!.length && row.length > 0)),
          )
        } catch (error) {
          return (error as { code?: string }).code === 'ERR_HRM_DATASET' && (error as Error).message.length < 2000
        }
      }),
      { numRuns: damagedFiles },
    )
  })
}

test('hrm data grid reads pairs and names the line of what is wrong', async (t) => {
  const dir = t.testdir({
    'pairs.jsonl': jsonLines(...many),
    'bad.jsonl': `${good}{"input":[[1,2],[1]],"output":[[1]]}\n`,
  })
  const out = join(dir, 'out')
  const ended = await hrm([
    'data',
    'grid',
    join(dir, 'pairs.jsonl'),
    '-o',
    out,
    '--val',
    '0.3',
    '--seed',
    '4',
    '--json',
  ])
  t.equal(ended.code, 0, ended.stderr)
  t.match(lastJson(ended.stdout), { form: 'grid', rows: 2, columns: 2, answer: 'input', seed: 4 })
  const { splits } = lastJson(ended.stdout) as { splits: { test: { groups: number } } }
  t.equal(splits.test.groups, 12)
  t.ok(readFileSync(join(out, 'vocabulary.json'), 'utf8').startsWith('{"task":"grid"'))
  const bad = await hrm(['data', 'grid', join(dir, 'bad.jsonl'), '-o', join(dir, 'bad')])
  t.match(bad, { code: 3, stderr: /rows of 2 values.*line 2.*bad\.jsonl.*ERR_HRM_DATASET/s })
  t.match(await hrm(['data', 'grid', join(dir, 'bad.jsonl'), '-o', out, '--augment', 'colours']), { code: 2 })
  t.match(await hrm(['data', 'grid', '-o', out]), { code: 2 })
})
