import { argumentError, rangeError } from './errors.js'

/** A short rendering of any value for error messages. */
export function show(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value.length > 60 ? `${value.slice(0, 57)}...` : value)
  if (typeof value === 'function') return 'a function'
  if (Array.isArray(value)) return `an array of ${value.length}`
  if (ArrayBuffer.isView(value)) return `a ${value.constructor.name} of ${value.byteLength} bytes`
  if (typeof value === 'object' && value !== null) return 'an object'
  return typeof value === 'bigint' ? `${value}n` : String(value)
}

/** Checks that `options` is an object that holds only `known` keys; undefined counts as no options. */
export function checkOptions(op: string, options: unknown, known: readonly string[]): void {
  if (options === undefined) return
  if (typeof options !== 'object' || options === null || Array.isArray(options)) {
    throw argumentError(`[${op}] expected an options object, got ${show(options)}`)
  }
  for (const key of Object.keys(options)) {
    if (!known.includes(key)) {
      throw argumentError(`[${op}] expected the options ${known.join(', ')}, got ${show(key)}`)
    }
  }
}

/** An integer of `least`…`most`, or `otherwise` when undefined. */
export function integerOption<D>(
  op: string,
  name: string,
  value: unknown,
  least: number,
  most: number,
  otherwise: D,
): number | D {
  if (value === undefined) return otherwise
  if (typeof value !== 'number') throw argumentError(`[${op}] expected ${name} to be an integer, got ${show(value)}`)
  if (!Number.isInteger(value) || value < least || value > most) {
    throw rangeError(`[${op}] expected ${name} to be an integer of ${least}…${most}, got ${value}`)
  }
  return value
}

/** A number of `least`…`most`, or `otherwise` when undefined. */
export function numberOption<D>(
  op: string,
  name: string,
  value: unknown,
  least: number,
  most: number,
  otherwise: D,
): number | D {
  if (value === undefined) return otherwise
  if (typeof value !== 'number') throw argumentError(`[${op}] expected ${name} to be a number, got ${show(value)}`)
  if (value >= least && value <= most) return value
  throw rangeError(`[${op}] expected ${name} to be a number of ${least}…${most}, got ${value}`)
}

/** One of `choices`, or `otherwise` when undefined. */
export function choiceOption<T extends string, D>(
  op: string,
  name: string,
  value: unknown,
  choices: readonly T[],
  otherwise: D,
): T | D {
  if (value === undefined) return otherwise
  if (typeof value !== 'string') {
    throw argumentError(`[${op}] expected ${name} to be one of ${choices.join(', ')}, got ${show(value)}`)
  }
  if (!choices.includes(value as T)) {
    throw rangeError(`[${op}] expected ${name} to be one of ${choices.join(', ')}, got ${show(value)}`)
  }
  return value as T
}

/** A non-empty string, or `otherwise` when undefined. */
export function pathOption<D>(op: string, name: string, value: unknown, otherwise: D): string | D {
  if (value === undefined) return otherwise
  if (typeof value !== 'string' || value === '' || value.includes('\0')) {
    throw argumentError(`[${op}] expected ${name} to be a path, got ${show(value)}`)
  }
  return value
}

/** A non-empty string. */
export function requiredPath(op: string, name: string, value: unknown): string {
  const path = pathOption(op, name, value, undefined)
  if (path === undefined) throw argumentError(`[${op}] expected ${name} to be a path, got undefined`)
  return path
}

/** An AbortSignal or undefined. */
export function signalOption(op: string, value: unknown): AbortSignal | undefined {
  if (value === undefined || value instanceof AbortSignal) return value
  throw argumentError(`[${op}] expected signal to be an AbortSignal, got ${show(value)}`)
}

/** A function or undefined. */
export function functionOption<F extends (...args: never[]) => unknown>(
  op: string,
  name: string,
  value: F | undefined,
): F | undefined {
  if (value === undefined || typeof value === 'function') return value
  throw argumentError(`[${op}] expected ${name} to be a function, got ${show(value)}`)
}
