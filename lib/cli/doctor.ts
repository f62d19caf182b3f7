import { availableParallelism, cpus, totalmem } from 'node:os'
import { Command } from 'commander'
import type { Native } from '../native.js'
import { table } from '../render/text.js'
import { Exit, exitCodes } from './exit.js'
import { print, printJson } from './output.js'

/** The oldest Node that can load the package. */
const minNode = [20, 19] as const

interface Finding {
  name: string
  value: string
  ok: boolean
}

interface Report {
  header: { glibcVersionRuntime?: string }
  sharedObjects: string[]
}

async function loadNative(): Promise<Native | Error> {
  try {
    return (await import('../native.js')).native
  } catch (error) {
    return error as Error
  }
}

function nodeIsNewEnough(): boolean {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
  return major > minNode[0] || (major === minNode[0] && minor >= minNode[1])
}

function describeGpus(native: Native): string {
  const { devices, reason } = native.gpuInfo()
  if (devices.length === 0) return `none: ${reason}; models run on the CPU`
  return devices.map(({ name, capability }, index) => `cuda:${index} ${name} (${capability})`).join(', ')
}

async function findings(): Promise<Finding[]> {
  const native = await loadNative()
  const { header, sharedObjects } = process.report!.getReport() as unknown as Report
  const list: Finding[] = [
    { name: 'node', value: `${process.version} (>= ${minNode.join('.')} needed)`, ok: nodeIsNewEnough() },
    { name: 'platform', value: `${process.platform}-${process.arch}`, ok: true },
    { name: 'libc', value: header.glibcVersionRuntime ? `glibc ${header.glibcVersionRuntime}` : 'not glibc', ok: true },
    { name: 'cpu', value: cpus()[0]?.model ?? 'unknown', ok: true },
    { name: 'memory', value: `${(totalmem() / 2 ** 30).toFixed(1)} GiB`, ok: true },
  ]
  if (native instanceof Error) return [...list, { name: 'binary', value: native.message, ok: false }]
  const { isa, isas, threads } = native.cpuInfo()
  const binary = sharedObjects.find((path) => path.endsWith('.node'))
  return [
    ...list,
    { name: 'binary', value: binary ?? 'loaded', ok: true },
    { name: 'instructions', value: `${isa} (of ${isas.join(', ')})`, ok: true },
    { name: 'threads', value: `${threads} of ${availableParallelism()} usable cores`, ok: true },
    { name: 'gpu', value: describeGpus(native), ok: true },
  ]
}

/** `hrm doctor` */
export function doctorCommand(): Command {
  return new Command('doctor')
    .description('Checks what this machine offers: Node, libc, binary, instruction sets, threads.')
    .option('--json', 'print one JSON line')
    .action(async ({ json }: { json?: boolean }) => {
      const list = await findings()
      const ok = list.every((finding) => finding.ok)
      if (json) {
        const values = Object.fromEntries(list.map(({ name, value }) => [name, value]))
        printJson({ type: 'result', ok, ...values })
      } else {
        print(
          ...table(
            ['check', '', 'found'],
            list.map((f) => [f.name, f.ok ? 'ok' : 'BAD', f.value]),
          ),
        )
      }
      if (!ok) throw new Exit(exitCodes.failure)
    })
}
