import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { test } from 'tap'
import { Dataset } from '#dist/dataset.js'
import { dihedral, dihedralCount, dihedralInverse } from '#dist/dihedral.js'
import {
  buildGeneratedMazes,
  buildMazesFromCsv,
  type GeneratedMazeOptions,
  type MazeBuildResult,
  mazeText,
  mazeTokens,
  readMazeCsv,
  verifyMaze,
} from '#dist/maze/index.js'
import { hrm, lastJson } from '../cli/process.js'
import { damagedFiles, hrmError } from './fixtures.js'

const ops = JSON.parse(readFileSync(join(import.meta.dirname, '../../../test/golden/ops/ops.json'), 'utf8')) as {
  dihedral: { input: number[][]; transforms: number[][][]; DIHEDRAL_INVERSE: number[] }
  maze_charset: Record<string, number>
}

function generated(outDir: string, more: Partial<GeneratedMazeOptions> = {}): Promise<MazeBuildResult> {
  return buildGeneratedMazes({ outDir, size: 12, trainMazes: 30, testMazes: 10, minPath: 20, seed: 0, ...more })
}

/** All examples of a split as text. */
async function texts(dir: string, split: 'train' | 'test'): Promise<{ question: string; answer: string }[]> {
  const dataset = await Dataset.open(dir)
  const found = Array.from({ length: dataset.sets(split)[0]!.numExamples }, (_, index) => {
    const { inputs, labels } = dataset.example(split, 'all', index)
    return { question: mazeText(inputs), answer: mazeText(labels) }
  })
  dataset.close()
  return found
}

/**
 * Counts the shortest paths from S to G over characters, by layers from S; shares no code with the package. Returns the
 * marks of one of them too.
 */
function solve(question: string): { steps: number; paths: number; marks: Set<number> } {
  const side = Math.sqrt(question.length)
  const ways = new Map([[question.indexOf('S'), { count: 1, from: -1 }]])
  const around = (at: number) =>
    [at % side > 0 ? at - 1 : -1, at % side < side - 1 ? at + 1 : -1, at - side, at + side].filter(
      (next) => question[next] !== undefined && question[next] !== '#',
    )
  let layer = [question.indexOf('S')]
  for (let steps = 0; layer.length > 0; steps++) {
    const goal = layer.find((at) => question[at] === 'G')
    if (goal !== undefined) {
      const marks = new Set<number>()
      for (let at = ways.get(goal)!.from; question[at] !== 'S'; at = ways.get(at)!.from) marks.add(at)
      return { steps, paths: ways.get(goal)!.count, marks }
    }
    const next = new Map<number, { count: number; from: number }>()
    for (const at of layer) {
      for (const to of around(at).filter((place) => !ways.has(place)))
        next.set(to, { count: (next.get(to)?.count ?? 0) + ways.get(at)!.count, from: at })
    }
    for (const [at, way] of next) ways.set(at, way)
    layer = [...next.keys()]
  }
  return { steps: Infinity, paths: 0, marks: new Set() }
}

const turn = (text: string, symmetry: number): string => {
  const side = Math.sqrt(text.length)
  return Array.from(dihedral(symmetry, side, side).source, (at) => text[at]).join('')
}

test('the eight symmetries are the official ones, and each is undone by its inverse', (t) => {
  const { input, transforms, DIHEDRAL_INVERSE } = ops.dihedral
  const flat = input.flat()
  for (let symmetry = 0; symmetry < dihedralCount; symmetry++) {
    const { rows, columns, source } = dihedral(symmetry, 3, 2)
    const view = Array.from({ length: rows }, (_, row) =>
      Array.from({ length: columns }, (_, column) => flat[source[row * columns + column]!]),
    )
    t.same(view, transforms[symmetry], `symmetry ${symmetry}`)
    const back = dihedral(dihedralInverse[symmetry]!, rows, columns)
    t.same(
      Array.from(back.source, (at) => source[at]),
      [0, 1, 2, 3, 4, 5],
    )
  }
  t.same([...dihedralInverse], DIHEDRAL_INVERSE)
  t.end()
})

