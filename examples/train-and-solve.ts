// Trains the tiny preset on a dataset folder and solves its first test puzzle:
//   npx hrm data sudoku --generate 20000 --test 200 --holes 8 --size 4 --seed 0 -o data/sudoku-4x4
//   node build-test/examples/train-and-solve.js data/sudoku-4x4
import { Dataset, HRM, verify } from 'hrm-native'

const data = await Dataset.open(process.argv[2] ?? 'data/sudoku-4x4')
const model = await HRM.create({ preset: 'tiny', vocabSize: data.vocabSize, seqLen: data.seqLen })

const run = model.train(data, {
  globalBatchSize: 64,
  lr: 1e-3,
  lrWarmupSteps: 50,
  ema: 0.998,
  maxSteps: Number(process.argv[3] ?? 1500),
  evalEverySteps: 500,
  finalWeights: 'ema',
})
for await (const event of run) {
  if (event.type === 'eval') console.log(`step ${event.step}:`, event.emaSets?.['all'])
}

const { inputs } = data.example('test', 'all', 0)
const { tokens, qHalt, segments } = await model.solve(inputs, { halting: 'q' })
console.log({ segments, qHalt, tokens: [...tokens], verdict: verify('sudoku', inputs, tokens) })
model.dispose()
