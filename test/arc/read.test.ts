import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import fc from 'fast-check'
import { test } from 'tap'
import { gridRows } from '#dist/arc/grid.js'
import { readArcFile } from '#dist/arc/read.js'
import { hrm, lastJson } from '../cli/process.js'
import { hrmError } from '../data/fixtures.js'
import { task } from './fixtures.js'

const text = JSON.stringify(task)
const collection = JSON.stringify({ aa: task, bb: task })

/** Damaged files tried, more in the long form of the tests. */
const mutations = process.env['HRM_TEST_LONG'] === '1' ? 100_000 : 5000

test('a task is named as its file, those of a collection by their keys', async (t) => {
  const dir = t.testdir({ '00d62c1b.json': text, 'all.json': collection })
  const [read] = readArcFile(join(dir, '00d62c1b.json'))
  t.equal(read!.id, '00d62c1b')
  t.same(gridRows(read!.train[1]!.input), task.train[1]!.input)
  t.same(gridRows(read!.test[0]!.output!), task.test[0]!.output)
  t.same(
    readArcFile(join(dir, 'all.json')).map(({ id, train, test: tests }) => [id, train.length, tests.length]),
    [
      ['aa', 2, 1],
      ['bb', 2, 1],
    ],
  )
})

const oddities: Record<string, string | Uint8Array> = {
  'carriage returns': JSON.stringify(task, null, 2).replaceAll('\n', '\r\n'),
  'a byte order mark': `\ufeff${text}`,
  'white space around': `\n\t ${text} \r\n`,
  'extra keys': JSON.stringify({ name: 'x', meta: { train: [1, { a: [] }] }, ...task, tags: ['a', null, 1.5, true] }),
  'an extra key in pairs': text.replaceAll('{"input"', '{"note":"π","input"'),
  '__proto__ among the extra keys': text.replace('{"train"', '{"__proto__":{"train":[]},"train"'),
  'numbers written otherwise': text.replaceAll('[1,', '[1.0e0,').replaceAll('[0,', '[-0,'),
  'a test pair without output': text.replace(/,"output":\[\[7\]\]/, ''),
  gzip: gzipSync(text),
}

for (const [what, bytes] of Object.entries(oddities)) {
  test(`${what} is read`, async (t) => {
    const path = join(t.testdir({}), 'oddity.json')
    writeFileSync(path, bytes)
    const [read] = readArcFile(path)
    t.same(
      read!.train.map(({ input, output }) => ({ input: gridRows(input), output: gridRows(output!) })),
      task.train,
    )
    const output = read!.test[0]!.output
    t.same(output && gridRows(output), what === 'a test pair without output' ? undefined : [[7]])
    t.equal(({} as { train?: unknown }).train, undefined)
  })
}

const row31 = `[${Array(31).fill(0).join()}]`

