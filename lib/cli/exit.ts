import { CommanderError } from 'commander'
import { HRMError } from '../errors.js'

/** What the process says when it ends. */
export const exitCodes = {
  ok: 0,
  failure: 1,
  usage: 2,
  badInput: 3,
  noDevice: 4,
  diverged: 5,
  belowMinimum: 6,
  interrupted: 130,
  terminated: 143,
} as const

const codeOf: Readonly<Record<string, number>> = {
  ERR_HRM_ARGUMENT: exitCodes.usage,
  ERR_HRM_CONFIG: exitCodes.usage,
  ERR_HRM_SHAPE: exitCodes.badInput,
  ERR_HRM_DATASET: exitCodes.badInput,
  ERR_HRM_CHECKPOINT: exitCodes.badInput,
  ERR_HRM_CORRUPT: exitCodes.badInput,
  ERR_HRM_UNSAFE_PICKLE: exitCodes.badInput,
  ERR_HRM_NO_DEVICE: exitCodes.noDevice,
  ERR_HRM_NON_FINITE: exitCodes.diverged,
}

/** An end that was asked for: its message is printed, without an error code. */
export class Exit extends Error {
  constructor(
    readonly exitCode: number,
    message = '',
  ) {
    super(message)
  }
}

/** The exit code of an error that a command threw. */
export function exitCodeOf(error: unknown): number {
  if (error instanceof Exit) return error.exitCode
  if (error instanceof CommanderError) return error.exitCode === 0 ? exitCodes.ok : exitCodes.usage
  const code = (error as { code?: unknown } | null)?.code
  return (typeof code === 'string' ? codeOf[code] : undefined) ?? exitCodes.failure
}

/** One line for the terminal, `hrm: <message> [CODE]`, with `HRM_DEBUG=1` also the stack; nothing where all is said. */
export function describeError(error: unknown): string {
  if (error instanceof CommanderError) return ''
  if (!(error instanceof Error)) return `hrm: ${String(error)}`
  if (error.message === '') return ''
  const code = (error as { code?: unknown }).code
  const message = error.message.replace(/\s*\n\s*/g, ' ')
  const line = `hrm: ${message}${typeof code === 'string' ? ` [${code}]` : ''}`
  return process.env['HRM_DEBUG'] === '1' ? `${line}\n${error.stack}` : line
}

/** Loads a checkpoint: what is wrong with its configuration is bad data, not bad usage. */
export async function loading<T>(work: Promise<T>): Promise<T> {
  try {
    return await work
  } catch (error) {
    if (!(error instanceof HRMError) || error.code !== 'ERR_HRM_CONFIG') throw error
    throw new HRMError('ERR_HRM_CHECKPOINT', error.message, error.details, { cause: error })
  }
}
