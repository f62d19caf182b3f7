#!/usr/bin/env node
import { Command } from 'commander'
import { packageVersion } from '../environment.js'
import { argumentError } from '../errors.js'
import { describeError, exitCodeOf } from './exit.js'
import { endOnClosedPipe, note } from './output.js'

/** Commands in the order of the help; a command is loaded only when it is called. */
const commands: Readonly<Record<string, { summary: string; load: () => Promise<Command> }>> = {
  demo: {
    summary: 'watch a small model solve held-out 4x4 Sudokus, or train it first',
    load: async () => (await import('./demo.js')).demoCommand(),
  },
  data: {
    summary: 'build a dataset folder',
    load: async () => (await import('./data.js')).dataCommand(),
  },
  train: {
    summary: 'train a model on a dataset folder',
    load: async () => (await import('./train.js')).trainCommand(),
  },
  eval: {
    summary: 'score a checkpoint on a dataset',
    load: async () => (await import('./eval.js')).evalCommand(),
  },
  solve: {
    summary: 'solve puzzles with a checkpoint',
    load: async () => (await import('./solve.js')).solveCommand(),
  },
  inspect: {
    summary: 'show what a checkpoint, dataset, .npy, .safetensors or PyTorch file holds',
    load: async () => (await import('./inspect.js')).inspectCommand(),
  },
  report: {
    summary: 'write a page with the curves and puzzles of training runs',
    load: async () => (await import('./report.js')).reportCommand(),
  },
  pull: {
    summary: 'download a model from the Hugging Face hub',
    load: async () => (await import('./pull.js')).pullCommand(),
  },
  convert: {
    summary: 'convert a checkpoint into another format',
    load: async () => (await import('./convert.js')).convertCommand(),
  },
  bench: {
    summary: 'time kernels, solving and training on this machine',
    load: async () => (await import('./bench.js')).benchCommand(),
  },
  doctor: {
    summary: 'check what this machine offers',
    load: async () => (await import('./doctor.js')).doctorCommand(),
  },
}

/** Makes usage errors throw, in the form of all other errors. */
function settle(command: Command): void {
  command.exitOverride()
  command.showSuggestionAfterError()
  command.configureOutput({
    outputError: (text, write) => {
      const message = text.replace(/^error: /, '').trim()
      write(`${describeError(argumentError(message.replace(/\s*\n\s*/g, ' ')))}\n`)
    },
  })
  for (const child of command.commands) settle(child as Command)
}

async function run(args: readonly string[]): Promise<void> {
  const program = new Command('hrm')
    .description('Hierarchical Reasoning Model: train and solve on any CPU')
    .version(packageVersion())
    .showHelpAfterError(false)
  const called = args.find((arg) => !arg.startsWith('-'))
  const loaded = called === 'help' ? args[args.indexOf('help') + 1] : called
  for (const [name, { summary, load }] of Object.entries(commands)) {
    program.addCommand((name === loaded ? await load() : new Command(name)).summary(summary))
  }
  settle(program)
  await program.parseAsync(args, { from: 'user' })
}

endOnClosedPipe()
try {
  await run(process.argv.slice(2))
} catch (error) {
  const text = describeError(error)
  if (text !== '') note(text)
  process.exitCode = exitCodeOf(error)
}
