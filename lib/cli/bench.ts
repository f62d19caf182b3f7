import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { Command } from 'commander'
import { HRMError } from '../errors.js'
import { Exit } from './exit.js'

/** The benchmark of a checkout, compiled by `npm run bench`; packages do not hold it. */
const program = fileURLToPath(new URL('../../build-test/bench/main.js', import.meta.url))

function run(args: readonly string[]): Promise<number> {
  if (!existsSync(program)) {
    const message = `[bench] expected ${program}, got no such file; run npm run bench in a checkout, which compiles it`
    throw new HRMError('ERR_HRM_IO', message, { path: program })
  }
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [program, ...args], { stdio: 'inherit' })
    child.on('error', reject)
    child.on('close', (code) => resolve(code ?? 1))
  })
}

/** `hrm bench` */
export function benchCommand(): Command {
  return new Command('bench')
    .description(
      'Times segments and training steps on this machine (in a checkout). Arguments are those of npm run bench.',
    )
    .argument('[args...]', 'as --json, --threads N, --seconds S')
    .allowUnknownOption()
    .action(async (args: string[]) => {
      const code = await run(args)
      if (code !== 0) throw new Exit(code)
    })
}
