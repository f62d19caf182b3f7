import { join } from 'node:path'
import t from 'tap'
import { RandomStream } from '#dist/random.js'
import { generatePuzzle } from '#dist/sudoku/index.js'
import { hrm, lastJson } from './process.js'

const { puzzle, solution } = generatePuzzle(9, 30, new RandomStream(0, 'puzzle', 0))
const [question, answer] = [puzzle, solution].map((grid) => grid.join(''))
const maze = ['S   ', '### ', '    ', '  #G'].join('')
const path = ['Sooo', '###o', '   o', '  #G'].join('')
const largeMaze = `S${' '.repeat(898)}G`
const largePath = Array.from({ length: 900 }, (_, at) =>
  at === 0 ? 'S' : at === 899 ? 'G' : at < 30 || at % 30 === 29 ? 'o' : ' ',
).join('')

const files: Record<string, { content: string; kind: string; facts: object; broken: string }> = {
  'a.csv': {
    content: `source,question,answer,rating\nx,${question},${answer},3\n`,
    kind: 'sudoku-csv',
    facts: { puzzles: 1 },
    broken: `question,answer\n${question},${answer}\n${question},${question}\n`,
  },
  'b.csv': {
    content: `question,answer\n${maze},${path}`,
    kind: 'maze-csv',
    facts: { puzzles: 1, size: 4, notShortest: 0, ambiguous: 0 },
    broken: `question,answer\n${maze},${path}\n${maze},${maze}\n`,
  },
  'c.csv': {
    content: `source,question,answer,rating\r\n,${largeMaze},${largePath},\r\n`,
    kind: 'maze-csv',
    facts: { puzzles: 1, size: 30, notShortest: 0, ambiguous: 1 },
    broken: `source,question,answer,rating\n,${maze},${path},\nx,y\n`,
  },
  'd.csv': {
    content: 'input,output\n"[1,2]","[2,1]"\n',
    kind: 'grid-csv',
    facts: { pairs: 1, form: 'sequence', columns: 2, sameSize: true, values: 2 },
    broken: 'input,output\n"[1,2]","[2,1]"\n"[1,2","[2,1]"\n',
  },
  'e.jsonl': {
    content: '{"input":[[1,2]],"output":[[2]],"split":"val"}',
    kind: 'grid-jsonl',
    facts: { pairs: 1, form: 'grid', rows: 1, sameSize: false, test: 1 },
    broken: '{"input":[[1,2]],"output":[[2]]}\n\n{"input":[[1,2],[1]],"output":[[2]]}\n',
  },
}

t.test('files of puzzles and pairs are read whole and recognised', async (t) => {
  const dir = t.testdir(Object.fromEntries(Object.entries(files).map(([name, { content }]) => [name, content])))
  for (const [name, { kind, facts }] of Object.entries(files)) {
    const guessed = await hrm(['inspect', join(dir, name), '--json'])
    t.equal(guessed.code, 0, guessed.stderr)
    t.match(lastJson(guessed.stdout), { type: 'result', kind, ...facts }, name)
  }
  const asked = await hrm(['inspect', join(dir, 'd.csv'), '--as', 'grid-csv'])
  t.match(asked, { code: 0, stdout: /1 pairs of sequences of at most 2 values, outputs each as large/ })
  t.match(await hrm(['inspect', join(dir, 'd.csv'), '--as', 'maze-csv', '--json']), { code: 3, stderr: /header/ })
})

t.test('what is malformed exits 3 and names file and line', async (t) => {
  const dir = t.testdir(Object.fromEntries(Object.entries(files).map(([name, { broken }]) => [name, broken])))
  for (const [name, { kind }] of Object.entries(files)) {
    const { code, stdout, stderr } = await hrm(['inspect', join(dir, name), '--as', kind, '--json'])
    t.same([code, stdout], [3, ''], name)
    t.match(stderr, /^hrm: \[\w+\] expected .*line 3.* \[ERR_HRM_DATASET\]\n$/, name)
    t.ok(stderr.includes(join(dir, name)) && Buffer.byteLength(stderr) < 2000, stderr)
  }
})
