// Replays a parity directory on engines in lockstep and judges each against the float64 trace.
import { native } from '../../dist/native.js'
import { BrokenDirectory, readBatch, readDraws } from './trace-directory.mjs'
import { comparedInBf16, evaluationBounds, Judge, parametersOff } from './rule.mjs'

/** Groups of which a trace must hold something, so that an empty trace cannot pass. */
function requiredGroups({ config }) {
  const both = ['logits', 'q_halt_logits', 'q_continue_logits', 'halted', 'steps', 'loss', 'metrics']
  const training = ['z_H', 'z_L', 'grad', 'param', ...(config.halt_max_steps > 1 ? ['target_q_continue'] : [])]
  return [...both, ...training, ...both.map((group) => `eval.${group}`)]
}

function nativeConfig(config) {
  return {
    vocabSize: config.vocab_size,
    seqLen: config.seq_len,
    puzzleEmbNdim: config.puzzle_emb_ndim,
    numPuzzleIdentifiers: config.num_puzzle_identifiers,
    hCycles: config.H_cycles,
    lCycles: config.L_cycles,
    hLayers: config.H_layers,
    lLayers: config.L_layers,
    hiddenSize: config.hidden_size,
    numHeads: config.num_heads,
    expansion: config.expansion,
    posEncodings: config.pos_encodings,
    ropeTheta: config.rope_theta,
    rmsNormEps: config.rms_norm_eps,
    haltMaxSegments: config.halt_max_steps,
    haltExplorationProb: config.halt_exploration_prob,
    lossType: config.loss_type,
    haltOnly: false,
  }
}

/** Indices of a sampled tensor of n elements: i * 2654435761 mod n. */
function sampleIndices(n) {
  return Array.from({ length: Math.min(n, 128) }, (_, i) => Number((BigInt(i) * 2654435761n) % BigInt(n)))
}

function sample(values) {
  return sampleIndices(values.length).map((index) => values[index])
}

/** L2 norm, summed in double. */
function norm(values) {
  let squares = 0
  for (const value of values) squares += value * value
  return [Math.sqrt(squares)]
}

/** Column of a [B, width] tensor. */
function column(values, index, width) {
  return Array.from({ length: values.length / width }, (_, row) => values[row * width + index])
}

/** Trace names carry the wrapper's prefix, engine names do not. */
const engineName = (official) => official.replace(/^model\./, '')

async function createEngine(directory, { device, precision, isa }) {
  const options = { device, threads: 0, precision, isa }
  const engine = new native.Engine(nativeConfig(directory.config), options)
  const given = new Map(directory.init.names().map((name) => [engineName(name), name]))
  for (const { name, shape } of engine.modelTensors()) {
    const source = given.get(name)
    if (source === undefined) throw new BrokenDirectory(`[parity] init.safetensors: expected model.${name}, got none`)
    given.delete(name)
    const count = shape.reduce((product, extent) => product * extent, 1)
    const values = await directory.init.read(source, { count, dtype: 'F32' })
    await engine.write(name, precision === 'fp64' ? Float64Array.from(values) : values)
  }
  if (given.size > 0)
    throw new BrokenDirectory(`[parity] init.safetensors: ${[...given.values()][0]} is no tensor of this model`)
  return engine
}

/** The official loss and metrics of one evaluation segment, from the rows' statistics. */
function evaluationMetrics({ qHalt, steps, halted, rowStats }) {
  const metrics = { count: 0, accuracy: 0, exact_accuracy: 0, q_halt_accuracy: 0, steps: 0, lm_loss: 0, q_halt_loss: 0 }
  for (let row = 0; row < steps.length; row++) {
    const [lmLoss, qHaltLoss, , labelled, right, exact] = rowStats.subarray(6 * row, 6 * row + 6)
    metrics.lm_loss += lmLoss
    metrics.q_halt_loss += qHaltLoss
    if (!halted[row] || labelled === 0) continue
    metrics.count++
    metrics.accuracy += right / labelled
    metrics.exact_accuracy += exact
    metrics.q_halt_accuracy += qHalt[row] >= 0 === (exact === 1) ? 1 : 0
    metrics.steps += steps[row]
  }
  return { loss: metrics.lm_loss + metrics.q_halt_loss / 2, metrics }
}

