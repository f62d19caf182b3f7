// A model whose memory is worth measuring: 21 MB of weights, in the native addon's terms.
import { existsSync } from 'node:fs'
import { native, type NativeConfig, type NativeEngine, type NativeSession } from '#dist/native.js'
import { batchOf, config, segmentOf, trainOptions } from '../binding/small-engine.js'
import { addonPath, loadFaultyAddon } from './faults-addon.js'

export const largeConfig: NativeConfig = { ...config, seqLen: 40, hiddenSize: 384, hLayers: 1, lLayers: 2, numHeads: 6 }
export const rows = 8

const addon = existsSync(addonPath) ? loadFaultyAddon() : undefined

/** Bytes that the process has, and those outside its heap that V8 was told of (undefined where nothing can tell). */
export function memory(): { resident: number; external: number | undefined } {
  return { resident: process.memoryUsage.rss(), external: addon?.faults.externalMemory() }
}

/** By how much the second is more. */
export function growth(before: ReturnType<typeof memory>, after: ReturnType<typeof memory>) {
  const external = after.external === undefined ? undefined : after.external - before.external!
  return { resident: after.resident - before.resident, external }
}

/** Counts and finalisers are up to date after a few turns. */
export async function collect(): Promise<void> {
  for (let i = 0; i < 10; i++) {
    globalThis.gc!()
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}

export function makeEngine(threads: number, sizes = largeConfig): NativeEngine {
  return new native.Engine(sizes, { device: 'cpu', precision: 'fp32', isa: '', threads })
}

const values = Float32Array.from({ length: 2 ** 21 }, (_, i) => ((i % 7) - 3) / 64)

/** Writes every weight, so that all of its memory is there. */
export async function fill(engine: NativeEngine): Promise<void> {
  for (const { name, shape } of engine.modelTensors()) {
    const count = shape.reduce((product, length) => product * length, 1)
    await engine.write(name, values.subarray(0, count))
  }
}

export async function train(engine: NativeEngine): Promise<void> {
  await engine.startTraining(trainOptions(rows), 0)
  await engine.trainStep(batchOf(rows, largeConfig))
}

export async function solve(engine: NativeEngine): Promise<NativeSession> {
  const session = await engine.openSession(rows)
  await session.segment({ ...segmentOf(rows, largeConfig), labels: batchOf(rows, largeConfig).labels })
  return session
}
