// node scripts/draw-readme-picture.mjs: draws docs/images/solving.svg, the first held-out puzzle of `hrm demo` as the packed
// model solves it, segment by segment until its Q head stops. --check writes nothing and exits with 1 where it differs.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { makeHeldOutData } from '../dist/cli/demo-data.js'
import { Dataset, HRM, verify } from '../dist/index.js'
import { pictures, segmentFrames } from '../dist/render/picture.js'
import { svgFilmstrip } from '../dist/render/svg.js'

const root = join(import.meta.dirname, '..')
const file = join(root, 'docs/images/solving.svg')
const demoSeed = 0

const dir = mkdtempSync(join(tmpdir(), 'hrm-picture-'))
try {
  await makeHeldOutData(dir, demoSeed)
  const data = await Dataset.open(dir)
  // One set of kernels, so that every machine draws the same.
  const model = await HRM.load(join(root, 'models/sudoku-4x4'), { device: 'cpu', isa: 'portable' })
  const { inputs } = data.example('test', 'all', 0)
  const answers = []
  for await (const { tokens } of model.segments(inputs, { halting: 'q' })) answers.push(tokens)
  const outcome = verify('sudoku', inputs, answers.at(-1)).valid ? 'solved' : 'not solved'
  const title = `A 4x4 Sudoku after each of ${answers.length} segments: ${outcome}`
  const picture = `${svgFilmstrip(segmentFrames(pictures(model.config), inputs, answers), { title, cellSize: 32 })}\n`
  if (!process.argv.includes('--check')) writeFileSync(file, picture)
  else if (readFileSync(file, 'utf8') !== picture) {
    console.error('docs/images/solving.svg is not up to date; do node scripts/draw-readme-picture.mjs')
    process.exitCode = 1
  }
  model.dispose()
  data.close()
} finally {
  rmSync(dir, { recursive: true })
}
