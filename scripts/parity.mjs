// npm run parity -- DIR…: does the engine compute what the official PyTorch code computed?
import { parseArgs } from 'node:util'
import { native } from '../dist/native.js'
import { replay } from './parity/replay.mjs'
import { BrokenDirectory, openTraceDirectory } from './parity/trace-directory.mjs'

const HELP = `Usage: npm run parity -- [options] DIR…

Replays directories of traces of the official PyTorch code (manifest.json, init, batches, trace_f32, trace_f64) and
prints one JSON line per directory: the worst error per tensor group, and every tensor that is outside its bound.

  --precision fp64|fp32  only this precision (default: both)
  --isa NAME             fp32 on this instruction set only (default: reference and the best of this machine)
  --help                 print this

Exit status: 0 all inside the rule, 1 some tensor outside, 2 wrong usage, 3 a directory is missing or damaged.`

const EXIT = { ok: 0, outside: 1, usage: 2, broken: 3 }

function usageError(message) {
  console.error(`[parity] ${message}; do see --help`)
  process.exit(EXIT.usage)
}

function parseCommandLine() {
  const options = { precision: { type: 'string' }, isa: { type: 'string' }, help: { type: 'boolean' } }
  try {
    return parseArgs({ options, allowPositionals: true })
  } catch (error) {
    return usageError(error.message)
  }
}

function engineKinds({ precision, isa }) {
  const { isa: best, isas } = native.cpuInfo()
  const known = [...new Set(['reference', ...isas])]
  if (precision !== undefined && precision !== 'fp64' && precision !== 'fp32')
    usageError(`expected --precision fp64 or fp32, got ${precision}`)
  if (isa !== undefined && !known.includes(isa)) usageError(`expected --isa ${known.join(', ')}, got ${isa}`)
  const floats = isa === undefined ? new Set(['reference', best]) : [isa]
  return [
    ...(precision === 'fp32' ? [] : [{ precision: 'fp64', isa: 'reference' }]),
    ...(precision === 'fp64' ? [] : Array.from(floats, (name) => ({ precision: 'fp32', isa: name }))),
  ]
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