test('tokens are the official ones', (t) => {
  t.same(
    Object.entries(ops.maze_charset).map(([character]) => [...mazeTokens(character)!]),
    Object.values(ops.maze_charset).map((token) => [token]),
  )
  t.equal(mazeText(mazeTokens('# SGo')!), '# SGo')
  t.equal(mazeText([0, 6]), '??')
  t.equal(mazeTokens('#x'), undefined)
  t.end()
})

test('generated mazes of the official size have one shortest path of the asked length, and come once', async (t) => {
  const out = join(t.testdir(), 'out')
  const { splits, leaks, tries, size } = await generated(out, { size: 30, minPath: 110, trainMazes: 24, testMazes: 8 })
  t.equal(size, 30)
  t.ok(tries! >= 32 && tries! < 100, `${tries} tries`)
  t.same(splits.train, { groups: 24, puzzles: 24, examples: 24 })
  t.match(leaks, { testExamples: 8, leaked: 0 })
  const all = [...(await texts(out, 'train')), ...(await texts(out, 'test'))]
  const seen = new Set<string>()
  for (const { question, answer } of all) {
    const { steps, paths, marks } = solve(question)
    t.equal(paths, 1)
    t.ok(steps >= 110, `${steps} steps`)
    t.equal(answer, [...question].map((character, at) => (marks.has(at) ? 'o' : character)).join(''))
    for (let symmetry = 0; symmetry < 8; symmetry++) seen.add(turn(question, symmetry))
  }
  t.equal(seen.size, 8 * 32, 'no two are the same when turned')
  const dataset = await Dataset.open(out)
  await dataset.verify()
  t.match(dataset.metadata('test'), { vocabSize: 6, seqLen: 900, padId: 0, ignoreLabelId: 0, meanPuzzleExamples: 1 })
  t.match(dataset.vocabulary(), { task: 'maze', rows: 30, columns: 30, values: [null, '#', ' ', 'S', 'G', 'o'] })
  dataset.close()
})

test('the same seed gives the same bytes, another seed others; test mazes do not depend on training', async (t) => {
  const dir = t.testdir()
  const first = await generated(join(dir, 'a'), { aug: true })
  t.equal((await generated(join(dir, 'b'), { aug: true })).hash, first.hash)
  const longer = await generated(join(dir, 'c'), { trainMazes: 40 })
  t.equal(longer.files.get('test/all__inputs.npy'), first.files.get('test/all__inputs.npy'))
  t.not(longer.files.get('train/all__inputs.npy'), first.files.get('train/all__inputs.npy'))
  const other = await generated(join(dir, 'd'), { seed: 1 })
  t.not(other.files.get('test/all__inputs.npy'), first.files.get('test/all__inputs.npy'))
})

test('what the seed gives is the same on every platform and in every version', async (t) => {
  const { files } = await generated(join(t.testdir(), 'out'), { trainMazes: 5 })
  t.equal(files.get('train/all__labels.npy'), '49ac5ea6e7268098b472f8ae1199078d270fc4c2169f7c260987054a0f4ee8ed')
})

// One shortest path of six steps.
const question = ['S   ', ' ## ', '##G ', '   #'].join('')
const answer = ['Sooo', ' ##o', '##Go', '   #'].join('')
const header = 'source,question,answer,rating'
const csv = (...rows: [string, string][]) => [header, ...rows.map(([q, a]) => `x,${q},${a},7`), ''].join('\n')

