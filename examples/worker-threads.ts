// Solves the test split in several worker threads, each with a model of its own; the compute pool is one for all of them:
//   node build-test/examples/worker-threads.js runs/a data/sudoku 4
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'
import { Dataset, type DatasetExample, HRM, type SolveResult } from 'hrm-native'

interface Share {
  checkpoint: string
  dataset: string
  /** This worker takes examples first, first + step, … */
  first: number
  step: number
}

if (isMainThread) {
  const [checkpoint = 'runs/a', dataset = 'data/sudoku', count = '2'] = process.argv.slice(2)
  const step = Number(count)
  const started = performance.now()
  const solved = await Promise.all(
    Array.from({ length: step }, async (_, first) => {
      const share: Share = { checkpoint, dataset, first, step }
      const worker = new Worker(fileURLToPath(import.meta.url), { workerData: share })
      const [counts] = (await once(worker, 'message')) as [{ right: number; of: number }]
      await once(worker, 'exit')
      return counts
    }),
  )
  const total = (key: 'right' | 'of') => solved.reduce((sum, counts) => sum + counts[key], 0)
  const seconds = ((performance.now() - started) / 1000).toFixed(1)
  console.log(`${total('right')} of ${total('of')} puzzles right, ${step} workers, ${seconds} s`)
} else {
  const { checkpoint, dataset, first, step } = workerData as Share
  const data = await Dataset.open(dataset)
  const model = await HRM.load(checkpoint)
  const { numExamples } = data.sets('test')[0]!
  const examples: DatasetExample[] = []
  for (let at = first; at < numExamples; at += step) examples.push(data.example('test', 'all', at))
  const answers: SolveResult[] = await model.solve(examples.map(({ inputs }) => inputs))
  const right = answers.filter(({ tokens }, at) =>
    examples[at]!.labels.every((label, cell) => label < 0 || label === tokens[cell]),
  )
  model.dispose()
  data.close()
  parentPort!.postMessage({ right: right.length, of: examples.length })
}
