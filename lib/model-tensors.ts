import { type ModelConfig, puzzlePositions, swigluInnerSize } from './config.js'

/** Name of the puzzle embedding table, [N, E]. */
export const puzzleTable = 'inner.puzzle_emb.weights'

/** Start states of the H- and the L-level, [D] each. */
export const startStates: ReadonlySet<string> = new Set(['inner.H_init', 'inner.L_init'])

export interface TensorShape {
  /** The official name, without the prefix `_orig_mod.model.` of saved files. */
  name: string
  shape: readonly number[]
}

/** Weights, puzzle embeddings and start states of a model in canonical order, as the engine lists them. */
export function modelTensors(config: ModelConfig): TensorShape[] {
  const { hiddenSize: d, vocabSize, seqLen, posEncodings, puzzleEmbNdim, numPuzzleIdentifiers } = config
  const f = swigluInnerSize(config)
  const level = (name: string, layers: number): TensorShape[] =>
    Array.from({ length: layers }, (_, layer) => `inner.${name}.layers.${layer}.`).flatMap((prefix) => [
      { name: `${prefix}self_attn.qkv_proj.weight`, shape: [3 * d, d] },
      { name: `${prefix}self_attn.o_proj.weight`, shape: [d, d] },
      { name: `${prefix}mlp.gate_up_proj.weight`, shape: [2 * f, d] },
      { name: `${prefix}mlp.down_proj.weight`, shape: [d, f] },
    ])
  return [
    { name: 'inner.embed_tokens.embedding_weight', shape: [vocabSize, d] },
    ...(posEncodings === 'learned'
      ? [{ name: 'inner.embed_pos.embedding_weight', shape: [puzzlePositions(config) + seqLen, d] }]
      : []),
    { name: 'inner.lm_head.weight', shape: [vocabSize, d] },
    { name: 'inner.q_head.weight', shape: [2, d] },
    { name: 'inner.q_head.bias', shape: [2] },
    ...level('H_level', config.hLayers),
    ...level('L_level', config.lLayers),
    ...(puzzleEmbNdim > 0 ? [{ name: puzzleTable, shape: [numPuzzleIdentifiers, puzzleEmbNdim] }] : []),
    ...[...startStates].map((name) => ({ name, shape: [d] })),
  ]
}
