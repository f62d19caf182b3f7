import { type ModelConfig, puzzlePositions, swigluInnerSize } from '../config.js'
import { GraphBuilder, type Shape } from './graph.js'
import type { GraphProto } from './schema.js'

/** Parameters and start vectors of a model by their official names, row-major. */
export type ModelTensors = ReadonlyMap<string, Float32Array>

/** The first opset with RMSNormalization, RotaryEmbedding and Attention. */
export const opset = 23

/** Keeps the variance of a sum of two embeddings. */
// oxlint-disable-next-line oxc/approx-constant -- the official nine-digit literal, not 1/sqrt 2
const positionScale = 0.707106781

/** [rows, columns] as [columns, rows]. */
function transpose(values: Float32Array, rows: number, columns: number): Float32Array {
  const transposed = new Float32Array(values.length)
  for (let row = 0; row < rows; row++)
    for (let column = 0; column < columns; column++) transposed[column * rows + row] = values[row * columns + column]!
  return transposed
}

/** Cosines and sines [positions, headSize / 2] of RoPE, rounded to float32 at each step as the official tables are. */
function ropeTables(positions: number, headSize: number, theta: number): { cos: Float32Array; sin: Float32Array } {
  const half = headSize / 2
  const [cos, sin] = [new Float32Array(positions * half), new Float32Array(positions * half)]
  for (let i = 0; i < half; i++) {
    const frequency = Math.fround(1 / Math.fround(theta ** Math.fround((2 * i) / headSize)))
    for (let position = 0; position < positions; position++) {
      const angle = Math.fround(position * frequency)
      cos[position * half + i] = Math.cos(angle)
      sin[position * half + i] = Math.sin(angle)
    }
  }
  return { cos, sin }
}

/**
 * Builds the graph of one segment. Letters: T tokens, P puzzle positions, S = P + T, D hidden, F SwiGLU inner,
 * V vocabulary; the batch is free.
 */
class SegmentBuilder {
  readonly #graph = new GraphBuilder()
  readonly #config: ModelConfig
  readonly #tensors: ModelTensors
  readonly #P: number
  readonly #S: number
  /** Weight of the norms [D], which have none. */
  readonly #ones: string
  /** Turns the heads of q or k by their positions. */
  readonly #turn: (name: string, x: string) => string

  constructor(config: ModelConfig, tensors: ModelTensors) {
    this.#config = config
    this.#tensors = tensors
    this.#P = puzzlePositions(config)
    this.#S = this.#P + config.seqLen
    this.#ones = this.#constant('ones', [config.hiddenSize], new Float32Array(config.hiddenSize).fill(1))
    this.#turn = config.posEncodings === 'rope' ? this.#rope() : (_, x) => x
  }

  build(): GraphProto {
    const graph = this.#graph
    const { hiddenSize: D, seqLen: T, vocabSize: V, numPuzzleIdentifiers } = this.#config
    const state: Shape = ['batch', this.#S, D]
    graph.input('z_h', 'float', state, 'slow state; not read where reset')
    graph.input('z_l', 'float', state, 'fast state; not read where reset')
    graph.input('inputs', 'int32', ['batch', T], `tokens, 0 to ${V - 1}`)
    graph.input('puzzle_identifiers', 'int32', ['batch'], `0 to ${numPuzzleIdentifiers - 1}`)
    graph.input('reset', 'bool', ['batch'], 'true starts the row afresh: the first segment of a puzzle')
    const [zH, zL] = this.#think(this.#embed())
    graph.output(graph.node('z_h_next', 'Identity', [zH]), 'float', state, 'z_h of the next segment')
    graph.output(graph.node('z_l_next', 'Identity', [zL]), 'float', state, 'z_l of the next segment')
    this.#readout(zH)
    return graph.build('hrm_segment', 'One segment of the Hierarchical Reasoning Model')
  }

  #tensor(name: string): Float32Array {
    return this.#tensors.get(`inner.${name}`)!
  }

