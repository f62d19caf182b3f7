import { cpus, totalmem } from 'node:os'
import { HRMError } from './errors.js'
import { cudaOnHost, native, type NativeEngineOptions } from './native.js'
import { choiceOption, integerOption, pathOption } from './options.js'

/**
 * Number formats of the computation. `bf16`, on a GPU alone, keeps activations and copies of the weights in bf16 and
 * accumulates in fp32. `int8`, on the CPU for solving and evaluating only, computes the linear layers of the blocks in
 * 8-bit integers and the rest in fp32; `fp64` runs in the plain loops of the CPU's reference.
 */
export type Precision = 'fp32' | 'bf16' | 'int8' | 'fp64'

/** Where and how a model computes. */
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
  /**
   * Number format.
   * @default 'bf16' on a GPU, 'fp32' on the CPU
   */
  precision?: Precision
  /**
   * Instruction set: `portable`, `avx2`, `avx512`, `avx512vnni`, `neon` (64-bit ARM), or `reference` for the plain loops.
   * VNNI serves int8 alone; in the other precisions `avx512vnni` and `avx512` are the same.
   * @default the environment variable HRM_ISA, else the best the CPU has
   */
  isa?: string
}

export const deviceKeys = ['device', 'threads', 'precision', 'isa'] as const

/** The processor. */
export interface CpuDevice {
  /** What the option `device` takes. */
  device: 'cpu'
  /** As the system calls it. */
  name: string
  /** Main memory of the machine. */
  memoryBytes: number
  /** Best instruction set. */
  isa: string
  /** All instruction sets that this CPU and this build have, as the option `isa` takes them. */
  isas: string[]
  /** Cores that the process may use. */
  threads: number
}

/** A graphics card. */
export interface GpuDevice {
  /** What the option `device` takes. */
  device: `cuda:${number}`
  /** As the driver calls it. */
  name: string
  /** Memory of the card. */
  memoryBytes: number
  /** Compute capability, as '9.0'. */
  capability: string
  /** Streaming multiprocessors. */
  multiprocessors: number
}

/** A device that models can run on. */
export type DeviceInfo = CpuDevice | GpuDevice

/** The devices of this machine that this build can use, the one that `auto` takes first. */
export function listDevices(): DeviceInfo[] {
  const { isa, isas, threads } = native.cpuInfo()
  const gpus = native.gpuInfo().devices.map((gpu, index) => ({ device: `cuda:${index}` as const, ...gpu }))
  const name = cpus()[0]?.model.trim() ?? process.arch
  return [...gpus, { device: 'cpu', name, isa, isas, threads, memoryBytes: totalmem() }]
}

function noDevice(message: string, details: Record<string, unknown>): HRMError {
  return new HRMError('ERR_HRM_NO_DEVICE', message, details)
}

let warned = false

/** Says once that a GPU is there for nothing. */
function warnOfGpu(reason: string): void {
  if (!warned) process.emitWarning(`the GPU is not used: ${reason}; models run on the CPU`, 'HRMWarning')
  warned = true
}

/** The GPU to run on, as `cuda:N`, or undefined for the CPU. */
function findGpu(op: string, named: string, device: string, precision: Precision | undefined): string | undefined {
  const cpuOnly = precision === 'int8' || precision === 'fp64'
  if (device === 'cpu' || (device === 'auto' && cpuOnly)) return undefined
  const wanted = device === cudaOnHost ? 'cuda' : device
  const index = /^cuda(?::(\d+))?$/.exec(wanted)
  if (device !== 'auto' && index === null) {
    choiceOption(op, named, device, ['auto', 'cpu', 'cuda', 'cuda:N'], 'auto')
  }
  const { devices, reason, unusable } = native.gpuInfo()
  if (device === 'auto') {
    if (unusable) warnOfGpu(reason)
    return devices.length > 0 ? 'cuda:0' : undefined
  }
  const number = Number(index?.[1] ?? 0)
  if (number >= devices.length) {
    const found = reason || `${devices.length} of them`
    throw noDevice(`[${op}] expected device ${wanted}, got no such GPU: ${found}; use device 'cpu' or 'auto'`, {
      device,
    })
  }
  if (cpuOnly) {
    throw noDevice(`[${op}] expected precision bf16 or fp32 on ${wanted}, got ${precision}; use device 'cpu'`, {
      precision,
    })
  }
  return `cuda:${number}`
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
  const precision = choiceOption(op, 'precision', options.precision, ['fp32', 'bf16', 'int8', 'fp64'], undefined)
  const gpu = findGpu(op, named(options.device, 'device', 'HRM_DEVICE'), device, precision)
  const threads = integerOption(
    op,
    named(options.threads, 'threads', 'HRM_THREADS'),
    options.threads ?? (HRM_THREADS ? Number(HRM_THREADS) : undefined),
    1,
    1024,
    0,
  )
  if (gpu === undefined && precision === 'bf16') {
    throw noDevice(`[${op}] expected a GPU for precision bf16, got the CPU, which has fp32, int8 and fp64`, {
      precision,
    })
  }
  const isa = pathOption(op, named(options.isa, 'isa', 'HRM_ISA'), options.isa ?? (HRM_ISA || undefined), '')
  const available = [...native.cpuInfo().isas, 'reference']
  if (isa !== '' && !available.includes(isa)) {
    throw noDevice(`[${op}] expected an instruction set of ${[...new Set(available)].join(', ')}, got ${isa}`, { isa })
  }
  return { device: gpu ?? 'cpu', threads, precision: precision ?? (gpu === undefined ? 'fp32' : 'bf16'), isa }
}
