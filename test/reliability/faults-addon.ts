// The addon with failures to order (test/native/faults): what it loads as, and one small run through every part of it.
import { createHash } from 'node:crypto'
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import { fromNative } from '#dist/errors.js'
import type { Native, NativeEngine } from '#dist/native.js'
import { batchOf, config, options, segmentOf, trainOptions } from '../binding/small-engine.js'

export type Kind = 'bad_alloc' | 'runtime_error' | 'int'
export const kinds: readonly Kind[] = ['bad_alloc', 'runtime_error', 'int']

interface Count {
  /** Calls since arm(). */
  calls: number
  /** Of them failed. */
  fired: number
}

interface Faults {
  /** The n-th call from now on fails, or each from the n-th on. */
  arm(site: 'memory' | 'task' | 'call', kind: Kind, n: number, onward: boolean): void
  disarm(): Count
  /** A job of the compute pool of which these tasks throw their index. */
  throwInPool(threads: number, tasks: number, failing: Int32Array): void
  /** Bytes outside its heap that V8 was told of, by any addon. */
  externalMemory(): number
  loaded: Count
}

export const addonPath = fileURLToPath(new URL('../../../build/faults/hrm_faults.node', import.meta.url))

export function loadFaultyAddon(): Native & { faults: Faults } {
  return createRequire(import.meta.url)(addonPath) as Native & { faults: Faults }
}

/** Why an error is not what a failure of this kind must arrive as; undefined if it is. */
export function complaint(error: unknown, kind: Kind): string | undefined {
  if (!(error instanceof Error)) return `no Error: ${String(error)}`
  const { code } = fromNative(error) as { code?: string }
  if (kind === 'bad_alloc') {
    // A file that cannot be mapped says why in the words of the system.
    if (code === 'ERR_HRM_OUT_OF_MEMORY' || error.message.endsWith(': Cannot allocate memory')) return undefined
    return `${code}: ${error.message}`
  }
  const expected = kind === 'int' ? /no std::exception|native exception/ : /^planted$/
  return expected.test(error.message) ? undefined : error.message
}

/** Creates, trains one step, solves, reads and writes; the SHA-256 of what came out. */
export async function smallRun(native: Native, threads: number): Promise<string> {
  const hash = createHash('sha256')
  const add = (values: Float32Array | Float64Array | Int32Array | Uint8Array) =>
    hash.update(new Uint8Array(values.buffer, values.byteOffset, values.byteLength))
  const rows = 2
  const engine: NativeEngine = new native.Engine(config, { ...options, threads })
  try {
    await engine.init(1)
    await engine.startTraining(trainOptions(rows), 0)
    const { loss, gradNorm } = await engine.trainStep(batchOf(rows))
    add(Float64Array.of(loss, gradNorm))
    for (const { name } of engine.trainerTensors()) add(await engine.read(name))
    await engine.swapEma()
    await engine.swapEma()
    await engine.endTraining()
    for (const { name } of engine.modelTensors()) {
      const values = await engine.read(name)
      await engine.write(name, values)
      add(values)
    }
    const session = await engine.openSession(rows)
    const { tokens, rowStats } = await session.segment({ ...segmentOf(rows), labels: batchOf(rows).labels })
    add(tokens)
    add(rowStats!)
    add(await session.read('last.q_logits'))
    session.close()
  } finally {
    engine.dispose()
  }
  return hash.digest('hex')
}