test('a CSV gives the official arrays, with --aug all eight views of each maze in the official order', async (t) => {
  const dir = t.testdir({
    csv: { 'train.csv': csv([question, answer]), 'test.csv': csv([turn(question, 5), turn(answer, 5)]) },
  })
  const out = join(dir, 'out')
  const result = await buildMazesFromCsv({ source: join(dir, 'csv'), outDir: out, seed: 0, aug: true })
  t.match(result.splits, { train: { groups: 1, puzzles: 8, examples: 8 }, test: { groups: 1, examples: 1 } })
  t.same(
    await texts(out, 'train'),
    Array.from({ length: 8 }, (_, symmetry) => ({
      question: turn(question, symmetry),
      answer: turn(answer, symmetry),
    })),
  )
  t.match(result.leaks, { compared: /reflection/, leaked: 1, firstLeaked: [0] })
  const dataset = await Dataset.open(out)
  const charset = ops.maze_charset
  t.same(
    [...dataset.example('train', 'all', 0).inputs],
    [...question].map((character) => charset[character]),
  )
  t.same(dataset.identifiers(), ['<blank>'])
  dataset.close()
})

test('answers that are longer than need be are counted, and mazes with several shortest paths too', async (t) => {
  const open = ['S   ', '    ', '    ', '   G'].join('')
  const longer = ['Sooo', '   o', '  oo', '  oG'].join('')
  const shortest = ['Sooo', '   o', '   o', '   G'].join('')
  const long = ['S###', ' ## ', '    ', '   G'].join('')
  const detour = ['S###', 'o## ', 'o   ', 'oooG'].join('')
  const around = ['S   ', '### ', '    ', 'G   '].join('')
  const path = join(
    t.testdir({
      'train.csv': csv([open, shortest], [long, detour], [around, ['Sooo', '###o', '   o', 'Gooo'].join('')]),
    }),
    'train.csv',
  )
  const { notShortest, ambiguous } = await buildMazesFromCsv({
    source: path,
    outDir: join(t.testdirName, 'out'),
    seed: 0,
  })
  t.same({ notShortest, ambiguous }, { notShortest: 0, ambiguous: 3 })
  t.same(verifyMaze(4, mazeTokens(open)!, mazeTokens(longer)!), {
    valid: false,
    reason: 'marked cells beside the path',
  })
})

test('a subsample of the training mazes is drawn by the seed', async (t) => {
  const mazes = Array.from({ length: 8 }, (_, symmetry): [string, string] => [
    turn(question, symmetry),
    turn(answer, symmetry),
  ])
  const dir = t.testdir({ 'train.csv': csv(...mazes) })
  const draw = async (name: string, seed: number) => {
    await buildMazesFromCsv({ source: join(dir, 'train.csv'), outDir: join(dir, name), seed, subsampleSize: 3 })
    return texts(join(dir, name), 'train')
  }
  const first = await draw('a', 1)
  t.equal(first.length, 3)
  t.same(await draw('b', 1), first)
  t.notSame(await draw('c', 2), first)
  const places = first.map((maze) => mazes.findIndex(([text]) => text === maze.question))
  t.ok(
    places.every((place, at) => place >= 0 && (at === 0 || place > places[at - 1]!)),
    'in the order of the file',
  )
})

test('the checker accepts exactly the shortest paths', (t) => {
  const check = (text: string) => verifyMaze(4, mazeTokens(question)!, mazeTokens(text) ?? [])
  t.same(check(answer), { valid: true })
  const wrong: Record<string, RegExp> = {
    [question]: /do not lead/,
    [['Soo ', ' ##o', '##Go', '   #'].join('')]: /do not lead/,
    [['Sooo', 'o##o', '##Go', '   #'].join('')]: /beside/,
    [['Sooo', ' #oo', '##Go', '   #'].join('')]: /another cell.*row 2, column 3/,
    [['oooo', ' ##o', '##Go', '   #'].join('')]: /row 1, column 1/,
    [['Sooo', ' ##o', '##oo', '   #'].join('')]: /row 3, column 3/,
  }
  for (const [text, reason] of Object.entries(wrong)) t.match(check(text), { valid: false, reason }, text)
  const detour = ['S## ', '    ', '    ', '# #G'].join('')
  const long = ['S## ', 'o   ', 'oooo', '# #G'].join('')
  t.same(verifyMaze(4, mazeTokens(detour)!, mazeTokens(long)!), { valid: true })
  const loop = ['S   ', ' ## ', ' ## ', '   G'].join('').replace('S   ', 'S G ').replace('   G', '    ')
  const round = ['S G ', 'o##o', 'o##o', 'oooo'].join('').replace('S G ', 'S Go')
  t.match(verifyMaze(4, mazeTokens(loop)!, mazeTokens(round)!), { valid: false, reason: /10 steps where 2/ })
  t.match(verifyMaze(2, mazeTokens('SS G')!, mazeTokens('SS G')!), { valid: false, reason: /second S/ })
  t.end()
})

