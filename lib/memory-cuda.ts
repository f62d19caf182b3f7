import { type ModelConfig, parameterCount, sequencePositions, swigluInnerSize } from './config.js'
import type { MemoryParts, MemoryUse } from './memory.js'

const divideUp = (value: number, unit: number): number => Math.ceil(value / unit)

/** Parts that the rows of a weight gradient are split into (cuda/matmul_backward.cu). */
function rowSplits(rows: number, outputs: number, inputs: number): number {
  const tiles = divideUp(outputs, 128) * divideUp(inputs, 128)
  const wanted = Math.min(Math.max(Math.floor(256 / tiles), 1), divideUp(rows, 256))
  return divideUp(rows, divideUp(divideUp(rows, wanted), 32) * 32)
}

/** Bytes of the partial sums of a step's gradients: those of the op that needs most. */
function gradientWorkspace(model: ModelConfig, sequences: number): number {
  const { hiddenSize: d, seqLen, vocabSize } = model
  const inner = swigluInnerSize(model)
  const rows = sequences * sequencePositions(model)
  const weights = [
    [d, inner],
    [2 * inner, d],
    [d, d],
    [3 * d, d],
  ].map(([outputs = 0, inputs = 0]) => {
    const parts = rowSplits(rows, outputs, inputs)
    return parts === 1 ? 0 : 4 * parts * outputs * inputs
  })
  // cuda/readout.cu and cuda/embedding.cu
  const tokens = sequences * seqLen
  const headParts = Math.min(divideUp(tokens, 64), Math.max(1, Math.floor(256 / divideUp(vocabSize, 16))))
  const lmHead = 4 * divideUp(tokens, divideUp(tokens, headParts)) * vocabSize * d
  const embedding = 8 * tokens + 64 * divideUp(tokens, 1024) + 8 * divideUp(tokens, 64) * d
  return Math.max(...weights, lmHead, embedding)
}

/** Bytes of a model on a GPU: the tensors of core/trainer.cc and core/session.cc and those of cuda/cuda_backend.cc. */
export function cudaMemory(
  model: ModelConfig,
  { batch, sequences, train, ema }: MemoryUse,
  bf16: boolean,
): MemoryParts {
  const { hiddenSize: d, vocabSize, seqLen, numHeads, numPuzzleIdentifiers, puzzleEmbNdim } = model
  const inner = swigluInnerSize(model)
  const positions = sequencePositions(model)
  const layers = model.hLayers + model.lLayers
  const value = bf16 ? 2 : 4
  const dense = parameterCount(model)
  const table = numPuzzleIdentifiers * puzzleEmbNdim
  // The embeddings and the bias of the Q head are read as they are.
  const rounded = dense - vocabSize * d - (model.posEncodings === 'learned' ? positions * d : 0) - 2
  const rows = (train ? sequences : batch) * positions
  /** Values of `width` channels for all rows; states have a sum of squares for every 32 channels besides. */
  const values = (width: number) => rows * width * value
  const states = (count: number) => count * (d * value + (d / 32) * 4)

  const logits = seqLen * vocabSize
  const bootstraps = !model.haltOnly && model.haltMaxSegments > 1
  const tensors = train
    ? (bootstraps ? 4 : 2) * states(rows) + 4 * (batch + sequences) * (logits + puzzleEmbNdim) + 96 * batch
    : states(rows) + 4 * batch * (puzzleEmbNdim + logits + seqLen) + 61 * batch
  // Shared by all blocks: q, k, v; attention output; the middle of a block; SwiGLU and, in training, its gradient.
  const scratch = values(3 * d) + values(d) + states(rows) + values((train ? 3 : 1) * inner)
  const layer = values(4 * d) + values(3 * d) + values(2 * inner) + 4 * rows * (2 + numHeads)
  const rope = model.posEncodings === 'learned' ? 0 : (4 * positions * d) / numHeads
  return {
    weights: 4 * (dense + table + 2 * d),
    packed: bf16 ? 2 * rounded : 0,
    optimiser: train ? 4 * ((sequences < batch ? 4 : 3) * dense + (ema ? dense + table : 0)) : 0,
    // Two states and two examples a slot, the present and the next.
    carry: 2 * states(batch * positions) + batch * (16 * seqLen + 13),
    activations: tensors + scratch + rope + (train ? layers * layer + gradientWorkspace(model, sequences) : 0),
  }
}
