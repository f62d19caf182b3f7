// npm run bench -- [arguments of hrm bench]: from a checkout, with the sources as they are.
import { benchCommand } from '#dist/cli/bench.js'
import { describeError, exitCodeOf } from '#dist/cli/exit.js'

try {
  await benchCommand().exitOverride().parseAsync(process.argv.slice(2), { from: 'user' })
} catch (error) {
  console.error(describeError(error))
  process.exitCode = exitCodeOf(error)
}