async function rows(path: string): Promise<number[]> {
  const lines: number[] = []
  for await (const { line } of readMazeCsv(path)) lines.push(line)
  return lines
}

test('CSV with byte order mark, CRLF, quotes, other columns and no final newline is read, spaces at the ends are kept', async (t) => {
  const [spaced, marked] = [turn(question, 5), turn(answer, 5)]
  const outer = [' S  ', ' ## ', '##G ', '    '].join('')
  const solved = [' Soo', ' ##o', '##Go', '    '].join('')
  const files: Record<string, [string, number[]]> = {
    bom: [`\ufeff${csv([question, answer])}`, [2]],
    quotedBom: [`\ufeff"source","question","answer"\nx,${question},${answer}\n`, [2]],
    crlf: [csv([question, answer], [spaced, marked]).replaceAll('\n', '\r\n'), [2, 3]],
    quoted: [`"source","question","answer"\n"two\nlines","${question}","${answer}"`, [3]],
    order: [`answer,extra,question\n${solved},,${outer}`, [2]],
    blank: [`${header}\n\nx,${question},${answer},3\n\n`, [3]],
  }
  const dir = t.testdir(Object.fromEntries(Object.entries(files).map(([name, [text]]) => [name, text])))
  for (const [name, [, lines]] of Object.entries(files)) t.same(await rows(join(dir, name)), lines, name)
})

const malformed: Record<string, [string | Buffer, RegExp, number]> = {
  'an empty file': ['', /header/, 1],
  'another header': [`__proto__,question\nx,${question}\n`, /header/, 1],
  'a column twice': ['question,answer,question\n', /header/, 1],
  'too few fields': [`${header}\nx,${question}\n`, /4 fields/, 2],
  'a maze that is not square': [csv([question, answer], ['S G', 'SoG']), /square.*3 characters/, 3],
  'a maze of another size': [csv([question, answer], ['SG##', 'SG##']), /16 characters as question/, 3],
  'a trimmed field': [csv([question, answer.trim().slice(1)]), /16 characters as answer/, 2],
  'another character': [csv([question.replace('#', 'x'), answer]), /question in line 2, got "x"/, 2],
  'another character in the answer': [csv([question, answer.replace('o', 'é')]), /answer in line 2, got "é"/, 2],
  'no S': [csv([question.replace('S', ' '), answer]), /no S/, 2],
  'two G': [csv([question.replace('  ', 'GG'), answer]), /second G/, 2],
  'a question that is solved': [csv([answer, answer]), /no o in line 2, got no cell of a question/, 2],
  'an answer that goes through a wall': [
    csv([question, ['So  ', ' #o ', '##G ', '   #'].join('')]),
    /row 2, column 3/,
    2,
  ],
  'an answer without path': [csv([question, question]), /do not lead from S to G/, 2],
  'bytes that are not UTF-8': [Buffer.from(`${csv([question, answer])}x,\xff\n`, 'latin1'), /UTF-8/, 3],
  'a quote that is never closed': [`${header}\n"x,${question}\n`, /CSV/, 2],
  'a row of a megabyte': [`${header}\n${'x'.repeat(2 ** 20)}`, /CSV/, 2],
  'a row of ten megabytes': [`${header}\n${'x'.repeat(10 * 2 ** 20)}`, /CSV/, 2],
}

