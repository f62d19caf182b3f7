// npm run bench -- [arguments of hrm bench]: hrm bench from a checkout, with the sources as they are.
// npm run bench -- peers|act [options]: what only a checkout has; --help shows the options of each.
import { benchCommand } from '#dist/cli/bench.js'
import { describeError, exitCodeOf } from '#dist/cli/exit.js'

const what = process.argv[2]
if (what === 'peers' || what === 'act') {
  process.argv.splice(2, 1)
  await import(what === 'peers' ? './peers.js' : './act.js')
} else {
  try {
    await benchCommand().exitOverride().parseAsync(process.argv.slice(2), { from: 'user' })
  } catch (error) {
    console.error(describeError(error))
    process.exitCode = exitCodeOf(error)
  }
}
