import { readdirSync, readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { makeDemoData } from '#dist/cli/demo-data.js'
import { Dataset, type Split } from '#dist/dataset.js'
import { solveSudoku, tokensToDigits } from '#dist/sudoku/index.js'
import { hrm } from './process.js'

function grids(dataset: Dataset, split: Split): { puzzle: string; solution: string }[] {
  return Array.from({ length: dataset.sets(split)[0]!.numExamples }, (_, at) => {
    const { inputs, labels } = dataset.example(split, 'all', at)
    return { puzzle: tokensToDigits(inputs).join(''), solution: tokensToDigits(labels).join('') }
  })
}

t.test('the held-out puzzles of the demo have solutions that training never sees', async (t) => {
  const dir = t.testdir()
  const { signal } = new AbortController()
  const data = await makeDemoData(join(dir, 'a'), 5, signal)
  using training = await Dataset.open(data.training)
  using heldOut = await Dataset.open(data.heldOut)
  const train = grids(training, 'train')
  const validation = grids(training, 'test')
  const test = grids(heldOut, 'test')
  t.equal(test.length, 384)
  t.ok(validation.length >= 200)
  const solutions = (list: { solution: string }[]) => new Set(list.map(({ solution }) => solution))
  const seen = solutions([...train, ...validation])
  t.ok(seen.size <= 240)
  t.notOk([...solutions(test)].some((solution) => seen.has(solution)))
  const all = [...train, ...validation, ...test]
  t.equal(new Set(all.map(({ puzzle }) => puzzle)).size, all.length, 'no puzzle comes twice')
  for (const { puzzle, solution } of [...validation, ...test]) {
    if (puzzle.replaceAll('0', '').length !== 8) t.fail(`${puzzle} has not 8 empty cells`)
    const { count, solution: found } = solveSudoku(4, Array.from(puzzle, Number))
    if (count !== 1 || found!.join('') !== solution) t.fail(`${puzzle} has another solution than ${solution}`)
  }
  const again = await makeDemoData(join(dir, 'b'), 5, signal)
  const hash = (folder: string) => readFileSync(join(folder, 'hash.json'), 'utf8')
  t.equal(hash(again.training), hash(data.training), 'the same seed gives the same bytes')
  t.equal(hash(again.heldOut), hash(data.heldOut))
})

t.test('the demo can be interrupted and cleans up', async (t) => {
  const leftovers = () => readdirSync(tmpdir()).filter((name) => name.startsWith('hrm-demo-'))
  const before = leftovers()
  let sent = false
  const { code, stderr } = await hrm(['demo', '--json'], {
    watch: ({ stdout }, kill) => {
      if (sent || !stdout.includes('"type":"step","step":20')) return
      sent = true
      kill('SIGINT')
    },
  })
  t.equal(code, 130)
  t.match(stderr, /no trained model is packed, so this trains one/)
  t.match(stderr, /hrm: ended by SIGINT\n$/)
  t.same(leftovers(), before)
})
