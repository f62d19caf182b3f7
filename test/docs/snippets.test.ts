// Every TypeScript and shell block of the documents is run as it stands, with small data and small models.
import { spawn, spawnSync } from 'node:child_process'
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { test } from 'tap'
import { RandomStream } from '#dist/random.js'
import { generatePuzzle } from '#dist/sudoku/index.js'
import { task as arcTask } from '../arc/fixtures.js'
import { HubServer } from '../hub/hub-server.js'
import { pages, root, type Snippet, snippetsOf } from './snippets.js'

const beside = (name: string) => fileURLToPath(new URL(name, import.meta.url))
const snippets = pages.flatMap(snippetsOf)
const isRun = ({ language, notRun }: Snippet) => ['ts', 'sh'].includes(language) && notRun === undefined
const place = ({ page, line }: Snippet) => `${page}:${line}`

/** Ends on its own at the latest, so that a block that hangs fails by name. */
const TIMEOUT_MS = 300_000

function write(path: string, text: string): void {
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(path, text)
}

/** Lines `source,question,answer,rating` of 9x9 puzzles. */
function sudokuCsv(count: number, from: number): string {
  const rows = Array.from({ length: count }, (_, at) => {
    const { puzzle, solution } = generatePuzzle(9, 30, new RandomStream(0, 'puzzle', from + at))
    return `made,${puzzle.join('').replaceAll('0', '.')},${solution.join('')},0`
  })
  return ['source,question,answer,rating', ...rows, ''].join('\n')
}

interface Ran {
  code: number | null
  output: string
}

/** Runs a program in a folder beside `bin`, where `npx hrm` is the built one with small sizes. */
function run(cwd: string, program: string, args: readonly string[], env: Record<string, string>): Promise<Ran> {
  const child = spawn(program, args, {
    cwd,
    env: { ...process.env, NODE_OPTIONS: '', PATH: `${join(cwd, '../bin')}:${process.env['PATH']}`, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: TIMEOUT_MS,
  })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text) => (output += text))
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code) => resolve({ code, output }))
  })
}

/** Makes the package and `npx hrm` known to the folders in `dir`. */
function install(dir: string): void {
  write(join(dir, 'package.json'), '{ "type": "module" }')
  mkdirSync(join(dir, 'node_modules'))
  symlinkSync(root, join(dir, 'node_modules/hrm-native'))
  const npx = `#!/bin/sh\n[ "$1" = hrm ] && shift && exec '${process.execPath}' '${beside('small-hrm.js')}' "$@"\n`
  write(join(dir, 'bin/npx'), npx)
  chmodSync(join(dir, 'bin/npx'), 0o755)
}

/** Fills a folder with what blocks name: data as users have it, then what the commands themselves make of it. */
async function fill(world: string): Promise<void> {
  const test = sudokuCsv(4, 100)
  for (const folder of ['.', 'sudoku-extreme']) {
    write(join(world, folder, 'train.csv'), sudokuCsv(8, 0))
    write(join(world, folder, 'test.csv'), test)
  }
  const questions = test.trimEnd().split('\n').slice(1)
  write(join(world, 'puzzles.txt'), questions.map((line) => `${line.split(',')[1]}\n`).join(''))
  const task = JSON.stringify(arcTask)
  for (const path of ['ARC-AGI/data/training/a', 'ARC-AGI/data/evaluation/b', 'ConceptARC/corpus/c'])
    write(join(world, `${path}.json`), task)
  const pairs = Array.from({ length: 12 }, (_, at) => ({ input: [[at, 0]], output: [[0, at]] }))
  write(join(world, 'pairs.jsonl'), pairs.map((pair) => `${JSON.stringify(pair)}\n`).join(''))

  const commands = `
    npx hrm data sudoku sudoku-extreme -o data/sudoku
    npx hrm data grid pairs.jsonl --val 0.2 -o data/mine
    npx hrm data arc ARC-AGI/data ConceptARC/corpus -o data/arc
    npx hrm train data_path=data/sudoku --out runs/a
    npx hrm train data_path=data/sudoku --seed 1 --out runs/b
    npx hrm train data_path=data/arc --out runs/arc
    mkdir -p models/sudoku models/arc old
    npx hrm convert runs/a models/sudoku/step_2.pt
    npx hrm convert runs/arc models/arc/step_2.pt
    cp data/arc/identifiers.json old
    cp -r data/arc data/arc-aug-1000
    cp -r data/sudoku data/sudoku-extreme-1k`
  const { code, output } = await run(world, 'bash', ['-ec', commands], {})
  if (code !== 0) throw new Error(`the folder for blocks could not be made: ${output}`)
}

/** Folders and files that a block makes, which are not there before. */
function outputsOf({ text }: Snippet): string[] {
  const options = [...text.matchAll(/(?:-o|--out) (\S+)|dir: '([^']+)'/g)].map((match) => match[1] ?? match[2]!)
  const converted = [...text.matchAll(/hrm convert \S+ (\S+)/g)].map((match) => match[1]!)
  return [...options, ...converted]
}

