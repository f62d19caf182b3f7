// Runs `hrm` with the sizes of the documents made small: `npx hrm` in blocks that tests run.
// Large counts become small ones, and a training that starts gets a small model and few steps; nothing else changes.

/** Options whose numbers count data, and what becomes of larger ones. */
const most: Readonly<Record<string, number>> = {
  '--subsample-size': 6,
  '--num-aug': 2,
  '--generate': 8,
  '--test': 4,
  '--max-examples': 4,
}

const args = process.argv.slice(2).map((arg, at, all) => {
  const limit = most[all[at - 1] ?? '']
  return limit === undefined ? arg : String(Math.min(limit, Number(arg)))
})
if (args[0] === 'data' && args[1] === 'arc' && !args.includes('--num-aug')) args.push('--num-aug', '2')
if (args[0] === 'train' && !args.includes('--resume')) {
  args.push('arch.hidden_size=16', 'arch.num_heads=2', 'arch.H_layers=1', 'arch.L_layers=1', 'arch.halt_max_steps=2')
  args.push('global_batch_size=4', 'micro_batch_size=0', '--max-steps', '2')
}
// What follows a run until Ctrl-C gets it once it has said where it is to be seen.
if (args.includes('--watch')) {
  const write = process.stdout.write.bind(process.stdout) as (...written: unknown[]) => boolean
  process.stdout.write = (...written: unknown[]) => {
    if (String(written[0]).startsWith('http:')) setTimeout(() => process.kill(process.pid, 'SIGINT'), 100)
    return write(...written)
  }
}
process.argv.splice(2, process.argv.length, ...args)
const main = '#dist/cli/main.js'
await import(main)
