import { copyFileSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { wilsonInterval } from '#dist/wilson.js'
import { verifySudoku } from '#dist/sudoku/index.js'
import { puzzles, small, sudokuFolder } from './fixtures.js'
import { hrm, lastJson } from './process.js'

const text = (grid: Uint8Array) => grid.join('').replaceAll('0', '.')
const [first, second] = puzzles(2, 1000).map(({ puzzle }) => text(puzzle)) as [string, string]

t.test('a trained checkpoint can be scored, used and inspected', async (t) => {
  const cwd = sudokuFolder(t)
  const trained = await hrm(['train', ...small, '--preset', 'tiny', '--max-steps', '30', '--out', 'run'], { cwd })
  t.equal(trained.code, 0, trained.stderr)

  await t.test('eval prints what the training evaluation printed', async (t) => {
    const { code, stdout, stderr } = await hrm(['eval', 'run', 'data', '--json'], { cwd })
    t.equal(code, 0, stderr)
    const recorded = JSON.parse(readFileSync(join(cwd, 'run/latest/eval.json'), 'utf8'))
    const result = lastJson(stdout)
    t.match(result, { type: 'result', split: 'test' })
    t.same(result['sets'], recorded.emaSets, 'averaged weights by default, as the recipe has an EMA')
    const raw = await hrm(['eval', 'run', 'data', '--json', '--weights', 'raw'], { cwd })
    t.same(lastJson(raw.stdout)['sets'], recorded.sets)
    const { exact_accuracy, count } = recorded.emaSets.all
    t.same(result['exact_accuracy_interval'], { all: wilsonInterval(exact_accuracy, count) })
    const table = await hrm(['eval', 'run', 'data', '--max-examples', '4', '--split', 'train'], { cwd })
    t.match(table.stdout, /^set +n +exact accuracy +95 % interval/)
    t.match(table.stdout, /\nall +4 /)
    t.match(table.stderr, /examples a second\n$/)
  })

  await t.test('eval with halting scores every example after as many segments as it takes', async (t) => {
    const { code, stdout, stderr } = await hrm(
      ['eval', 'run', 'data', '--halting', 'q', '--max-segments', '3', '--batch', '2', '--json'],
      { cwd },
    )
    t.equal(code, 0, stderr)
    const result = lastJson(stdout) as { sets: { all: { steps: number } } }
    t.match(result, { halting: 'q', sets: { all: { lm_loss: null } }, examples_per_second: Number })
    t.ok(result.sets.all.steps >= 1 && result.sets.all.steps <= 3)
  })

  await t.test('eval and solve take --precision int8, and refuse what is no precision', async (t) => {
    const { code, stdout, stderr } = await hrm(['eval', 'run', 'data', '--precision', 'int8', '--json'], { cwd })
    t.equal(code, 0, stderr)
    t.match(stderr, /run on cpu \w+ int8, /)
    t.match(lastJson(stdout), { sets: { all: { count: 9 } } })
    const solved = await hrm(['solve', 'run', '--puzzle', first, '--precision', 'int8'], { cwd })
    t.match(solved, { code: 0, stdout: /^\S{16}\n$/ })
    t.match(await hrm(['solve', 'run', '--puzzle', first, '--precision', 'fp8'], { cwd }), { code: 2, stderr: /fp32/ })
  })

  await t.test('eval exits 6 below --min-exact, 3 for what it cannot read', async (t) => {
    t.match(await hrm(['eval', 'run', 'data', '--min-exact', '1'], { cwd }), {
      code: 6,
      stderr: /hrm: .* below 100\.0 %\n$/,
    })
    t.equal((await hrm(['eval', 'run', 'data', '--min-exact', '0'], { cwd })).code, 0)
    t.match(await hrm(['eval', 'run', 'data', '--min-exact', '96'], { cwd }), { code: 2 })
    t.match(await hrm(['eval', 'nothing', 'data'], { cwd }), { code: 3, stderr: /nothing.*\[ERR_HRM_CHECKPOINT\]\n$/ })
    t.match(await hrm(['eval', 'run', 'nothing'], { cwd }), { code: 3, stderr: /nothing.*\[ERR_HRM_DATASET\]\n$/ })
  })

  await t.test('solve reads digits and tokens and prints one line each', async (t) => {
    const tokens = JSON.stringify(Array.from(second, (cell) => (cell === '.' ? 1 : Number(cell) + 1)))
    const input = `${first}\r\n\n${first.replaceAll('.', '0')}\n${tokens}\n${second}`
    const plain = await hrm(['solve', 'run'], { cwd, input })
    t.equal(plain.code, 0, plain.stderr)
    const lines = plain.stdout.trimEnd().split('\n')
    t.equal(lines.length, 4)
    t.ok(lines.every((line) => /^[1-4.?]{16}$/.test(line)))
    t.equal(lines[0], lines[1], 'dots and zeros mean the same')
    t.equal(lines[2], lines[3], 'so do tokens and digits')
    t.match(plain.stderr, /\d of 4 solutions obey the rules/)

    writeFileSync(join(cwd, 'puzzles.txt'), `\ufeff${first}\n`)
    const json = await hrm(['solve', 'run', 'puzzles.txt', '--json', '--halting', 'q'], { cwd })
    const [solution, result] = json.stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line))
    t.match(solution, {
      type: 'solution',
      where: 'puzzles.txt line 1',
      qHalt: Number,
      segments: Number,
      valid: Boolean,
    })
    t.equal(solution.tokens.length, 16)
    t.equal(solution.valid, verifySudoku(4, puzzles(1, 1000)[0]!.puzzle, Array.from(solution.solution, Number)).valid)
    t.ok(solution.segments >= 1 && solution.segments <= 3)
    t.same(result, { type: 'result', count: 1, valid: solution.valid ? 1 : 0 })
    t.equal((await hrm(['solve', 'run'], { cwd, input: '' })).stdout, '')
  })

  await t.test('eval and solve pick one of several answers', async (t) => {
    const vote = ['--votes', '4', '--views', 'relabel,dihedral', '--noise', '0.5', '--vote-seed', '3']
    const { code, stdout, stderr } = await hrm(['eval', 'run', 'data', '--json', ...vote, '--pick', 'q'], { cwd })
    t.equal(code, 0, stderr)
    const { sets, gflop_per_example: gflop } = lastJson(stdout) as Record<string, { all: Record<string, number> }>
    t.match(sets!.all, { count: 9, steps: 12, lm_loss: null }, 'four runs of three segments')
    const config = JSON.parse(readFileSync(join(cwd, 'run/latest/config.json'), 'utf8'))
    t.equal(config.arch.halt_max_steps, 3)
    t.ok(Number(gflop!.all) > 0)
    const table = await hrm(['eval', 'run', 'data', ...vote], { cwd })
    t.match(table.stdout, /\nall: 0\.\d+ GFLOP each\n/)

    const verified = ['--pick', 'verifier', '--json', '--puzzle', first]
    const solved = await hrm(['solve', 'run', ...vote, ...verified, '--also', 'run/latest'], { cwd })
    t.equal(solved.code, 0, solved.stderr)
    const solution = JSON.parse(solved.stdout.split('\n')[0]!)
    t.equal(solution.votes.segments, 3 * solution.votes.runs)
    t.ok(solution.valid ? solution.votes.chosen === solution.votes.runs - 1 : solution.votes.runs === 4)
    const refused: [string[], RegExp][] = [
      [['--votes', '0'], /--votes/],
      [['--views', 'mirror'], /relabel, dihedral/],
      [['--noise', '-1'], /0 to 1000/],
      [['--votes', '4', '--noise', '0'], /add noise or other views/],
      [['--votes', '4', '--views', 'relabel', '--task', 'maze'], /at most 2/],
      [['--pick', 'verifier', '--task', 'grid'], /known rules/],
      [['--votes', '2', '--watch'], /--watch or a vote/],
    ]
    for (const [args, message] of refused) {
      const { code, stderr } = await hrm(['solve', 'run', '--puzzle', first, ...args], { cwd })
      t.equal(code, 2, stderr)
      t.match(stderr, message)
    }
  })

  await t.test('solve --watch draws every segment in plain text without a terminal', async (t) => {
    const { code, stdout } = await hrm(['solve', 'run', '--puzzle', first, '--watch'], { cwd, env: { NO_COLOR: '1' } })
    t.equal(code, 0)
    t.match(stdout, /^puzzle +segment 1 +segment 2 +segment 3\n┌─────┬─────┐/)
    t.notMatch(stdout, '\u001b')
    t.match(stdout, /--puzzle: (solved|breaks the rules), 3 segments/)
  })

  await t.test('solve names the line of a bad puzzle and exits 3', async (t) => {
    for (const bad of [
      `${first}1`,
      first.replace('.', '5'),
      'hello',
      '[1,2]',
      '[1,',
      JSON.stringify(Array(16).fill(6)),
    ]) {
      const { code, stdout, stderr } = await hrm(['solve', 'run'], { cwd, input: `${first}\n${bad}\n` })
      t.equal(code, 3, bad)
      t.equal(stdout, '', 'nothing is solved before all is read')
      t.match(stderr, /^hrm: \[solve\] expected .* in stdin line 2, got .* \[ERR_HRM_DATASET\]\n$/)
    }
    t.match(await hrm(['solve', 'run', 'absent.txt'], { cwd }), { code: 3, stderr: /absent\.txt.*ENOENT/ })
  })

  await t.test('inspect shows checkpoints, datasets and files', async (t) => {
    const checkpoint = await hrm(['inspect', 'run'], { cwd })
    t.equal(checkpoint.code, 0, checkpoint.stderr)
    t.match(checkpoint.stdout, /checkpoint of step 30/)
    t.match(checkpoint.stdout, /arch\.hidden_size = 16/)
    t.match(checkpoint.stdout, /hashes: every file is as it was saved/)
    t.match(checkpoint.stdout, /inner\.H_level\.layers\.0\.self_attn\.qkv_proj\.weight +F32 +\[48, 16\]/)
    const json = lastJson((await hrm(['inspect', 'run/latest', '--json'], { cwd })).stdout)
    t.match(json, { kind: 'checkpoint', step: 30, hashed: true, config: { arch: { H_cycles: 2 } } })

    const dataset = await hrm(['inspect', 'data', '--examples', '1'], { cwd })
    t.match(dataset.stdout, /test +all +9 +9 +9/)
    t.match(dataset.stdout, /┌─────┬─────┐ {3}┌─────┬─────┐/)
    t.match(lastJson((await hrm(['inspect', 'data', '--json'], { cwd })).stdout), {
      kind: 'dataset',
      sets: [{ numExamples: 32 }, { numExamples: 9 }],
    })

    const array = await hrm(['inspect', 'data/test/all__inputs.npy'], { cwd })
    t.match(array.stdout, /u1 \[9, 16\]\n/)
    const tensors = await hrm(['inspect', 'run/latest/trainer.safetensors', '--json'], { cwd })
    t.match(lastJson(tensors.stdout), { kind: 'safetensors', tensors: [{ name: String, dtype: String }] })
    for (const path of ['absent', 'run/run.json', '.']) {
      t.match(await hrm(['inspect', path], { cwd }), { code: 3, stderr: /\[ERR_HRM_DATASET\]\n$/ }, path)
    }
  })

  await t.test('a damaged checkpoint exits 3 and names what is damaged', async (t) => {
    const path = join(cwd, 'run/latest/model.safetensors')
    const backup = join(cwd, 'backup')
    copyFileSync(path, backup)
    const bytes = readFileSync(path)
    bytes[bytes.length - 7]! ^= 1
    writeFileSync(path, bytes)
    for (const args of [
      ['eval', 'run', 'data'],
      ['solve', 'run', '--puzzle', first],
      ['inspect', 'run'],
      ['train', '--resume', 'run'],
    ]) {
      t.match(
        await hrm(args, { cwd }),
        { code: 3, stdout: '', stderr: /model\.safetensors.*\[ERR_HRM_CORRUPT\]\n$/ },
        args[0]!,
      )
    }
    copyFileSync(backup, path)
    t.equal((await hrm(['eval', 'run', 'data'], { cwd })).code, 0)
  })
})

t.test("Wilson's interval agrees with worked values", async (t) => {
  // 81 of 263, Newcombe 1998, method 3: 0.2553 to 0.3662; 15 of 148: 0.0624 to 0.1605; 0 of 20: 0 to 0.1611.
  const round = ([low, high]: [number, number]) => [low.toFixed(4), high.toFixed(4)]
  t.same(round(wilsonInterval(81 / 263, 263)), ['0.2553', '0.3662'])
  t.same(round(wilsonInterval(15 / 148, 148)), ['0.0624', '0.1605'])
  t.equal(wilsonInterval(0, 500)[0], 0)
  t.equal(wilsonInterval(1, 500)[1], 1)
  t.same(round(wilsonInterval(0, 20)), ['0.0000', '0.1611'])
  t.same(round(wilsonInterval(1, 29)), ['0.8830', '1.0000'])
})