/** Tensors of one training call or evaluation segment by trace name, read from the engine on demand. */
class CallTensors {
  #read
  #result
  #cache = new Map()

  /** `read` returns a tensor of the engine or session; `result` holds loss and metrics. */
  constructor(read, result) {
    this.#read = read
    this.#result = result
  }

  #engine(name) {
    if (!this.#cache.has(name)) this.#cache.set(name, this.#read(name))
    return this.#cache.get(name)
  }

  /** Elements of `z_H`, `metrics.loss`, `grad_norm.model.inner.…`; undefined where there is no such tensor. */
  async get(field) {
    const [group] = field.split('.', 1)
    const rest = field.slice(group.length + 1)
    switch (group) {
      case 'z_H':
      case 'z_L':
      case 'halted':
      case 'steps':
        return this.#engine(`carry.${group}`)
      case 'current':
        return this.#engine(`carry.${rest}`)
      case 'puzzle_emb':
        return this.#engine('carry.puzzle_identifiers')
      case 'logits':
      case 'target_q_continue':
        return this.#engine(`last.${group}`)
      case 'q_halt_logits':
        return column(await this.#engine('last.q_logits'), 0, 2)
      case 'q_continue_logits':
        return column(await this.#engine('last.q_logits'), 1, 2)
      case 'loss':
        return [this.#result.loss]
      case 'metrics':
        return rest in this.#result.metrics ? [this.#result.metrics[rest]] : undefined
      case 'grad':
        return this.#engine(`grad.${engineName(rest)}`)
      case 'grad_sample':
        return sample(await this.#engine(`grad.${engineName(rest)}`))
      case 'grad_norm':
        return norm(await this.#engine(`grad.${engineName(rest)}`))
      case 'param':
        return this.#engine(engineName(rest))
      case 'param_sample':
        return sample(await this.#engine(engineName(rest)))
    }
  }
}

/** One engine with its judge. */
class Run {
  #directory
  #precision
  #engine
  judge
  /** Parameters moved the other way than in double, all calls together. */
  flips = 0

  constructor(directory, precision, engine, evaluation) {
    this.#directory = directory
    this.#precision = precision
    this.#engine = engine
    this.judge = new Judge(directory, precision, evaluation)
  }

  async #compareKeys(prefix, call, keys, tensors, groupPrefix = '') {
    for (const key of keys) {
      const field = key.slice(prefix.length)
      const group = groupPrefix + field.split('.', 1)[0]
      if (this.#precision === 'fp32' && group.startsWith('param')) continue
      if (this.#precision === 'bf16' && !comparedInBf16(group, call)) continue
      this.judge.compare(group, field, call, await tensors.get(field), await this.#directory.double.read(key))
    }
  }

  /** Evaluation mode from the initial parameters: always all segments. */
  async evaluate(keysOf) {
    const { config } = this.#directory
    const rows = config.batch_size
    const batch = await readBatch(this.#directory, 'eval')
    const session = await this.#engine.openSession(rows)
    const read = (name) => session.read(name)
    for (let k = 0; k < config.halt_max_steps; k++) {
      const reset = new Uint8Array(rows).fill(k === 0 ? 1 : 0)
      const { qHalt, steps, rowStats } = await session.segment({ rows, reset, ...batch })
      const halted = await session.read('carry.halted')
      const tensors = new CallTensors(read, evaluationMetrics({ qHalt, steps, halted, rowStats }))
      await this.#compareKeys(`eval.${k}.`, k, keysOf(`eval.${k}.`), tensors, 'eval.')
    }
    const last = new CallTensors(read, {})
    await this.#compareKeys('eval.final.', config.halt_max_steps, keysOf('eval.final.'), last, 'eval.')
    session.close()
  }

  async startTraining() {
    const { config, hyper, steps } = this.#directory
    await this.#engine.startTraining(
      {
        batchSize: config.batch_size,
        microBatchSize: 0,
        totalSteps: steps,
        // The traces were made at a constant rate: no warm-up, and a cosine that ends where it starts.
        lr: hyper.lr,
        lrMinRatio: 1,
        lrWarmupSteps: 0,
        beta1: hyper.betas[0],
        beta2: hyper.betas[1],
        weightDecay: hyper.wd,
        puzzleEmbLr: hyper.emb_lr ?? hyper.lr,
        puzzleEmbWeightDecay: hyper.emb_wd ?? hyper.wd,
        optimizer: 'adam_atan2',
        ema: 0,
        emaWarmup: 0,
        seed: 0,
      },
      0,
    )
  }

  async trainStep(t, batch, draws, keys) {
    const result = await this.#engine.trainStep(batch, draws)
    if (result.nonFinite !== '') this.judge.fail(result.nonFinite, t, 'not finite, the update was dropped')
    await this.#compareKeys(`train.${t}.`, t, keys, new CallTensors((name) => this.#engine.read(name), result))
  }

  /** Compares the sub-module outputs that a training call recorded. */
  async compareStages(keys) {
    const recorded = await native.debug.takeStages(this.#engine)
    const order = stageOrder(this.#directory.config)
    for (const key of keys) {
      const [, index, name] = /^stage\.(\d+)\.(.*)$/.exec(key) ?? []
      const stage = order[Number(index)]
      if (stage?.name !== name)
        throw new BrokenDirectory(`[parity] trace_f64.safetensors: expected stage ${index} ${stage?.name}, got ${key}`)
      const [kind, values] = recorded[stage.record] ?? []
      if (kind === stage.kind) this.judge.compare('stage', key, 0, values, await this.#directory.double.read(key))
      else this.judge.fail(key, 0, `expected stage ${stage.kind}, got ${kind}`)
    }
  }

  startStages() {
    return native.debug.startStages(this.#engine)
  }

  /** The gradient that moved a parameter: for the puzzle table the sum over the rows of equal ids. */
  async #gradient(name) {
    if (name !== 'inner.puzzle_emb.weights') return this.#engine.read(`grad.${name}`)
    const rows = await this.#engine.read('grad.inner.puzzle_emb.local_weights')
    const width = this.#directory.config.puzzle_emb_ndim
    const table = new Float64Array(this.#directory.config.num_puzzle_identifiers * width)
    const ids = await this.#engine.read('carry.puzzle_identifiers')
    for (let i = 0; i < rows.length; i++) table[ids[Math.floor(i / width)] * width + (i % width)] += rows[i]
    return table
  }

  /**
   * Judges all parameters of a float run after a call against the double run, of which a trace holds samples.
   *
   * The first update of an element depends on the sign of its gradient alone, so gradients at rounding level may flip
   * it. A flip counts as off for good, and is then put right: what grows from it in later calls says nothing about
   * the engine.
   */
  async compareParameters(t, double) {
    const trained = this.#engine.modelTensors().filter(({ name }) => !/^inner\.[HL]_init$/.test(name))
    let off = this.flips
    let total = 0
    let most = { tensor: 'param', off: 0 }
    for (const { name } of trained) {
      const [actual, expected] = await Promise.all([this.#engine.read(name), double.#engine.read(name)])
      const indices = parametersOff(actual, expected)
      total += expected.length
      if (indices.length === 0) continue
      off += indices.length
      if (indices.length > most.off) most = { tensor: `param.${name}`, off: indices.length }
      const [gradient, truth] = await Promise.all([this.#gradient(name), double.#gradient(name)])
      const flipped = indices.filter((i) => Math.sign(gradient[i]) !== Math.sign(truth[i]))
      for (const i of flipped) actual[i] = expected[i]
      if (flipped.length > 0) await this.#engine.write(name, actual)
      this.flips += flipped.length
    }
    this.judge.recordParameters(most.tensor, t, off, total)
  }

  dispose() {
    this.#engine.dispose()
  }
}

/**
 * The sub-modules of one inner forward in call order: official name, and which recorded value it is. The output of a
 * level is that of its last block.
 */
function stageOrder({ H_cycles, L_cycles, H_layers, L_layers }) {
  const order = []
  let record = 0
  const level = (name, layers) => {
    for (let i = 0; i < layers; i++) {
      const layer = `${name}.layers.${i}`
      order.push({ name: `${layer}.self_attn`, kind: 'self_attn', record: record++ })
      order.push({ name: `${layer}.mlp`, kind: 'mlp', record: record++ })
      order.push({ name: layer, kind: 'block', record: record++ })
    }
    order.push({ name, kind: 'block', record: record - 1 })
  }
  for (let h = 0; h < H_cycles; h++) {
    for (let l = 0; l < L_cycles; l++) level('L_level', L_layers)
    level('H_level', H_layers)
  }
  return order
}

/** Keys of the trace by call, and those that this replay does not know. */
function indexTrace({ config, steps, double }) {
  const calls = new Map([['stage.', []]])
  for (let t = 0; t < steps; t++) calls.set(`train.${t}.`, [])
  for (let k = 0; k < config.halt_max_steps; k++) calls.set(`eval.${k}.`, [])
  calls.set('eval.final.', [])
  const ignored = []
  const groups = new Set()
  for (const key of double.names()) {
    const prefix = /^(stage|train\.\d+|eval\.(\d+|final))\./.exec(key)?.[0]
    if (prefix === undefined || !calls.has(prefix)) {
      ignored.push(key)
      continue
    }
    calls.get(prefix).push(key)
    const group = key.slice(prefix.length).split('.', 1)[0]
    groups.add((prefix.startsWith('eval.') ? 'eval.' : '') + group.replace(/_(sample|norm)$/, ''))
  }
  return { keysOf: (prefix) => calls.get(prefix), groups, ignored }
}

/**
 * Replays evaluation and training on every given engine kind `{ device, precision, isa }` and judges each by the rule of
 * `npm run parity`. A double run always takes part: it is the truth for the parameters that a trace only samples.
 */
export async function replay(directory, kinds) {
  const { keysOf, groups, ignored } = indexTrace(directory)
  const missing = requiredGroups(directory).filter((group) => !groups.has(group))
  const evaluation = await evaluationBounds(directory)
  const runs = []
  const open = async (kind) => {
    const engine = await createEngine(directory, kind)
    const run = new Run(directory, kind.precision, engine, evaluation)
    runs.push({ ...kind, engine: engine.description, run })
    return run
  }
  try {
    const judged = []
    const double = await open({ device: 'cpu', precision: 'fp64', isa: 'reference' })
    if (kinds.some(({ precision }) => precision === 'fp64')) judged.push(runs[0])
    for (const kind of kinds.filter(({ precision }) => precision !== 'fp64')) {
      await open(kind)
      judged.push(runs.at(-1))
    }
    for (const { run } of runs) {
      await run.evaluate(keysOf)
      await run.startTraining()
    }
    const stages = keysOf('stage.')
    for (let t = 0; t < directory.steps; t++) {
      const batch = await readBatch(directory, `train.${t}`)
      const draws = await readDraws(directory, t)
      if (t === 0 && stages.length > 0) await double.startStages()
      for (const { run } of runs) await run.trainStep(t, batch, draws, keysOf(`train.${t}.`))
      if (t === 0 && stages.length > 0) await double.compareStages(stages)
      for (const { precision, run } of judged) if (precision === 'fp32') await run.compareParameters(t, double)
    }
    return {
      runs: judged.map(({ precision, engine, run }) => ({
        precision,
        engine,
        flips: run.flips,
        worst: run.judge.worst,
      })),
      failures: [
        ...missing.map((group) => ({ tensor: group, reason: 'trace_f64.safetensors holds nothing of this group' })),
        ...judged.flatMap(({ engine, run }) => run.judge.failures.map((failure) => ({ engine, ...failure }))),
      ],
      ignored: [...new Set(ignored.map((key) => key.split('.', 1)[0]))],
    }
  } finally {
    for (const { run } of runs) run.dispose()
  }
}
