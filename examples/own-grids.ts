// Learns a rule from pairs of grids, here to mirror them, and answers in the values the pairs were written in:
//   npx hrm data grid pairs.jsonl --val 0.1 -o data/mine     lines as {"input": [["a", "b"]], "output": [["b", "a"]]}
//   node build-test/examples/own-grids.js data/mine
import { Dataset, HRM } from 'hrm-native'

const data = await Dataset.open(process.argv[2] ?? 'data/mine')
const { vocabSize, seqLen } = data
const model = await HRM.create({ preset: 'tiny', vocabSize, seqLen })
const run = model.train(data, {
  preset: 'tiny',
  epochs: 1000,
  maxSteps: Number(process.argv[3] ?? 1500),
  evalEverySteps: 250,
  evalMaxExamples: 200,
})
for await (const event of run) {
  if (event.type === 'eval') console.log(`step ${event.step}: exact ${event.sets['all']?.exact_accuracy}`)
}

// What tokens stand for went from the dataset into the model, and goes into its checkpoints.
const { rows, columns, values } = model.vocabulary!
const show = (tokens: Int32Array) =>
  Array.from({ length: rows }, (_, row) =>
    Array.from(tokens.subarray(row * columns, (row + 1) * columns), (token) => values[token] ?? ' ').join(' '),
  ).join('\n')

const { inputs } = data.example('test', 'all', 0)
const { tokens } = await model.solve(inputs)
console.log(`${show(inputs)}\nbecomes\n${show(tokens)}`)
model.dispose()
data.close()
