import { existsSync, readdirSync } from 'node:fs'
import { availableParallelism, cpus, totalmem } from 'node:os'
import { join, relative, sep } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Command } from 'commander'
import { table } from '../render/text.js'
import type { NativeEngineOptions } from '../native.js'
import { Exit, exitCodes } from './exit.js'
import type { CheckedPrecision } from './numerics.js'
import { print, printJson } from './output.js'

/** The oldest Node that can load the package. */
const minNode = [20, 19] as const
/** Share of the multiply-add peak below which something is wrong: plain loops, or a binary that was not optimised. */
const MIN_SHARE_OF_PEAK = 0.05
const SPEED_CHECK_MS = 1000

interface Finding {
  name: string
  value: string
  ok: boolean
  /** What JSON has in place of the text, where it has more to say. */
  data?: unknown
}

interface Report {
  header: { glibcVersionRuntime?: string }
  sharedObjects: string[]
}

const root = fileURLToPath(new URL('../../', import.meta.url))
const good = (name: string, value: string, data?: unknown): Finding => ({ name, value, ok: true, data })
const bad = (name: string, error: unknown): Finding => ({ name, value: (error as Error).message, ok: false })

/** The parts that need the addon; it may be missing. */
async function loadParts() {
  const [{ native }, devices, cases, measuring, numerics] = await Promise.all([
    import('../native.js'),
    import('../devices.js'),
    import('../bench/cases.js'),
    import('../bench/measure.js'),
    import('./numerics.js'),
  ])
  return { native, ...devices, ...cases, ...measuring, ...numerics }
}

type Parts = Awaited<ReturnType<typeof loadParts>>

function checkNode(): Finding {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
  const ok = major > minNode[0] || (major === minNode[0] && minor >= minNode[1])
  return { name: 'node', value: `${process.version} (>= ${minNode.join('.')} needed)`, ok, data: process.version }
}

function findFiles(folder: string): string[] {
  if (!existsSync(folder)) return []
  return readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.node'))
}

/** Why it is this file: the first that there is of these is loaded. */
function describeChoice(path: string): string {
  const { HRM_NATIVE_PREBUILD, HRM_DEVICE } = process.env
  if (HRM_DEVICE === 'cuda-host') return 'as HRM_DEVICE=cuda-host says'
  if (HRM_NATIVE_PREBUILD && !relative(HRM_NATIVE_PREBUILD, path).startsWith('..'))
    return `below HRM_NATIVE_PREBUILD=${HRM_NATIVE_PREBUILD}`
  if (path.includes(`${sep}build${sep}`)) return 'compiled here, which goes before a prebuilt one'
  if (path.includes(`${sep}prebuilds${sep}`)) return 'prebuilt for this platform; nothing was compiled here'
  return 'beside node itself'
}

/** What there would have been to load. */
function describeCandidates(): string {
  const { HRM_NATIVE_PREBUILD } = process.env
  const compiled = findFiles(join(root, 'build', 'Release'))
  const prebuilt = findFiles(join(root, 'prebuilds'))
  const list = (names: string[]) => (names.length > 0 ? names.join(', ') : 'nothing')
  const named = HRM_NATIVE_PREBUILD ? `HRM_NATIVE_PREBUILD=${HRM_NATIVE_PREBUILD}; ` : ''
  return `${named}build/Release holds ${list(compiled)}, prebuilds ${list(prebuilt)}`
}

function describeGpus({ native }: Parts): string {
  const { devices, reason } = native.gpuInfo()
  if (devices.length === 0) return `none: ${reason}; models run on the CPU`
  return devices
    .map(({ name, capability, memoryBytes }, index) => {
      return `cuda:${index} ${name} (${capability}, ${(memoryBytes / 2 ** 30).toFixed(0)} GiB)`
    })
    .join(', ')
}

/** The name of a variable that decides, in brackets. */
const by = (variable: string) => (process.env[variable] ? ` (${variable})` : '')

async function checkNumerics(parts: Parts, options: NativeEngineOptions & { precision: CheckedPrecision }) {
  const name = `numerics ${options.device} ${options.precision}`
  try {
    const { group, error, bound } = await parts.checkNumerics(options)
    const value = `${error.toPrecision(2)} of scale from PyTorch at most, ${bound.toPrecision(2)} allowed (${group})`
    return { name, value, ok: error <= bound, data: { group, error, bound } }
  } catch (error) {
    return bad(name, error)
  }
}

