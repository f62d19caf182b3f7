import { existsSync, readFileSync, statSync } from 'node:fs'
import {
  type Config,
  fromOfficial,
  type ModelConfig,
  officialEntry,
  type OfficialConfig,
  resolveRunConfig,
  resolveTrainOptions,
  toOfficial,
} from '../config.js'
import { HRMError } from '../errors.js'
import { ioError } from '../mapped-file.js'
import { fileContentError, shown } from './file-error.js'

/** Name of the configuration that the official training saves beside its checkpoints. */
export const configFile = 'all_config.yaml'

/** Longest configuration read; the official ones take less than 2 KB. */
const MAX_YAML_BYTES = 2 ** 16

/**
 * Most collections, which bounds their nesting too: the parser recurses, and a stack that ends inside V8's compiler of
 * regular expressions ends the process. Maps without brackets nest by their indentation, which the size bounds.
 */
const MAX_COLLECTIONS = 500

/** Longest message about a value of the file. */
const MAX_MESSAGE = 1000

/** Sizes that the official code takes from the dataset, and refuses in `arch`. */
const datasetSizes = {
  vocabSize: 'vocab_size',
  seqLen: 'seq_len',
  numPuzzleIdentifiers: 'num_puzzle_identifiers',
} as const

/** The block in which an exported configuration records them; the official code does not read it. */
const datasetBlock = 'dataset_metadata'

/** The end of `arch.name`: the class in whose place this package stands. */
const modelClass = 'HierarchicalReasoningModel_ACTV1'

/** Top-level keys of the official configuration. */
const officialKeys = new Set(
  (
    'arch data_path global_batch_size epochs lr lr_min_ratio lr_warmup_steps weight_decay beta1 beta2 puzzle_emb_lr ' +
    'puzzle_emb_weight_decay project_name run_name checkpoint_path seed checkpoint_every_eval eval_interval ' +
    'eval_save_outputs'
  ).split(' '),
)

/** An official configuration as it was read. */
export interface OfficialRecord {
  config: Config
  /** Keys that mean nothing here, which were left out. */
  ignored: string[]
}

function unfit(path: string, expected: string, got: string): HRMError {
  return fileContentError(
    'ERR_HRM_CHECKPOINT',
    path,
    expected,
    got,
    'restore the file that was saved with the checkpoint',
  )
}

/** Plain data with objects as own properties, whatever the keys are called. */
function plain(value: unknown): unknown {
  if (value instanceof Map) return Object.fromEntries([...value].map(([key, item]) => [String(key), plain(item)]))
  return Array.isArray(value) ? value.map(plain) : value
}

/** YAML as plain data: no tags, no aliases, no merge keys, each key once. */
async function readYaml(path: string): Promise<unknown> {
  let text: string
  if (!existsSync(path))
    throw fileContentError(
      'ERR_HRM_CHECKPOINT',
      path,
      'the configuration of the model',
      'nothing',
      'put it there or give --config',
    )
  try {
    const { size } = statSync(path)
    if (size > MAX_YAML_BYTES) throw unfit(path, `at most ${MAX_YAML_BYTES} bytes`, `${size}`)
    text = readFileSync(path, 'utf8')
  } catch (error) {
    throw ioError('read', path, error)
  }
  const collections = text.match(/[[{]|[-?:](?=\s)/g)?.length ?? 0
  if (collections > MAX_COLLECTIONS) throw unfit(path, `at most ${MAX_COLLECTIONS} lists and maps`, `${collections}`)
  const { parseDocument } = await import('yaml')
  try {
    const document = parseDocument(text, { strict: true, uniqueKeys: true, schema: 'core', merge: false })
    const [problem] = [...document.errors, ...document.warnings]
    if (problem !== undefined) throw unfit(path, 'plain YAML', shown(problem.message.split('\n')[0]!))
    return plain(document.toJS({ maxAliasCount: 0, mapAsMap: true }))
  } catch (error) {
    if (error instanceof HRMError) throw error
    throw unfit(path, 'plain YAML without aliases', shown((error as Error).message))
  }
}

/**
 * Reads an official `all_config.yaml`. Keys besides the recipe are left out, but not those of the architecture.
 *
 * @throws HRMError ERR_HRM_CHECKPOINT where it is malformed or describes another model; ERR_HRM_IO
 */
export async function readOfficialConfig(path: string): Promise<OfficialRecord> {
  const yaml = await readYaml(path)
  if (typeof yaml !== 'object' || yaml === null || Array.isArray(yaml))
    throw unfit(path, 'keys with values', 'something else')
  const { arch, [datasetBlock]: sizes, ...rest } = yaml as OfficialConfig
  if (typeof arch !== 'object' || arch === null || Array.isArray(arch)) throw unfit(path, 'the key arch', 'none')
  const { name } = arch as { name?: unknown }
  if (typeof name === 'string' && !name.endsWith(`@${modelClass}`))
    throw unfit(path, `arch.name …@${modelClass}`, shown(name))
  const known = Object.entries(rest).filter(([key]) => officialEntry(key) !== undefined)
  const ignored = Object.keys(rest).filter((key) => officialEntry(key) === undefined)
  const official = {
    ...Object.fromEntries(known),
    arch: { ...arch, ...readSizes(path, sizes) },
  }
  try {
    return { config: fromOfficial(official, path), ignored }
  } catch (error) {
    if (!(error instanceof HRMError) || error.code !== 'ERR_HRM_CONFIG') throw error
    const { message } = error
    const short = message.length > MAX_MESSAGE ? `${message.slice(0, MAX_MESSAGE)}…` : message
    throw new HRMError('ERR_HRM_CHECKPOINT', short, { path })
  }
}

function readSizes(path: string, sizes: unknown): OfficialConfig {
  if (sizes === undefined) return {}
  if (typeof sizes !== 'object' || sizes === null || Array.isArray(sizes))
    throw unfit(path, `${datasetBlock} with sizes`, 'something else')
  const keys: readonly string[] = Object.values(datasetSizes)
  const unknown = Object.keys(sizes).find((key) => !keys.includes(key))
  if (unknown !== undefined) throw unfit(path, `${keys.join(', ')} in ${datasetBlock}`, shown(unknown))
  return sizes as OfficialConfig
}

/** The text of an `all_config.yaml` that the official code reads, complete, with official keys only. */
export async function encodeOfficialConfig(config: Config & { model: ModelConfig }): Promise<string> {
  const { stringify } = await import('yaml')
  const run = resolveRunConfig(config.run)
  const official = toOfficial({ model: config.model, train: resolveTrainOptions(config.train), run })
  const arch = { ...(official['arch'] as OfficialConfig) }
  const sizes: OfficialConfig = {}
  for (const key of Object.values(datasetSizes)) {
    sizes[key] = arch[key]
    delete arch[key]
  }
  const kept = Object.entries(official).filter(([key, value]) => officialKeys.has(key) && value !== '')
  const text = stringify(
    { ...Object.fromEntries(kept), arch, [datasetBlock]: sizes },
    { version: '1.1', sortMapEntries: true },
  )
  // YAML 1.1, which PyYAML reads, takes 1e-7 for text: a number has a point.
  return text.replace(/^( *\w+: -?\d+)(e[-+]?\d+)$/gm, '$1.0$2')
}