/** Compiles the TypeScript blocks as a user's files: `N.ts` is block N. Returns what the compiler says, by block. */
function compile(folder: string, blocks: readonly Snippet[]): Map<number, string> {
  blocks.forEach(({ text }, at) => write(join(folder, `${at}.ts`), text))
  const options = {
    extends: join(root, 'tsconfig.json'),
    compilerOptions: {
      noEmit: false,
      declaration: false,
      sourceMap: false,
      outDir: '.',
      rootDir: '.',
      typeRoots: [join(root, 'node_modules/@types')],
    },
    include: ['*.ts'],
    exclude: [],
  }
  write(join(folder, 'tsconfig.json'), JSON.stringify(options))
  const tsc = join(root, 'node_modules/typescript/bin/tsc')
  const { stdout } = spawnSync(process.execPath, [tsc, '-p', folder], { cwd: folder, encoding: 'utf8' })
  const errors = new Map<number, string>()
  for (const [line, at] of stdout.matchAll(/^(?:\S*\/)?(\d+)\.ts\(.*$/gm)) {
    errors.set(Number(at), `${errors.get(Number(at)) ?? ''}${line}\n`)
  }
  if (stdout !== '' && errors.size === 0) throw new Error(stdout)
  return errors
}

test('every block of TypeScript and shell is run, and few are not', (t) => {
  const known = ['ts', 'sh', 'js', 'json', 'text']
  for (const snippet of snippets) t.ok(known.includes(snippet.language), `${place(snippet)} says its language`)
  const left = snippets.filter((snippet) => ['ts', 'js', 'sh'].includes(snippet.language) && !isRun(snippet))
  for (const snippet of left)
    t.ok(snippet.notRun, `${place(snippet)} is not run: ${snippet.notRun ?? 'nobody says why'}`)
  t.ok(left.length <= 8, `${left.length} of ${left.length + snippets.filter(isRun).length} are not run`)
  t.end()
})

test('blocks do what they say', async (t) => {
  const hub = await HubServer.start(['sapientinc/HRM-checkpoint-sudoku-extreme', 'owner/name'])
  t.teardown(() => hub.stop())
  const dir = t.testdir()
  install(dir)
  const world = join(dir, 'world')
  await fill(world)
  symlinkSync(join(dir, 'node_modules'), join(world, 'node_modules'))
  for (const name of readdirSync(join(world, 'models/sudoku')))
    hub.files.set(name, readFileSync(join(world, 'models/sudoku', name)))
  const ts = snippets.filter((snippet) => isRun(snippet) && snippet.language === 'ts')
  const errors = compile(join(dir, 'compiled'), ts)
  for (const snippet of snippets.filter(isRun)) {
    const cwd = join(dir, 'block')
    cpSync(world, cwd, { recursive: true, verbatimSymlinks: true })
    for (const output of outputsOf(snippet)) rmSync(join(cwd, output), { recursive: true, force: true })
    const env = { HF_ENDPOINT: hub.url, HRM_THREADS: '1' }
    let ran: Ran
    if (snippet.language === 'ts') {
      const at = ts.indexOf(snippet)
      t.equal(errors.get(at) ?? '', '', `${place(snippet)} is type-checked`)
      if (errors.has(at)) continue
      cpSync(join(dir, `compiled/${at}.js`), join(cwd, 'block.js'))
      ran = await run(cwd, process.execPath, ['--import', beside('small-models.js'), 'block.js'], env)
    } else ran = await run(cwd, 'bash', ['-e', '-c', snippet.text], env)
    t.equal(ran.code, 0, `${place(snippet)} runs`, { output: ran.output.slice(-2000) })
    for (const output of outputsOf(snippet)) t.ok(existsSync(join(cwd, output)), `${place(snippet)} makes ${output}`)
    rmSync(cwd, { recursive: true })
  }
})

/** The anchors of a page, as GitHub makes them of its headings. */
function anchorsOf(page: string): Set<string> {
  const text = readFileSync(join(root, page), 'utf8').replace(/^ *```.*?^ *```$/gms, '')
  const headings = [...text.matchAll(/^#+ (.+)$/gm)].map((match) => match[1]!)
  return new Set(
    headings.map((title) =>
      title
        .toLowerCase()
        .replace(/[^\w\- ]/g, '')
        .replaceAll(' ', '-'),
    ),
  )
}

test('links between the documents lead somewhere', (t) => {
  let followed = 0
  for (const page of [...pages, 'CHANGELOG.md']) {
    const text = readFileSync(join(root, page), 'utf8')
    for (const [, target] of text.matchAll(/\]\((?!https?:)([^)\s]+)\)/g)) {
      const [path = '', anchor] = target!.split('#')
      const to = path === '' ? page : join(dirname(page), path)
      t.ok(existsSync(join(root, to)), `${page} leads to ${target}`)
      if (anchor !== undefined) t.ok(anchorsOf(to).has(anchor), `${page} leads to ${target}`)
      followed++
    }
  }
  t.ok(followed > 20, `${followed} links`)
  t.end()
})
