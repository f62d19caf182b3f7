// Trains twice, once without a pause and once interrupted and resumed, and compares every byte of the two ends:
//   node build-test/examples/resume.js data/sudoku runs/example
import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Dataset, HRM, type TrainOptions } from 'hrm-native'

const [dataDir = 'data/sudoku', runs = 'runs/example', steps = '40'] = process.argv.slice(2)
const data = await Dataset.open(dataDir)
const { vocabSize, seqLen } = data

/** Trains a new model into a run folder, or goes on where that folder ends; stops after `pauseAt` steps. */
async function train(dir: string, pauseAt = Infinity): Promise<string> {
  const model = await HRM.create({ preset: 'tiny', vocabSize, seqLen }, { seed: 0 })
  const options: TrainOptions = {
    preset: 'tiny',
    globalBatchSize: 16,
    epochs: 1000,
    maxSteps: Number(steps),
    checkpoint: { dir, keep: 1 },
    resume: 'auto',
  }
  const run = model.train(data, options)
  for await (const event of run) {
    if (event.type === 'start' && event.resumed) console.log(`${dir} goes on at step ${event.step}`)
    // A checkpoint is saved before the run ends; a SIGKILL would cost the steps since the last one, and change nothing.
    if (event.type === 'step' && event.step >= pauseAt) run.stop()
  }
  const { checkpoint, step, reason } = await run.done()
  console.log(`${dir} ${reason} at step ${step}`)
  model.dispose()
  return checkpoint!
}

/** Weights, and all that training needs to go on: moments, averages, carries. */
async function digest(checkpoint: string): Promise<string> {
  const hash = createHash('sha256')
  for (const file of ['model.safetensors', 'trainer.safetensors']) hash.update(await readFile(join(checkpoint, file)))
  return hash.digest('hex')
}

const straight = await digest(await train(join(runs, 'straight')))
await train(join(runs, 'paused'), Number(steps) / 2)
const resumed = await digest(await train(join(runs, 'paused')))
console.log(straight === resumed ? `the same bytes: ${resumed}` : `${straight} is not ${resumed}`)
process.exitCode = straight === resumed ? 0 : 1
data.close()
