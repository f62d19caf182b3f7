import { defaultWeights, loadWeights, openCheckpoint } from '../checkpoint.js'
import { type ModelConfig, toOfficial } from '../config.js'
import { resolveDevice } from '../devices.js'
import { replaceFile } from '../durable-folder.js'
import { Engine } from '../engine.js'
import { fromNative, HRMError } from '../errors.js'
import type { Weights } from '../evaluate.js'
import { native } from '../native.js'
import { encodeModel } from './schema.js'
import { opset, segmentGraph } from './segment.js'

/** Version of the ONNX format that came with the opset. */
const irVersion = 11

/** Longest protocol buffer that readers accept. */
const mostBytes = 2 ** 31 - 1

/** Bytes left for all that is not a tensor. */
const graphBytes = 2 ** 24

export interface OnnxOptions {
  /**
   * The trained weights or their moving averages.
   * @default 'ema' for a checkpoint of a run with ema, else 'raw'
   */
  weights?: Weights | undefined
}

export interface OnnxSummary {
  weights: Weights
  sizeBytes: number
  opset: number
}

function openEngine(op: string, config: ModelConfig): Engine {
  try {
    return new Engine(new native.Engine(config, resolveDevice(op, { device: 'cpu' })))
  } catch (error) {
    throw fromNative(error)
  }
}

/**
 * Refuses a checkpoint whose tensors, in bytes of float32, one ONNX file cannot hold.
 *
 * @throws ERR_HRM_CHECKPOINT
 */
export function assertFits(dir: string, tensorBytes: number): void {
  const most = mostBytes - graphBytes
  if (tensorBytes <= most) return
  throw new HRMError(
    'ERR_HRM_CHECKPOINT',
    `[convert] expected tensors of at most ${most} bytes, the limit of an ONNX file, got ${tensorBytes} in ${dir}; ` +
      'do convert a model with fewer puzzle identifiers',
    { path: dir, tensorBytes },
  )
}

/**
 * Writes one ACT segment of a checkpoint as an ONNX model, float32. A file already at `path` is replaced in one step.
 *
 * @throws ERR_HRM_CHECKPOINT, also where one file cannot hold the tensors; ERR_HRM_CORRUPT, ERR_HRM_CONFIG, ERR_HRM_IO
 */
export async function exportOnnx(
  checkpointPath: string,
  path: string,
  options: OnnxOptions = {},
): Promise<OnnxSummary> {
  const op = 'convert'
  const checkpoint = await openCheckpoint(checkpointPath)
  const { weights = defaultWeights(checkpoint) } = options
  const { model: config, dir } = checkpoint
  const engine = openEngine(op, config)
  try {
    const infos = await engine.call(op, (engine) => engine.modelTensors())
    assertFits(
      dir,
      infos.reduce((sum, { shape }) => sum + shape.reduce((product, extent) => product * extent, 4), 0),
    )
    await loadWeights(engine, checkpoint, weights)
    const tensors = new Map<string, Float32Array>()
    for (const { name } of infos) {
      tensors.set(name, (await engine.call(op, (engine) => engine.read(name))) as Float32Array)
    }
    const encoded = await encodeModel({
      irVersion,
      opsetImport: [{ domain: '', version: opset }],
      producerName: 'hrm-native',
      metadataProps: [{ key: 'hrm_config', value: JSON.stringify(toOfficial({ model: config })) }],
      graph: segmentGraph(config, tensors),
    })
    await replaceFile(op, path, (handle) => handle.writeFile(encoded))
    return { weights, sizeBytes: encoded.length, opset }
  } finally {
    engine.dispose()
  }
}