  #constant(name: string, shape: readonly number[], data: Float32Array): string {
    return this.#graph.constant(name, { shape, data })
  }

  /** The weight [out, in] of a linear layer as MatMul takes it, [in, out]. */
  #weight(name: string, inputs: number, outputs: number): string {
    return this.#constant(name, [inputs, outputs], transpose(this.#tensor(`${name}.weight`), outputs, inputs))
  }

  #rope(): (name: string, x: string) => string {
    const graph = this.#graph
    const { hiddenSize, numHeads, ropeTheta } = this.#config
    const S = this.#S
    const headSize = hiddenSize / numHeads
    const tables = ropeTables(S, headSize, ropeTheta)
    const cos = this.#constant('rope.cos', [S, headSize / 2], tables.cos)
    const sin = this.#constant('rope.sin', [S, headSize / 2], tables.sin)
    const batch = graph.node('batch', 'Shape', ['inputs'], { start: 0, end: 1 })
    const shape = graph.node('rope.shape', 'Concat', [batch, graph.integers('rope.positions', [S])], { axis: 0 })
    const range = graph.integers(
      'rope.range',
      Array.from({ length: S }, (_, position) => position),
    )
    const positions = graph.node('rope.position_ids', 'Expand', [range, shape])
    return (name, x) => graph.node(name, 'RotaryEmbedding', [x, cos, sin, positions], { num_heads: numHeads })
  }

  #normalise(name: string, x: string): string {
    const epsilon = { float: this.#config.rmsNormEps }
    return this.#graph.node(name, 'RMSNormalization', [x, this.#ones], { epsilon })
  }

  /** x = sqrt(D) [puzzle positions ; tokens], with learned positions sqrt(D) positionScale ([…] + positions). [B, S, D] */
  #embed(): string {
    const graph = this.#graph
    const { hiddenSize: D, vocabSize: V, puzzleEmbNdim, posEncodings } = this.#config
    const learned = posEncodings === 'learned'
    const scale = Math.sqrt(D) * (learned ? positionScale : 1)
    const table = (name: string, rows: number) =>
      this.#constant(
        name,
        [rows, D],
        this.#tensor(`${name}.embedding_weight`).map((value) => scale * value),
      )
    const tokens = graph.node('tokens', 'Gather', [table('embed_tokens', V), 'inputs'])
    const sequence =
      puzzleEmbNdim === 0 ? tokens : graph.node('sequence', 'Concat', [this.#puzzleRows(scale), tokens], { axis: 1 })
    return learned ? graph.node('positioned', 'Add', [sequence, table('embed_pos', this.#S)]) : sequence
  }

  /** The scaled row of each puzzle, filled up with zeros to [B, P, D]. The table, which may be huge, stays as it is. */
  #puzzleRows(scale: number): string {
    const graph = this.#graph
    const { hiddenSize: D, puzzleEmbNdim: E, numPuzzleIdentifiers } = this.#config
    const P = this.#P
    const table = this.#constant('puzzle_emb', [numPuzzleIdentifiers, E], this.#tensor('puzzle_emb.weights'))
    const rows = graph.node('puzzle.rows', 'Gather', [table, 'puzzle_identifiers'])
    const factor = this.#constant('puzzle.scale', [], Float32Array.of(scale))
    const scaled = graph.node('puzzle.scaled', 'Mul', [rows, factor])
    const missing = P * D - E
    const full =
      missing === 0
        ? scaled
        : graph.node('puzzle.full', 'Pad', [scaled, graph.integers('puzzle.pads', [0, 0, 0, missing])])
    return graph.node('puzzle.positions', 'Reshape', [full, graph.integers('puzzle.shape', [-1, P, D])])
  }

  /** The nested cycles from the start states or the given ones; [z_h, z_l]. */
  #think(x: string): [string, string] {
    const graph = this.#graph
    const { hiddenSize: D, hCycles, lCycles, hLayers, lLayers } = this.#config
    const fresh = graph.node('fresh', 'Reshape', ['reset', graph.integers('fresh.shape', [-1, 1, 1])])
    const start = (z: string, vector: string) =>
      graph.node(`${z}.start`, 'Where', [fresh, this.#constant(vector, [D], this.#tensor(vector)), z])
    let [zH, zL] = [start('z_h', 'H_init'), start('z_l', 'L_init')]
    const [updateH, updateL] = [this.#module('H_level', hLayers), this.#module('L_level', lLayers)]
    for (let h = 0; h < hCycles; h++) {
      for (let l = 0; l < lCycles; l++) {
        const step = `h${h}.l${l}`
        const injected = graph.node(`${step}.injected`, 'Add', [zH, x])
        zL = updateL(step, graph.node(`${step}.input`, 'Add', [zL, injected]))
      }
      zH = updateH(`h${h}`, graph.node(`h${h}.input`, 'Add', [zH, zL]))
    }
    return [zH, zL]
  }

  /** Adds the weights of a module; returns what applies it to x [B, S, D] and names its nodes after `step`. */
  #module(level: string, layers: number): (step: string, x: string) => string {
    const { hiddenSize: D } = this.#config
    const F = swigluInnerSize(this.#config)
    const blocks = Array.from({ length: layers }, (_, layer) => {
      const name = `${level}.layers.${layer}`
      return {
        name,
        qkv: this.#weight(`${name}.self_attn.qkv_proj`, D, 3 * D),
        o: this.#weight(`${name}.self_attn.o_proj`, D, D),
        gateUp: this.#weight(`${name}.mlp.gate_up_proj`, D, 2 * F),
        down: this.#weight(`${name}.mlp.down_proj`, F, D),
      }
    })
    return (step, x) =>
      blocks.reduce((x, block) => {
        const scope = `${step}.${block.name}`
        return this.#swiglu(scope, this.#attention(scope, x, block), block)
      }, x)
  }

  /** norm(x + attention(x)) */
  #attention(scope: string, x: string, { qkv, o }: { qkv: string; o: string }): string {
    const graph = this.#graph
    const { numHeads } = this.#config
    const projected = graph.node(`${scope}.qkv`, 'MatMul', [x, qkv])
    const [q, k, v] = graph.split(`${scope}.split`, projected, -1, ['q', 'k', 'v']) as [string, string, string]
    const heads = [this.#turn(`${scope}.turned_q`, q), this.#turn(`${scope}.turned_k`, k), v]
    const context = graph.node(`${scope}.context`, 'Attention', heads, {
      q_num_heads: numHeads,
      kv_num_heads: numHeads,
    })
    const branch = graph.node(`${scope}.self_attn`, 'MatMul', [context, o])
    return this.#normalise(`${scope}.middle`, graph.node(`${scope}.middle_sum`, 'Add', [x, branch]))
  }

  /** norm(x + swiglu(x)) */
  #swiglu(scope: string, x: string, { gateUp, down }: { gateUp: string; down: string }): string {
    const graph = this.#graph
    const both = graph.node(`${scope}.gate_up`, 'MatMul', [x, gateUp])
    const [gate, up] = graph.split(`${scope}.gates`, both, -1, ['gate', 'up']) as [string, string]
    const silu = graph.node(`${scope}.silu`, 'Mul', [gate, graph.node(`${scope}.sigmoid`, 'Sigmoid', [gate])])
    const hidden = graph.node(`${scope}.hidden`, 'Mul', [silu, up])
    const branch = graph.node(`${scope}.mlp`, 'MatMul', [hidden, down])
    return this.#normalise(`${scope}.output`, graph.node(`${scope}.output_sum`, 'Add', [x, branch]))
  }

  /** The token logits, and the Q head at position 0. */
  #readout(zH: string): void {
    const graph = this.#graph
    const { hiddenSize: D, seqLen: T, vocabSize: V } = this.#config
    const range = [
      graph.integers('answer.begin', [this.#P]),
      graph.integers('answer.end', [this.#S]),
      graph.integers('answer.axis', [1]),
    ]
    const answer = graph.node('answer', 'Slice', [zH, ...range])
    const logits = graph.node('logits', 'MatMul', [answer, this.#weight('lm_head', D, V)])
    graph.output(logits, 'float', ['batch', T, V], 'the answer is the largest of each position')
    const position = graph.constant('first.position', { shape: [], data: BigInt64Array.of(0n) })
    const first = graph.node('first', 'Gather', [zH, position], { axis: 1 })
    const product = graph.node('q.product', 'MatMul', [first, this.#weight('q_head', D, 2)])
    const bias = this.#constant('q_head.bias', [2], this.#tensor('q_head.bias'))
    const pairs = graph.node('q.pairs', 'Add', [product, bias])
    const columns = graph.split('q', pairs, 1, ['halt', 'continue'])
    const flat = graph.integers('q.shape', [-1])
    for (const [i, name] of ['q_halt_logits', 'q_continue_logits'].entries()) {
      const q = graph.node(name, 'Reshape', [columns[i]!, flat])
      graph.output(q, 'float', ['batch'], 'a row is done where q_halt_logits > q_continue_logits')
    }
  }
}

/**
 * One ACT segment as an ONNX graph, what `core/model.cc` computes. The cycles are unrolled over shared weights, since
 * runtimes pack the constant weights of a MatMul, but not those that the body of a Loop takes from around it.
 */
export function segmentGraph(config: ModelConfig, tensors: ModelTensors): GraphProto {
  return new SegmentBuilder(config, tensors).build()
}
