// npm run bench -- [arguments of hrm bench]: hrm bench from a checkout, with the sources as they are.
// npm run bench -- peers|act|reliability|claims [options]: what only a checkout has; --help shows the options of each.
import { benchCommand } from '#dist/cli/bench.js'
import { describeError, exitCodeOf } from '#dist/cli/exit.js'

const ours = new Set(['peers', 'act', 'reliability', 'claims'])
const what = process.argv[2]
if (what !== undefined && ours.has(what)) {
  process.argv.splice(2, 1)
  await import(`./${what}.js`)
} else {
  try {
    await benchCommand().exitOverride().parseAsync(process.argv.slice(2), { from: 'user' })
  } catch (error) {
    console.error(describeError(error))
    process.exitCode = exitCodeOf(error)
  }
}
