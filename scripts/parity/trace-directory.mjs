// A parity directory: what the official PyTorch code computed from given parameters and batches.
// manifest.json, init, batches, trace_f32 and trace_f64; every key of a trace may be absent.
import { readFile } from 'node:fs/promises'
import { basename, join, resolve } from 'node:path'
import { readSafetensors } from '../../dist/safetensors.js'

/** A directory that cannot be replayed; the message names the file and what is wrong in it. */
export class BrokenDirectory extends Error {}

const CONFIG_KEYS = [
  'batch_size',
  'seq_len',
  'puzzle_emb_ndim',
  'num_puzzle_identifiers',
  'vocab_size',
  'H_cycles',
  'L_cycles',
  'H_layers',
  'L_layers',
  'hidden_size',
  'expansion',
  'num_heads',
  'pos_encodings',
  'halt_max_steps',
  'halt_exploration_prob',
  'loss_type',
]

/** Element types of a trace. */
const DTYPES = ['F64', 'F32', 'I32', 'U8']

/** Official defaults of the keys a manifest may leave out. */
const CONFIG_DEFAULTS = { puzzle_emb_ndim: 0, rope_theta: 10000, rms_norm_eps: 1e-5 }

function isObject(value) {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

async function readManifest(folder) {
  const broken = (why) => new BrokenDirectory(`[parity] manifest.json of ${folder}: ${why}`)
  let manifest
  try {
    manifest = JSON.parse(await readFile(join(folder, 'manifest.json'), 'utf8'))
  } catch (error) {
    throw broken(error.message)
  }
  for (const key of ['config', 'hyper', 'reference_f32_vs_f64'])
    if (!isObject(manifest?.[key])) throw broken(`expected an object ${key}, got ${JSON.stringify(manifest?.[key])}`)
  const config = { ...CONFIG_DEFAULTS, ...manifest.config }
  for (const key of CONFIG_KEYS)
    if (typeof config[key] !== (['pos_encodings', 'loss_type'].includes(key) ? 'string' : 'number'))
      throw broken(`expected config.${key}, got ${JSON.stringify(config[key])}`)
  const { hyper, steps } = manifest
  if (!['lr', 'wd'].every((key) => Number.isFinite(hyper[key])) || hyper.betas?.length !== 2)
    throw broken(`expected hyper.lr, hyper.wd and two hyper.betas, got ${JSON.stringify(hyper)}`)
  if (config.puzzle_emb_ndim > 0 && !['emb_lr', 'emb_wd'].every((key) => Number.isFinite(hyper[key])))
    throw broken(`expected hyper.emb_lr and hyper.emb_wd, got ${JSON.stringify(hyper)}`)
  if (!Number.isInteger(steps) || steps < 1) throw broken(`expected steps >= 1, got ${JSON.stringify(steps)}`)
  return { ...manifest, config }
}

/** One file of the directory, with errors that name it. */
class TraceFile {
  #file
  #label

  constructor(file, label) {
    this.#file = file
    this.#label = label
  }

  static async open(folder, name) {
    const label = `${name} of ${folder}`
    try {
      return new TraceFile(await readSafetensors(join(folder, name)), label)
    } catch (error) {
      throw new BrokenDirectory(`[parity] ${label}: ${error.message}`, { cause: error })
    }
  }

  names() {
    return this.#file.names()
  }

  has(key) {
    return this.#file.has(key)
  }

  /** The elements; `count` and `dtype` are checked where given. */
  async read(key, { count, dtype } = {}) {
    let values
    try {
      values = await this.#file.read(key)
    } catch (error) {
      throw new BrokenDirectory(`[parity] ${this.#label}: ${error.message}`, { cause: error })
    }
    const got = this.#file.info(key)
    if (!DTYPES.includes(got.dtype))
      throw new BrokenDirectory(`[parity] ${this.#label}: expected ${DTYPES.join(', ')} of ${key}, got ${got.dtype}`)
    if ((count !== undefined && values.length !== count) || (dtype !== undefined && got.dtype !== dtype))
      throw new BrokenDirectory(
        `[parity] ${this.#label}: expected ${dtype ?? got.dtype} with ${count ?? 'some'} elements of ${key}, ` +
          `got ${got.dtype} [${got.shape.join(', ')}]`,
      )
    return values
  }

  close() {
    return this.#file.close()
  }
}

/** Opens the five files of a directory. @throws BrokenDirectory */
export async function openTraceDirectory(folder) {
  const files = []
  const open = async (name) => {
    files.push(await TraceFile.open(folder, `${name}.safetensors`))
    return files.at(-1)
  }
  const close = () => Promise.all(files.map((file) => file.close()))
  try {
    const manifest = await readManifest(folder)
    return {
      name: manifest.name ?? basename(resolve(folder)),
      ...manifest,
      init: await open('init'),
      batches: await open('batches'),
      float: await open('trace_f32'),
      double: await open('trace_f64'),
      close,
    }
  } catch (error) {
    await close()
    throw error
  }
}

/** The batch `train.{t}` or `eval` as the engine takes it. */
export async function readBatch({ batches, config }, prefix) {
  const rows = config.batch_size
  const tokens = { count: rows * config.seq_len, dtype: 'I32' }
  return {
    inputs: await batches.read(`${prefix}.inputs`, tokens),
    labels: await batches.read(`${prefix}.labels`, tokens),
    puzzleIds: await batches.read(`${prefix}.puzzle_identifiers`, { count: rows, dtype: 'I32' }),
  }
}

/** What the two draws of the exploration returned at call t. */
export async function readDraws({ batches, config }, t) {
  const count = config.batch_size
  return {
    u: await batches.read(`train.${t}.rand_u`, { count, dtype: 'F32' }),
    minSteps: await batches.read(`train.${t}.rand_min_steps`, { count, dtype: 'I32' }),
  }
}
