import { type Command, InvalidArgumentError, Option } from 'commander'
import type { Precision } from '../devices.js'

/** Option values are checked here, so that usage errors come before any work. */
function parser(expected: string, fits: (value: number) => boolean): (text: string) => number {
  return (text) => {
    const value = text.trim() === '' ? Number.NaN : Number(text)
    if (!fits(value)) throw new InvalidArgumentError(`expected ${expected}.`)
    return value
  }
}

/** `--steps N` with an integer of at least `least`. */
export function integerOption(flags: string, description: string, least = 1): Option {
  const fits = (value: number) => Number.isSafeInteger(value) && value >= least
  return new Option(flags, description).argParser(parser(`an integer of at least ${least}`, fits))
}

/** `--share X` with a number from 0 to 1; `below` excludes 1. */
export function shareOption(flags: string, description: string, below = false): Option {
  const fits = (value: number) => value >= 0 && (below ? value < 1 : value <= 1)
  return new Option(flags, description).argParser(parser(`a number from 0 to ${below ? 'below 1' : '1'}`, fits))
}

/** Where and how a model runs. */
export interface DeviceOptions {
  device?: string
  threads?: number
  precision?: Precision
}

/** Adds `--device` and `--threads`. */
export function addDeviceOptions(command: Command): Command {
  return command
    .option('--device <name>', 'auto, cpu, cuda or cuda:N (default: HRM_DEVICE, else auto)')
    .addOption(integerOption('--threads <n>', 'compute threads (default: HRM_THREADS, else all usable cores)'))
}

/** `--precision`, for commands that do not train. */
export function precisionOption(): Option {
  const description =
    'number format: bf16 (default on a GPU), fp32 (default on the CPU), int8 (CPU: faster, close), fp64 (CPU: slow, for checks)'
  return new Option('--precision <name>', description).choices(['fp32', 'bf16', 'int8', 'fp64'])
}

/** The given ones of these options, as `HRM.create` and `HRM.load` take them. */
export function deviceOptions({ device, threads, precision }: DeviceOptions): DeviceOptions {
  return {
    ...(device === undefined ? {} : { device }),
    ...(threads === undefined ? {} : { threads }),
    ...(precision === undefined ? {} : { precision }),
  }
}
