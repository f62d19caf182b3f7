// npm run parity -- DIR…: does the engine compute what the official PyTorch code computed?
import { parseArgs } from 'node:util'
import { native } from '../dist/native.js'
import { replay } from './parity/replay.mjs'
import { BrokenDirectory, openTraceDirectory } from './parity/trace-directory.mjs'

const HELP = `Usage: npm run parity -- [options] DIR…

Replays directories of traces of the official PyTorch code (manifest.json, init, batches, trace_f32, trace_f64) and
prints one JSON line per directory: the worst error per tensor group, and every tensor that is outside its bound.

  --device cpu|cuda      what to judge (default: cuda where HRM_DEVICE says so, else cpu)
  --precision NAME       only this precision (default: fp64 and fp32 on the CPU, fp32 and bf16 on a GPU)
  --isa NAME             fp32 on this instruction set only (default: reference and the best of this machine)
  --help                 print this

HRM_DEVICE=cuda-host runs the GPU code on the CPU.

Exit status: 0 all inside the rule, 1 some tensor outside, 2 wrong usage, 3 a directory is missing or damaged.`

const EXIT = { ok: 0, outside: 1, usage: 2, broken: 3 }

function usageError(message) {
  console.error(`[parity] ${message}; do see --help`)
  process.exit(EXIT.usage)
}

function parseCommandLine() {
  const options = {
    device: { type: 'string' },
    precision: { type: 'string' },
    isa: { type: 'string' },
    help: { type: 'boolean' },
  }
  try {
    return parseArgs({ options, allowPositionals: true })
  } catch (error) {
    return usageError(error.message)
  }
}

function engineKinds({ device, precision, isa }) {
  const named = device ?? (process.env.HRM_DEVICE?.startsWith('cuda') ? 'cuda' : 'cpu')
  if (named !== 'cpu' && named !== 'cuda') usageError(`expected --device cpu or cuda, got ${named}`)
  const { isa: best, isas } = native.cpuInfo()
  const known = [...new Set(['reference', ...isas])]
  const precisions = named === 'cpu' ? ['fp64', 'fp32'] : ['fp32', 'bf16']
  if (precision !== undefined && !precisions.includes(precision))
    usageError(`expected --precision ${precisions.join(' or ')} on ${named}, got ${precision}`)
  if (isa !== undefined && !known.includes(isa)) usageError(`expected --isa ${known.join(', ')}, got ${isa}`)
  if (named === 'cuda' && native.gpuInfo().devices.length === 0) usageError(`got no GPU: ${native.gpuInfo().reason}`)
  const floats = isa === undefined ? new Set(['reference', best]) : [isa]
  const kinds =
    named === 'cuda'
      ? precisions.map((name) => ({ device: 'cuda', precision: name, isa: '' }))
      : [
          { device: 'cpu', precision: 'fp64', isa: 'reference' },
          ...Array.from(floats, (name) => ({ device: 'cpu', precision: 'fp32', isa: name })),
        ]
  return kinds.filter((kind) => precision === undefined || kind.precision === precision)
}

/** Errors of the engine that say that a directory's contents make no model or batch. */
const CONTENT_ERRORS = ['ERR_HRM_CONFIG', 'ERR_HRM_SHAPE', 'ERR_HRM_ARGUMENT']

/** Replays one directory, prints its line and returns its exit status. */
async function judgeDirectory(folder, kinds) {
  let directory
  try {
    directory = await openTraceDirectory(folder)
    const { failures, ...report } = await replay(directory, kinds)
    const ok = failures.length === 0
    console.log(JSON.stringify({ directory: folder, name: directory.name, ok, ...report, failures }))
    return ok ? EXIT.ok : EXIT.outside
  } catch (error) {
    if (!(error instanceof BrokenDirectory) && !CONTENT_ERRORS.includes(error.code)) throw error
    console.error(error.message)
    console.log(JSON.stringify({ directory: folder, ok: false, failures: [{ reason: error.message }] }))
    return EXIT.broken
  } finally {
    await directory?.close()
  }
}

const { values, positionals } = parseCommandLine()
if (values.help) {
  console.log(HELP)
} else {
  if (positionals.length === 0) usageError('expected at least one directory, got none')
  const kinds = engineKinds(values)
  let worst = EXIT.ok
  for (const folder of positionals) worst = Math.max(worst, await judgeDirectory(folder, kinds))
  process.exitCode = worst
}
