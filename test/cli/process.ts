import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'

const main = fileURLToPath(new URL('../../../dist/cli/main.js', import.meta.url))

export interface Ended {
  code: number | null
  stdout: string
  stderr: string
}

export interface HrmOptions {
  input?: string
  env?: Record<string, string>
  cwd?: string
  /** The program. @default the built one of the checkout */
  main?: string
  /** Called with all of stderr and stdout so far whenever something was written. */
  watch?: (output: { stdout: string; stderr: string }, kill: (signal: NodeJS.Signals) => void) => void
}

/** Starts the built `hrm` in a process of its own. */
export function hrmProcess(args: readonly string[], options: Pick<HrmOptions, 'env' | 'cwd' | 'main'> = {}) {
  const env = { ...process.env, ...options.env }
  delete env['NODE_OPTIONS']
  return spawn(process.execPath, [options.main ?? main, ...args], { env, cwd: options.cwd })
}

/** Runs the built `hrm` to its end. */
export function hrm(args: readonly string[], options: HrmOptions = {}): Promise<Ended> {
  const child = hrmProcess(args, options)
  const output = { stdout: '', stderr: '' }
  for (const name of ['stdout', 'stderr'] as const) {
    child[name].setEncoding('utf8').on('data', (text: string) => {
      output[name] += text
      options.watch?.(output, (signal) => child.kill(signal))
    })
  }
  child.stdin.end(options.input ?? '')
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code) => resolve({ code, ...output }))
  })
}

/** The last line of NDJSON output. */
export function lastJson(stdout: string): Record<string, unknown> {
  return JSON.parse(stdout.trimEnd().split('\n').at(-1)!) as Record<string, unknown>
}
