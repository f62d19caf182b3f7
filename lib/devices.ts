import { cpus, totalmem } from 'node:os'
import { HRMError } from './errors.js'
import { native, type NativeEngineOptions } from './native.js'
import { choiceOption, integerOption, pathOption } from './options.js'

/**
 * Number formats of the computation. `int8`, for solving and evaluating only, computes the linear layers of the blocks in
 * 8-bit integers and the rest in fp32; `fp64` runs in the plain loops of the reference. This build has no `bf16`.
 */
export type Precision = 'fp32' | 'bf16' | 'int8' | 'fp64'

export interface DeviceOptions {
  /**
   * `auto`, `cpu`, `cuda` or `cuda:N`; `auto` takes the best there is, another that is missing is an error.
   * @default the environment variable HRM_DEVICE, else 'auto'
   */
  device?: string
  /**
   * Compute threads, 1…1024; results do not depend on it.
   * @default the environment variable HRM_THREADS, else as many cores as the process may use
   */
  threads?: number
  /** @default 'fp32' */
  precision?: Precision
  /**
   * Instruction set: `portable`, `avx2`, `avx512`, `avx512vnni`, `neon` (64-bit ARM), or `reference` for the plain loops.
   * VNNI serves int8 alone; in the other precisions `avx512vnni` and `avx512` are the same.
   * @default the environment variable HRM_ISA, else the best the CPU has
   */
  isa?: string
}

export const deviceKeys = ['device', 'threads', 'precision', 'isa'] as const

/** A device that models can run on. */
export interface DeviceInfo {
  /** What the option `device` takes. */
  device: string
  name: string
  /** Best instruction set of the CPU, and all that are available. */
  isa: string
  isas: string[]
  /** Cores that the process may use. */
  threads: number
  memoryBytes: number
}

/** The devices of this machine that this build can use, the one that `auto` takes first. */
export function listDevices(): DeviceInfo[] {
  const { isa, isas, threads } = native.cpuInfo()
  return [{ device: 'cpu', name: cpus()[0]?.model.trim() ?? process.arch, isa, isas, threads, memoryBytes: totalmem() }]
}

function noDevice(message: string, details: Record<string, unknown>): HRMError {
  return new HRMError('ERR_HRM_NO_DEVICE', message, details)
}

/**
 * Completes the options from the environment.
 *
 * @throws ERR_HRM_ARGUMENT for an invalid value, naming the option or the variable
 * @throws ERR_HRM_NO_DEVICE for a device, precision or instruction set that is not available
 */
export function resolveDevice(
  op: string,
  options: DeviceOptions,
  env: NodeJS.ProcessEnv = process.env,
): NativeEngineOptions {
  const { HRM_DEVICE, HRM_THREADS, HRM_ISA } = env
  const named = (option: unknown, name: string, variable: string) => (option === undefined ? variable : name)
  const device = pathOption(
    op,
    named(options.device, 'device', 'HRM_DEVICE'),
    options.device ?? (HRM_DEVICE || undefined),
    'auto',
  )
  if (device !== 'auto' && device !== 'cpu') {
    if (!/^cuda(:\d+)?$/.test(device)) {
      choiceOption(op, named(options.device, 'device', 'HRM_DEVICE'), device, ['auto', 'cpu', 'cuda', 'cuda:N'], 'auto')
    }
    throw noDevice(`[${op}] expected device ${device}, got a build without CUDA; use device 'cpu' or 'auto'`, {
      device,
    })
  }
  const threads = integerOption(
    op,
    named(options.threads, 'threads', 'HRM_THREADS'),
    options.threads ?? (HRM_THREADS ? Number(HRM_THREADS) : undefined),
    1,
    1024,
    0,
  )
  const precision = choiceOption(op, 'precision', options.precision, ['fp32', 'bf16', 'int8', 'fp64'], 'fp32')
  if (precision === 'bf16') {
    throw noDevice(`[${op}] expected precision ${precision}, got a CPU build that has fp32, int8 and fp64`, {
      precision,
    })
  }
  const isa = pathOption(op, named(options.isa, 'isa', 'HRM_ISA'), options.isa ?? (HRM_ISA || undefined), '')
  const available = [...native.cpuInfo().isas, 'reference']
  if (isa !== '' && !available.includes(isa)) {
    throw noDevice(`[${op}] expected an instruction set of ${[...new Set(available)].join(', ')}, got ${isa}`, { isa })
  }
  return { device: 'cpu', threads, precision, isa }
}