for (const [what, [content, message, line]] of Object.entries(malformed)) {
  test(`${what} in a maze CSV is an error that names file and line`, async (t) => {
    const path = join(t.testdir(), 'train.csv')
    writeFileSync(path, content)
    const error = await hrmError(() => rows(path))
    t.match(error, { code: 'ERR_HRM_DATASET', message, details: { line } })
    t.ok(error.message.includes(path) && Buffer.byteLength(error.message) < 2000, error.message)
  })
}

test('no change of a maze CSV leads to anything but valid rows or an HRMError', async (t) => {
  const path = join(t.testdir(), 'train.csv')
  const original = Buffer.from(csv([question, answer], [turn(question, 1), turn(answer, 1)]))
  const change = fc.record({
    at: fc.nat(original.length - 1),
    byte: fc.oneof(fc.nat(255), fc.constantFrom(...Buffer.from('",\n\r# SGo'))),
  })
  await fc.assert(
    fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 3 }), async (changes) => {
      const bytes = Buffer.from(original)
      for (const { at, byte } of changes) bytes[at] = byte
      writeFileSync(path, bytes)
      try {
        for await (const row of readMazeCsv(path)) {
          const found = solve(mazeText(row.question))
          if ((found.paths === 1) !== row.unique) return false
          if (row.shortest !== verifyMaze(row.side, row.question, row.answer).valid) return false
        }
        return true
      } catch (error) {
        return (error as { code?: string }).code === 'ERR_HRM_DATASET' && (error as Error).message.length < 2000
      }
    }),
    { numRuns: damagedFiles },
  )
})

test('options out of range and mazes that do not exist are argument errors, and leave nothing', async (t) => {
  const out = join(t.testdir(), 'out')
  const wrong: Partial<GeneratedMazeOptions>[] = [
    { size: 3 },
    { size: 181 },
    { minPath: 0 },
    { minPath: 144 },
    { trainMazes: 0 },
    { testMazes: -1 },
    { seed: -1 },
  ]
  for (const options of wrong) {
    await t.rejects(generated(out, options), { name: 'RangeError', code: 'ERR_HRM_ARGUMENT' }, JSON.stringify(options))
    t.notOk(existsSync(out))
  }
  const few = await generated(out, { size: 4, minPath: 5, trainMazes: 1_000_000, testMazes: 0 }).catch((error) => error)
  t.match(few, { code: 'ERR_HRM_ARGUMENT', message: /then none in 2000 tries/ })
})

test('hrm data maze says what it made and how many tries it took', async (t) => {
  const dir = t.testdir({ 'train.csv': csv([question, answer], [question, answer.replace('S', ' ')]) })
  const out = join(dir, 'out')
  const args = ['data', 'maze', '--generate', '9', '--test', '3', '--size', '10', '--min-path', '12', '-o', out]
  const ended = await hrm([...args, '--aug', '--json'])
  t.equal(ended.code, 0, ended.stderr)
  const result = lastJson(ended.stdout)
  t.match(result, { type: 'result', size: 10, splits: { train: { groups: 9, examples: 72 }, test: { examples: 3 } } })
  t.match(ended.stderr, new RegExp(`12 mazes in ${result['tries']} tries`))
  const usage = await hrm(['data', 'maze', join(dir, 'train.csv'), '--min-path', '3', '-o', out])
  t.match(usage, { code: 2, stderr: /--min-path only with --generate/ })
  t.match(await hrm(['data', 'maze', '-o', out]), { code: 2, stderr: /neither/ })
  const bad = await hrm(['data', 'maze', join(dir, 'train.csv'), '-o', join(dir, 'bad')])
  t.match(bad, { code: 3, stderr: /line 3.*row 1, column 1.*train\.csv.*ERR_HRM_DATASET/s })
  t.notOk(existsSync(join(dir, 'bad')))
})
