import { once } from 'node:events'
import { hrmProcess } from '../cli/process.js'

/** Codes with which hrm ends when it was asked to. */
export const exitCodes = { SIGINT: 130, SIGTERM: 143 } as const
export type Signal = keyof typeof exitCodes

export interface Interrupted {
  code: number | null
  /** The signal that ended the process by itself, where it came before the program had begun. */
  signal: NodeJS.Signals | null
  stdout: string
  stderr: string
  /** What stdout held when the last signal was sent. */
  stdoutBefore: string
  /** From its start to the first line of stdout, and 0 without one: what the same process takes on this machine now. */
  startMs: number
  /** From the last signal to the end of the process, less the time for which this process was held up, too. */
  endMs: number
}

/** What a plan can do with the process. */
export interface Interrupting {
  send: (signal: Signal) => void
  /** Resolves once stdout and stderr match so many times, or the process has ended. */
  printed: (pattern: RegExp, times?: number) => Promise<void>
}

/** A process that has not ended by then is killed. */
const LOST_MS = 600_000
const TICK_MS = 50

/** Runs hrm with open stdin, and sends signals to it as `plan` does. */
export async function interrupt(
  args: readonly string[],
  cwd: string,
  plan: (process: Interrupting) => Promise<void>,
): Promise<Interrupted> {
  const child = hrmProcess(args, { cwd })
  const output = { stdout: '', stderr: '' }
  let look = () => {}
  for (const name of ['stdout', 'stderr'] as const) {
    child[name].setEncoding('utf8').on('data', (text: string) => {
      output[name] += text
      look()
    })
  }
  const exited = once(child, 'exit') as Promise<[number | null, NodeJS.Signals | null]>
  const closed = once(child, 'close')
  const lost = setTimeout(() => child.kill('SIGKILL'), LOST_MS)
  let sentAt = performance.now()
  let stdoutBefore = ''
  let startMs = 0
  const begin = performance.now()
  child.stdout.once('data', () => (startMs = performance.now() - begin))
  let heldUpMs = 0
  const send = (signal: Signal) => {
    stdoutBefore = output.stdout
    child.kill(signal)
    sentAt = performance.now()
    heldUpMs = 0
  }
  const printed = (pattern: RegExp, times = 1) =>
    new Promise<void>((resolve) => {
      look = () => {
        const found = `${output.stdout}\n${output.stderr}`.match(new RegExp(pattern, 'gm')) ?? []
        if (found.length >= times) resolve()
      }
      look()
      void exited.then(() => resolve())
    })
  let tickAt = performance.now()
  const clock = setInterval(() => {
    const now = performance.now()
    heldUpMs += Math.max(0, now - tickAt - 2 * TICK_MS)
    tickAt = now
  }, TICK_MS)
  await plan({ send, printed })
  const [code, signal] = await exited
  const endMs = performance.now() - sentAt - heldUpMs
  clearInterval(clock)
  clearTimeout(lost)
  child.stdin.destroy()
  await closed
  return { code, signal, stdoutBefore, startMs, endMs, ...output }
}
