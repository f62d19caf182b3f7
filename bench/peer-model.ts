import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fillCheckpoint, loadWeights, openCheckpoint } from '#dist/checkpoint.js'
import { resolveRunConfig, resolveTrainOptions } from '#dist/config.js'
import { type Precision, resolveDevice } from '#dist/devices.js'
import { writeFolder } from '#dist/durable-folder.js'
import { Engine } from '#dist/engine.js'
import { native, type NativeConfig, type NativeEngine } from '#dist/native.js'
import { exportOnnx } from '#dist/onnx/export.js'
import { disagreement, nativeContestant, onnxContestant, randomExamples } from './contestants.js'
import { type OnnxRuntime, openOnnxSession } from './onnxruntime.js'

export interface PeerSettings {
  threads: number
  /** @default the best the CPU has */
  isa?: string
}

const engineOptions = (settings: PeerSettings, precision: Precision) =>
  resolveDevice('peers', { device: 'cpu', precision, ...settings })

/** A checkpoint of random weights and its ONNX export, in a temporary folder. */
export interface PeerModel {
  config: NativeConfig
  checkpoint: string
  onnx: string
  remove(): void
}

/**
 * Weights as a new model of seed 0 has them, save the Q head and the puzzle embeddings, which start at zero: these are
 * drawn too, so that a mistake in them shows.
 */
export async function makePeerModel(config: NativeConfig, settings: PeerSettings): Promise<PeerModel> {
  const folder = mkdtempSync(join(tmpdir(), 'hrm-peers-'))
  const [checkpoint, onnx] = [join(folder, 'checkpoint'), join(folder, 'model.onnx')]
  const raw = new native.Engine(config, engineOptions(settings, 'fp32'))
  try {
    await raw.init(0)
    const std = 1 / Math.sqrt(config.hiddenSize)
    for (const [i, name] of ['inner.q_head.weight', 'inner.puzzle_emb.weights'].entries()) {
      const count = raw.tensorInfo(name)?.shape.reduce((a, b) => a * b) ?? 0
      if (count > 0) await raw.write(name, Float32Array.from(native.debug.truncatedNormal(std, i + 1, count)))
    }
    const content = { config: { model: config, train: resolveTrainOptions(), run: resolveRunConfig() } }
    await writeFolder('peers', checkpoint, (dir) => fillCheckpoint(dir, new Engine(raw), content))
  } finally {
    raw.dispose()
  }
  await exportOnnx(checkpoint, onnx)
  return { config, checkpoint, onnx, remove: () => rmSync(folder, { recursive: true }) }
}

/** An engine with the model's weights. @throws ERR_HRM_NO_DEVICE where the build lacks the precision */
export async function openPeerEngine(
  { checkpoint }: PeerModel,
  settings: PeerSettings,
  precision: Precision = 'fp32',
): Promise<NativeEngine> {
  const opened = await openCheckpoint(checkpoint)
  const engine = new native.Engine(opened.model, engineOptions(settings, precision))
  await loadWeights(new Engine(engine), opened, 'raw')
  return engine
}

/** How far our segments are from the exported model's in onnxruntime, as `disagreement` measures. */
export async function exportError(
  runtime: OnnxRuntime,
  config: NativeConfig,
  batch: number,
  segments: number,
): Promise<number> {
  const settings = { threads: 2 }
  const model = await makePeerModel(config, settings)
  try {
    const engine = await openPeerEngine(model, settings)
    const session = await openOnnxSession(runtime, model.onnx, settings.threads)
    try {
      const examples = randomExamples(config, batch)
      const ours = await nativeContestant('ours', engine, examples)
      const theirs = onnxContestant('theirs', runtime, session, config, examples)
      return await disagreement(ours, theirs, segments)
    } finally {
      engine.dispose()
      await session.release()
    }
  } finally {
    model.remove()
  }
}
