// Sends what a run tells wherever you like, here as lines of CSV to stdout; notes go to stderr:
//   node build-test/examples/custom-logger.js data/sudoku > run.csv
import { Dataset, HRM, type TrainEvent } from 'hrm-native'

/** What a logger of your own would be: a function of an event. */
type Logger = (event: TrainEvent) => void

function csvLogger(write: (line: string) => void): Logger {
  write('step,kind,name,value')
  return (event) => {
    switch (event.type) {
      case 'step':
        write(`${event.step},train,loss,${event.loss}`)
        write(`${event.step},train,lr,${event.lr}`)
        // Rows count where they halt; a step in which none did has no accuracy.
        if (event.metrics.count > 0) write(`${event.step},train,exact_accuracy,${event.metrics.exact_accuracy}`)
        break
      case 'eval':
        for (const [set, scores] of Object.entries(event.sets))
          for (const [name, value] of Object.entries(scores)) write(`${event.step},eval/${set},${name},${value}`)
        break
    }
  }
}

const noteLogger: Logger = (event) => {
  if (event.type === 'start') console.error(`${event.lastStep - event.step} steps to go`)
  if (event.type === 'end') console.error(`${event.reason} at step ${event.step}`)
}

const [dataDir = 'data/sudoku', steps = '200'] = process.argv.slice(2)
const data = await Dataset.open(dataDir)
const { vocabSize, seqLen } = data
const model = await HRM.create({ preset: 'tiny', vocabSize, seqLen })
const run = model.train(data, {
  preset: 'tiny',
  epochs: 1000,
  maxSteps: Number(steps),
  evalEverySteps: Math.ceil(Number(steps) / 4),
})
const loggers = [csvLogger((line) => console.log(line)), noteLogger]
for await (const event of run) for (const log of loggers) log(event)
model.dispose()
data.close()
