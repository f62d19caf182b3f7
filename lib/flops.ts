import { type ModelConfig, sequencePositions, swigluInnerSize } from './config.js'

/**
 * Arithmetic of the model in floating-point operations (a fused multiply-add is two), matrix products only, per example.
 *
 * Block forward: 2·(4D² + 3DF)·S for the linear layers and 4·S²·D for attention. A segment is every cycle's blocks; a
 * training step is two segments (the second one bootstraps the Q target; halt-only models need none) and the backward of
 * one L and one H update, at twice their forward.
 */
export function flops(config: ModelConfig): { block: number; segment: number; trainStep: number } {
  const hidden = config.hiddenSize
  const inner = swigluInnerSize(config)
  const positions = sequencePositions(config)
  const block = 2 * (4 * hidden * hidden + 3 * hidden * inner) * positions + 4 * positions * positions * hidden
  const segment = block * config.hCycles * (config.lCycles * config.lLayers + config.hLayers)
  return {
    block,
    segment,
    trainStep: (config.haltOnly ? 1 : 2) * segment + 2 * block * (config.lLayers + config.hLayers),
  }
}