async function checkSpeed(parts: Parts, options: NativeEngineOptions): Promise<Finding> {
  const { device, isa, threads } = options
  const info = parts.native.cpuInfo()
  const ceiling =
    device === 'cpu'
      ? { threads: threads || info.threads, isa: isa || info.isa }
      : { device, precision: options.precision as 'fp32' | 'bf16' }
  const { signal } = new AbortController()
  const row = await parts.measure(parts.stepCase('paper', 'block_forward', 8, options), ceiling, SPEED_CHECK_MS, signal)
  // The shortest run: the others tell what else the machine does.
  const gflops = (row.gflops! * row.ms) / row.bestMs
  const share = gflops / row.peakGflops
  const value =
    `${gflops.toFixed(0)} GFLOP/s, ${(100 * share).toFixed(0)} % of the measured peak of ${row.peakGflops.toFixed(0)} ` +
    `(a block of the 27M model, batch 8, best of ${row.runs} in ${row.bestMs.toPrecision(3)} ms)`
  const data = { gflops, peakGflops: row.peakGflops, share }
  return { name: `speed ${device} ${options.precision}`, value, ok: share >= MIN_SHARE_OF_PEAK, data }
}

/** What runs here: every device in the precisions that PyTorch can be compared in, and the speed of the first. */
async function checkArithmetic(parts: Parts): Promise<Finding[]> {
  let options: NativeEngineOptions
  try {
    options = parts.resolveDevice('doctor', {})
  } catch (error) {
    return [bad('device', error)]
  }
  const { isa, threads } = options
  const findings: Finding[] = []
  const check = async (device: string, precision: CheckedPrecision) =>
    findings.push(await checkNumerics(parts, { device, precision, isa, threads }))
  await check('cpu', 'fp64')
  await check('cpu', 'fp32')
  const gpus = parts.native.gpuInfo().devices.map((_, index) => `cuda:${index}`)
  for (const gpu of gpus) {
    await check(gpu, 'fp32')
    await check(gpu, 'bf16')
  }
  try {
    findings.push(await checkSpeed(parts, options))
  } catch (error) {
    findings.push(bad(`speed ${options.device} ${options.precision}`, error))
  }
  return findings
}

async function examine(): Promise<Finding[]> {
  let parts: Parts | Error
  try {
    parts = await loadParts()
  } catch (error) {
    parts = error as Error
  }
  const { header, sharedObjects } = process.report!.getReport() as unknown as Report
  const list = [
    checkNode(),
    good('platform', `${process.platform}-${process.arch}`),
    good('libc', header.glibcVersionRuntime ? `glibc ${header.glibcVersionRuntime}` : 'not glibc'),
    good('cpu', cpus()[0]?.model.trim() ?? 'unknown'),
    good('memory', `${(totalmem() / 2 ** 30).toFixed(1)} GiB`),
  ]
  if (parts instanceof Error) {
    return [...list, { name: 'binary', value: `${parts.message}; ${describeCandidates()}`, ok: false }]
  }
  const { isa, isas, threads } = parts.native.cpuInfo()
  const path = sharedObjects.find((object) => object.endsWith('.node'))!
  const { HRM_ISA, HRM_THREADS } = process.env
  return [
    ...list,
    good('binary', `${path} (${describeChoice(path)})`, { path, reason: describeChoice(path) }),
    good('instructions', `${HRM_ISA || isa}${by('HRM_ISA')} of ${isas.join(', ')}`),
    good('threads', `${HRM_THREADS || threads}${by('HRM_THREADS')} on ${availableParallelism()} usable cores`),
    good('gpu', describeGpus(parts)),
    ...(await checkArithmetic(parts)),
  ]
}

/** `hrm doctor` */
export function doctorCommand(): Command {
  return new Command('doctor')
    .description(
      'Checks what this machine offers: Node, libc, the binary and why it is that one, instruction sets, threads, GPUs; ' +
        'whether a small model computes what PyTorch does, and how near it comes to the peak. Exits 1 where a check fails.',
    )
    .option('--json', 'print one JSON line')
    .action(async ({ json }: { json?: boolean }) => {
      const findings = await examine()
      const failed = findings.filter(({ ok }) => !ok).map(({ name }) => name)
      if (json) {
        const values = Object.fromEntries(findings.map(({ name, value, data }) => [name, data ?? value]))
        printJson({ type: 'result', ok: failed.length === 0, failed, ...values })
      } else {
        print(
          ...table(
            ['check', '', 'found'],
            findings.map((f) => [f.name, f.ok ? 'ok' : 'BAD', f.value]),
          ),
        )
      }
      if (failed.length > 0) throw new Exit(exitCodes.failure)
    })
}