/** Text or bytes that are wrong, and what the message names. */
const malformed: Record<string, [string | Uint8Array, RegExp]> = {
  'an empty file': ['', /expected an object at character 0, got the end/],
  'a truncated file': [text.slice(0, 60), /at character 60, got the end/],
  'an array': ['[]', /expected an object/],
  'an empty object': ['{}', /at least one task/],
  'a collection of solutions': ['{"aa":[[[1]]]}', /task "aa": an object with train and test/],
  'no test': ['{"train":[{"input":[[1]],"output":[[1]]}]}', /the key test/],
  'no train': ['{"aa":{"test":[{"input":[[1]]}]}}', /task "aa": the key train/],
  'no pairs': ['{"train":[],"test":[{"input":[[1]]}]}', /train to hold at least one pair/],
  'a training pair without output': ['{"train":[{"input":[[1]]}],"test":[]}', /train\[0\] to have an output/],
  'a pair without input': ['{"test":[{"output":[[1]]}],"train":[]}', /test\[0\] to have an input/],
  'an output that is null': [text.replace('[[7]]', 'null'), /test\[0\]\.output to be an array of rows/],
  'an empty grid': [text.replace('[[7]]', '[]'), /test\[0\]\.output to have 1 to 30 rows/],
  'an empty row': [text.replace('[[7]]', '[[]]'), /test\[0\]\.output\[0\] to have 1 to 30 cells/],
  'a ragged grid': [
    text.replace('[[7]]', '[[7,7],[7]]'),
    /test\[0\]\.output\[1\] to have 2 cells as the rows above, not 1,/,
  ],
  'a row of 31': [text.replace('[[7]]', `[${row31}]`), /test\[0\]\.output\[0\] to have 1 to 30 cells/],
  '31 rows': [text.replace('[[7]]', `[${Array(31).fill('[0]').join()}]`), /test\[0\]\.output to have 1 to 30 rows/],
  'colour 10': [text.replace('[[7]]', '[[10]]'), /test\[0\]\.output\[0\]\[0\] to be a colour from 0 to 9 .*got "10\]/],
  'colour -1': [text.replace('[[7]]', '[[-1]]'), /to be a colour/],
  'colour 1.5': [text.replace('[[7]]', '[[1.5]]'), /to be a colour/],
  'a colour in quotes': [text.replace('[[7]]', '[["7"]]'), /to be a colour/],
  'a colour that is true': [text.replace('[[7]]', '[[true]]'), /to be a colour/],
  NaN: [text.replace('[[7]]', '[[NaN]]'), /a value at character 125, got "NaN\]/],
  'train twice': [text.replace('"test"', '"train"'), /"train" is repeated/],
  'input twice': [text.replace('"output"', '"input"'), /"input" is repeated/],
  'a task twice': [collection.replace('"bb"', '"aa"'), /"aa" is repeated/],
  'a repeated key of 100 kB': [`{"${'k'.repeat(1e5)}":1,"${'k'.repeat(1e5)}":1}`, /is repeated/],
  'a task id as augmentations have': [collection.replace('"bb"', '"b_t1_0123456789"'), /a task id/],
  'a task id of 200 characters': [collection.replace('"bb"', `"${'b'.repeat(200)}"`), /a task id/],
  'deep nesting': [text.replace('{"train"', `{"x":${'['.repeat(1e6)},"train"`), /levels of nesting/],
  'text after the end': [`${text}}`, /the end/],
  'bytes that are not UTF-8': [Buffer.concat([Buffer.from('{"a":"'), Buffer.from([0xff, 0xfe])]), /expected UTF-8/],
  'UTF-16': [Buffer.from(`\ufeff${text}`, 'utf16le'), /expected UTF-8/],
  'truncated gzip': [gzipSync(text).subarray(0, 40), /whole gzip data/],
  'a gzip bomb': [gzipSync(Buffer.alloc(2 ** 28)), /at most 33554432 bytes after decompression/],
  '100,001 pairs': [
    `{"train":[${Array(100_001).fill('{"input":[[1]],"output":[[1]]}').join()}],"test":[]}`,
    /at most 100000 pairs/,
  ],
}

for (const [what, [bytes, expected]] of Object.entries(malformed)) {
  test(`${what} is an error that names file and place`, async (t) => {
    const path = join(t.testdir({}), 'malformed.json')
    writeFileSync(path, bytes)
    const error = await hrmError(() => readArcFile(path))
    t.match(error, { code: 'ERR_HRM_DATASET', message: expected })
    t.match(error.message, /^\[arc\] expected .*, got .* in .*malformed\.json; do /s)
    t.ok(Buffer.byteLength(error.message) < 2000, error.message.slice(0, 3000))
  })
}

test('a folder, a missing file and a file too long are errors', async (t) => {
  const dir = t.testdir({ 'long.json': ' '.repeat(2 ** 25 + 1) })
  t.match(await hrmError(() => readArcFile(dir)), { code: 'ERR_HRM_DATASET', message: /a regular file/ })
  t.match(await hrmError(() => readArcFile(join(dir, 'none.json'))), { code: 'ERR_HRM_IO' })
  t.match(await hrmError(() => readArcFile(join(dir, 'long.json'))), {
    message: /at most 33554432 bytes, got 33554433/,
  })
})

test('no mutation of a file leads to anything but tasks or an HRMError', async (t) => {
  const folder = t.testdir({})
  const path = join(folder, 'mutated.json')
  const piece = fc.oneof(
    fc.constantFrom('{', '}', '[', ']', ',', ':', '"', '\\', '-', '1e9', '00', 'null', '\ufeff', '"train":', '[[]]'),
    fc.string({ maxLength: 3 }),
    fc.nat(255).map((byte) => Buffer.of(byte)),
  )
  const mutation = fc.record({ at: fc.nat(collection.length), remove: fc.nat(12), insert: piece })
  const sides = (side: number) => side >= 1 && side <= 30
  fc.assert(
    fc.property(fc.array(mutation, { minLength: 1, maxLength: 3 }), fc.boolean(), (edits, zipped) => {
      let bytes: Buffer = zipped ? gzipSync(collection) : Buffer.from(collection)
      for (const { at, remove, insert } of edits) {
        const start = at % bytes.length
        bytes = Buffer.concat([bytes.subarray(0, start), Buffer.from(insert), bytes.subarray(start + remove)])
      }
      writeFileSync(path, bytes)
      try {
        return readArcFile(path).every(({ train, test: tests }) =>
          [...train, ...tests].every(({ input, output }) =>
            [input, output ?? input].every(
              ({ height, width, cells }) =>
                sides(height) &&
                sides(width) &&
                cells.length === height * width &&
                cells.every((colour) => colour <= 9),
            ),
          ),
        )
      } catch (error) {
        const { code, message } = error as { code?: string; message: string }
        return code === 'ERR_HRM_DATASET' && message.includes(path) && Buffer.byteLength(message) < 2000
      }
    }),
    { numRuns: mutations },
  )
})

test('hrm inspect reads a whole file: 0 where it is valid, 3 where it is not', async (t) => {
  const cwd = t.testdir({ 'a.json': collection, 'b.json': collection.slice(0, -2) })
  writeFileSync(join(cwd, 'plain'), gzipSync(text))
  mkdirSync(join(cwd, 'folder'))
  for (const args of [['a.json'], ['a.json', '--as', 'arc']]) {
    const { code, stdout, stderr } = await hrm(['inspect', ...args, '--json'], { cwd })
    t.equal(code, 0, stderr)
    t.same(lastJson(stdout), {
      type: 'result',
      kind: 'arc',
      path: 'a.json',
      tasks: 2,
      trainPairs: 4,
      testPairs: 2,
      withoutOutput: 0,
    })
  }
  t.equal((await hrm(['inspect', 'plain', '--as', 'arc', '--json'], { cwd })).code, 0)
  t.match((await hrm(['inspect', 'a.json'], { cwd })).stdout, /2 tasks, 4 demonstrations, 2 tests\n/)
  for (const args of [
    ['b.json'],
    ['b.json', '--as', 'arc'],
    ['plain'],
    ['folder', '--as', 'arc'],
    ['c', '--as', 'arc'],
  ]) {
    const { code, stdout, stderr } = await hrm(['inspect', ...args, '--json'], { cwd })
    t.equal(code, 3, args.join(' '))
    t.equal(stdout, '')
    t.match(stderr, /\[ERR_HRM_DATASET\]\n$/)
  }
  t.equal((await hrm(['inspect', 'a.json', '--as', 'chess'], { cwd })).code, 2)
})
