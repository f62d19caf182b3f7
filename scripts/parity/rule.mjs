// How far a replayed tensor may be from the float64 trace, and the record of how far it was.

/** Double: every tensor within this part of its own scale, its largest magnitude. */
const DOUBLE_BOUND = 1e-9
/** Float, evaluation and call 0: this many times the distance of the official float32 run, … */
const REFERENCE_FACTOR = 3
/** … but never less than this part of the tensor's scale. */
const FLOAT_FLOOR = 1e-5
/** Float, calls 1 on: the updates, nearly signs of gradients, have amplified rounding. */
const LATER_BOUND = 1e-3
/** Float: parameters farther than this from the double run, … */
const PARAM_DISTANCE = 1e-5
/** … as a part of all parameters. */
const PARAM_FRACTION = 1e-4

/** bf16: relative L2 distance of states and logits, in call 0 and the first evaluation segment. */
const BF16_BOUND = 8e-2
const BF16_GROUPS = new Set(['z_H', 'z_L', 'logits', 'eval.z_H', 'eval.z_L', 'eval.logits'])

/** Whether bf16 is judged here: later calls and decisions depend on what rounding made of the first. */
export function comparedInBf16(group, call) {
  return call === 0 && BF16_GROUPS.has(group)
}

/** Decisions and their inputs, which must be identical. */
const EXACT = new Set(['halted', 'steps', 'current', 'puzzle_emb', 'eval.halted', 'eval.steps'])

/** Largest distance as a part of the largest expected magnitude; NaN where a value is not a number. */
export function relativeError(actual, expected) {
  let distance = 0
  let scale = 0
  for (let i = 0; i < expected.length; i++) {
    const d = Math.abs(actual[i] - expected[i])
    if (!(d <= distance)) distance = d
    if (Number.isNaN(distance)) return NaN
    scale = Math.max(scale, Math.abs(expected[i]))
  }
  return distance === 0 ? 0 : distance / scale
}

/** L2 norm of the distance as a part of the expected L2 norm. */
function relativeL2(actual, expected) {
  let distance = 0
  let size = 0
  for (let i = 0; i < expected.length; i++) {
    distance += (actual[i] - expected[i]) ** 2
    size += expected[i] ** 2
  }
  return distance === 0 ? 0 : Math.sqrt(distance / size)
}

/** How far the official float32 run is from float64, from the manifest; 0 where it does not say. */
function listedReference(manifest, group, call) {
  const reference = (name) => {
    const entry = manifest.reference_f32_vs_f64[name]?.[call]
    return (typeof entry === 'number' ? entry : entry?.max_abs_over_max) ?? 0
  }
  if (group === 'grad' || group === 'grad_sample') return reference('grad_max_abs_over_max')
  if (group === 'grad_norm') return reference('grad')
  // Loss terms follow from logits, q and target; a term's own distance is not listed.
  if (group === 'metrics')
    return Math.max(...['logits', 'q_halt_logits', 'q_continue_logits', 'target_q_continue', 'loss'].map(reference))
  return reference(group)
}

/**
 * Float bounds of evaluation, one per segment and one for the final states. The manifest lists training calls only, so
 * the distance of the official float32 run is measured here. The recurrence amplifies rounding from segment to segment:
 * what the floor allows in the first may grow as much as the official run's distance does.
 */
export async function evaluationBounds({ config, float, double }) {
  const measure = async (key) =>
    float.has(key) && double.has(key) ? relativeError(await float.read(key), await double.read(key)) : 0
  const bounds = []
  let first = 0
  let worst = 0
  for (let k = 0; k <= config.halt_max_steps; k++) {
    const last = k === config.halt_max_steps
    const tensors = last ? ['z_H', 'z_L'] : ['logits', 'q_halt_logits', 'q_continue_logits']
    for (const tensor of tensors) worst = Math.max(worst, await measure(`eval.${last ? 'final' : k}.${tensor}`))
    if (k === 0) first = worst
    const growth = first > 0 ? worst / first : 1
    bounds.push(Math.max(FLOAT_FLOOR * growth, REFERENCE_FACTOR * worst))
  }
  return bounds
}

/** Indices of float parameters that are off the double run. */
export function parametersOff(actual, expected) {
  const off = []
  for (let i = 0; i < expected.length; i++) if (!(Math.abs(actual[i] - expected[i]) <= PARAM_DISTANCE)) off.push(i)
  return off
}

/** Judges one replay: collects the worst error per tensor group and every failure. */
export class Judge {
  /** Worst error per group, relative to scale; for `param` of a float run the part of parameters that are off. */
  worst = {}
  failures = []
  #directory
  #precision
  #evaluation

  constructor(directory, precision, evaluation) {
    this.#directory = directory
    this.#precision = precision
    this.#evaluation = evaluation
  }

  #bound(group, call) {
    if (EXACT.has(group)) return 0
    if (this.#precision === 'fp64') return DOUBLE_BOUND
    if (this.#precision === 'bf16') return BF16_BOUND
    const evaluating = group.startsWith('eval.')
    if (call > 0 && !evaluating) return LATER_BOUND
    const listed = listedReference(this.#directory, group.replace('eval.', ''), 0)
    return Math.max(FLOAT_FLOOR, REFERENCE_FACTOR * listed, evaluating ? this.#evaluation[call] : 0)
  }

  #record(group, tensor, call, error, bound) {
    if (!(this.worst[group] >= error)) this.worst[group] = error
    if (!(error <= bound)) this.failures.push({ tensor, call, error: Number.isNaN(error) ? 'NaN' : error, bound })
  }

  fail(tensor, call, reason) {
    this.failures.push({ tensor, call, reason })
  }

  /** Compares one tensor; `call` is the training call or the evaluation segment. */
  compare(group, tensor, call, actual, expected) {
    if (actual === undefined) return this.fail(tensor, call, 'the replay has no such tensor')
    if (actual.length !== expected.length)
      return this.fail(tensor, call, `expected ${expected.length} elements, got ${actual.length}`)
    const distance = this.#precision === 'bf16' ? relativeL2 : relativeError
    this.#record(group, tensor, call, distance(actual, expected), this.#bound(group, call))
  }

  /** Float parameters after a call: how many of all of them are off, and in which tensor most. */
  recordParameters(tensor, call, off, total) {
    this.#record('param', tensor, call, off / total, PARAM_FRACTION)
  }
}
