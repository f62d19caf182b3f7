import { readFileSync } from 'node:fs'
import { type Field, modelFields, runFields, trainFields } from './config-fields.js'
import type { ModelConfig, RunConfig, TrainConfig } from './config-types.js'
import { HRMError } from './errors.js'
import { show } from './options.js'

export { type Field, type ModelConfig, modelFields, type RunConfig, runFields, type TrainConfig, trainFields }

/** Recipes that ship with the package, smallest first. */
export const presetNames = [
  'tiny',
  'small',
  'paper',
  'sudoku-extreme',
  'sudoku-full',
  'maze-hard',
  'arc-1',
  'arc-2',
] as const

/** Name of a recipe that ships with the package: a file of `presets/`. */
export type PresetName = (typeof presetNames)[number]

/** A configuration in TypeScript names, or a part of one. */
export interface Config {
  model: Partial<ModelConfig>
  train: Partial<TrainConfig>
  run: Partial<RunConfig>
}

/** A configuration as `config.json` holds it: official keys, nested under `arch` and `arch.loss`. */
export type OfficialConfig = Record<string, unknown>

/** What `HRM.create` takes: a preset, any key over it, and the sizes of the data. */
export type ModelOptions = Partial<ModelConfig> & {
  /** Where the keys that are not given come from. @default 'paper' */
  preset?: PresetName
}

/** Which part of a `Config` a field belongs to. */
export type ConfigPart = keyof Config

interface Entry {
  part: ConfigPart
  name: string
  field: Field
}

const parts = { model: modelFields, train: trainFields, run: runFields } as const

/** Every key of the configuration in table order. */
export const configEntries: readonly Entry[] = (Object.keys(parts) as ConfigPart[]).flatMap((part) =>
  Object.entries(parts[part] as Record<string, Field>).map(([name, field]) => ({ part, name, field })),
)

const byOfficial: ReadonlyMap<string, Entry> = new Map(configEntries.map((entry) => [entry.field.official, entry]))

/** Finds a key by its official name. */
export function officialEntry(official: string): Entry | undefined {
  return byOfficial.get(official)
}

/**
 * Optimal string alignment distance: insertions, deletions, substitutions and swaps of neighbours.
 * @returns the number of edits from `a` to `b`
 */
export function editDistance(a: string, b: string): number {
  let beforeLast: number[] = []
  let last = Array.from({ length: b.length + 1 }, (_, j) => j)
  for (let i = 1; i <= a.length; i++) {
    const row = [i]
    for (let j = 1; j <= b.length; j++) {
      const substitution = last[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1)
      let best = Math.min(row[j - 1]! + 1, last[j]! + 1, substitution)
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1])
        best = Math.min(best, beforeLast[j - 2]! + 1)
      row.push(best)
    }
    beforeLast = last
    last = row
  }
  return last[b.length]!
}

/** The candidate nearest to `key`; a dotted candidate is also compared by its last part (`L_cycle` finds `arch.L_cycles`). */
export function nearestName(key: string, candidates: Iterable<string>): string | undefined {
  const wanted = key.toLowerCase()
  const lastPart = (name: string) => name.slice(name.lastIndexOf('.') + 1)
  let nearest: string | undefined
  let least = Infinity
  for (const candidate of candidates) {
    const name = candidate.toLowerCase()
    // The halves rank, at equal edits: the whole key, its last part, a piece of a longer name (`batch_size`).
    const contained = wanted.length >= 4 && name.includes(wanted) ? 1.5 : Infinity
    const distance = Math.min(
      editDistance(wanted, name),
      editDistance(lastPart(wanted), lastPart(name)) + 0.5,
      contained,
    )
    if (distance < least) [least, nearest] = [distance, candidate]
  }
  return nearest
}

function unknownKey(operation: string, key: string, candidates: Iterable<string>): HRMError {
  const nearest = nearestName(key, candidates)
  return new HRMError('ERR_HRM_CONFIG', `[${operation}] expected a known key, got ${key}; did you mean ${nearest}?`, {
    key,
    nearest,
  })
}

/** Type and range of a field in words: `integer >= 1`, `rope | learned`. */
export function describeRange(field: Field): string {
  if (field.type === 'choice') return field.choices.join(' | ')
  if (field.type === 'texts') return 'list of text'
  if (field.type !== 'integer' && field.type !== 'number') return field.type
  const least = `${field.above ? '>' : '>='} ${field.min}`
  return `${field.type} ${least}${field.max === undefined ? '' : ` and ${field.below ? '<' : '<='} ${field.max}`}`
}

function fits(field: Field, value: unknown): boolean {
  switch (field.type) {
    case 'choice':
      return field.choices.includes(value as string)
    case 'boolean':
      return typeof value === 'boolean'
    case 'text':
      return typeof value === 'string'
    case 'texts':
      return Array.isArray(value) && value.every((item) => typeof item === 'string')
  }
  if (typeof value !== 'number' || !Number.isFinite(value)) return false
  if (field.type === 'integer' && !Number.isSafeInteger(value)) return false
  const { min, max = Infinity } = field
  return (field.above ? value > min : value >= min) && (field.below ? value < max : value <= max)
}

function checkValue(operation: string, key: string, field: Field, value: unknown): void {
  if (fits(field, value)) return
  const expected = describeRange(field)
  throw new HRMError(
    'ERR_HRM_CONFIG',
    `[${operation}] expected ${key} to be ${expected}, got ${show(value)}; correct ${key}`,
    {
      key,
      expected,
      got: value,
    },
  )
}

/** Defaults, then the preset, then what is given; unknown keys and values outside their range are refused. */
function complete<T>(operation: string, part: ConfigPart, preset: Partial<T>, given: object): Partial<T> {
  const fields = parts[part] as Record<string, Field>
  const result: Record<string, unknown> = {}
  for (const [name, field] of Object.entries(fields)) if (field.default !== undefined) result[name] = field.default
  Object.assign(result, preset)
  for (const [name, value] of Object.entries(given)) {
    const field = Object.hasOwn(fields, name) ? fields[name] : undefined
    if (!field) throw unknownKey(operation, name, Object.keys(fields))
    if (value === undefined) continue
    checkValue(operation, name, field, value)
    result[name] = value
  }
  return result as Partial<T>
}

function splitPreset<T extends object>(operation: string, options: T): [PresetName | undefined, Omit<T, 'preset'>] {
  if (typeof options !== 'object' || options === null)
    throw new HRMError(
      'ERR_HRM_CONFIG',
      `[${operation}] expected an object, got ${show(options)}; pass the keys to set`,
    )
  const { preset, ...given } = options as T & { preset?: PresetName }
  return [preset, given]
}

/**
 * A complete, checked model configuration.
 * @param options keys in TypeScript names over `preset`; `vocabSize` and `seqLen` have no default
 * @throws ERR_HRM_CONFIG naming the key, what was expected and what was found
 * @example resolveModelConfig({ preset: 'small', vocabSize: 11, seqLen: 81 }).hiddenSize // 128
 */
export function resolveModelConfig(options: ModelOptions): ModelConfig {
  const operation = 'model config'
  const [preset = 'paper', given] = splitPreset(operation, options)
  const config = complete<ModelConfig>(operation, 'model', loadPreset(preset).model, given)
  for (const name of ['vocabSize', 'seqLen'] as const) {
    if (config[name] !== undefined) continue
    const expected = describeRange(modelFields[name])
    throw new HRMError('ERR_HRM_CONFIG', `[${operation}] expected ${name} (${expected}), got nothing; pass ${name}`, {
      key: name,
      expected,
    })
  }
  config.puzzleEmbNdim ??= config.hiddenSize!
  const model = config as ModelConfig
  checkSizes(operation, model)
  return model
}

function checkSizes(operation: string, model: ModelConfig): void {
  const refuse = (key: keyof ModelConfig, expected: string, advice: string) => {
    const message = `[${operation}] expected ${expected}, got ${model[key]}; change ${advice}`
    throw new HRMError('ERR_HRM_CONFIG', message, { key, expected, got: model[key] })
  }
  const step = 2 * model.numHeads
  if (model.hiddenSize % step !== 0)
    refuse(
      'hiddenSize',
      `hiddenSize (arch.hidden_size) to be a multiple of 2 * numHeads = ${step}`,
      'hiddenSize or numHeads',
    )
  if (swigluInnerSize(model) === 0)
    refuse('expansion', 'expansion * hiddenSize * 2/3 to be at least 1', 'expansion or hiddenSize')
}

/**
 * A complete, checked training recipe.
 * @param options keys in TypeScript names over the recipe of `preset`
 * @throws ERR_HRM_CONFIG naming the key, what was expected and what was found
 */
export function resolveTrainOptions(options: Partial<TrainConfig> & { preset?: PresetName } = {}): TrainConfig {
  const [preset, given] = splitPreset('train options', options)
  const base = preset === undefined ? {} : loadPreset(preset).train
  return complete<TrainConfig>('train options', 'train', base, given) as TrainConfig
}

/** Complete, checked names and places of a run. @throws ERR_HRM_CONFIG */
export function resolveRunConfig(options: Partial<RunConfig> = {}): RunConfig {
  return complete<RunConfig>('run config', 'run', {}, options) as RunConfig
}

/** Writes a configuration with the official keys, nested, in table order; absent keys are left out. */
export function toOfficial(config: Partial<Config>): OfficialConfig {
  const official: OfficialConfig = {}
  for (const { part, name, field } of configEntries) {
    const value = (config[part] as Record<string, unknown> | undefined)?.[name]
    if (value === undefined) continue
    const path = field.official.split('.')
    let node = official
    for (const key of path.slice(0, -1)) node = (node[key] ??= {}) as OfficialConfig
    node[path.at(-1)!] = value
  }
  return official
}

/** The leaves of nested official keys: `{ arch: { H_cycles: 2 } }` gives `['arch.H_cycles', 2]`. */
function leaves(node: object, prefix = ''): [string, unknown][] {
  return Object.entries(node).flatMap(([key, value]): [string, unknown][] => {
    const path = prefix + key
    const nested = typeof value === 'object' && value !== null && !Array.isArray(value) && !byOfficial.has(path)
    return nested ? leaves(value, `${path}.`) : [[path, value]]
  })
}

/**
 * Reads a configuration with official keys, nested or dotted (`config.json`, `all_config.yaml`, presets, overrides).
 * @param where names the source in errors
 * @returns only what is given, in TypeScript names; `null` means "not given", as officially
 * @throws ERR_HRM_CONFIG for an unknown key (naming the nearest) or a value outside its range
 */
export function fromOfficial(json: unknown, where = 'config'): Config {
  if (typeof json !== 'object' || json === null || Array.isArray(json))
    throw new HRMError('ERR_HRM_CONFIG', `[${where}] expected an object of keys, got ${show(json)}; correct the file`)
  const config: Config = { model: {}, train: {}, run: {} }
  for (const [key, value] of leaves(json)) {
    const entry = byOfficial.get(key)
    if (!entry) throw unknownKey(where, key, byOfficial.keys())
    if (value === null) continue
    checkValue(where, key, entry.field, value)
    ;(config[entry.part] as Record<string, unknown>)[entry.name] = value
  }
  return config
}

/** The built package has `presets/` beside `dist/`; compiled tests lie one folder deeper. */
function readPresetFile(name: PresetName): string {
  const places = ['../presets/', '../../presets/'].map((folder) => new URL(`${folder}${name}.json`, import.meta.url))
  for (const place of places) {
    try {
      return readFileSync(place, 'utf8')
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code !== 'ENOENT') throw cause
    }
  }
  throw new HRMError(
    'ERR_HRM_IO',
    `[preset ${name}] expected ${places[0]!.pathname}, got no such file; reinstall hrm-native`,
  )
}

/**
 * The recipe file `presets/<name>.json`, in TypeScript names.
 * @throws ERR_HRM_CONFIG for an unknown name
 */
export function loadPreset(name: PresetName): Config & { description: string } {
  if (!presetNames.includes(name))
    throw new HRMError(
      'ERR_HRM_CONFIG',
      `[preset] expected ${presetNames.join(' | ')}, got ${show(name)}; did you mean ${nearestName(show(name), presetNames)}?`,
      { key: 'preset', expected: presetNames, got: name },
    )
  const { description, ...official } = JSON.parse(readPresetFile(name)) as OfficialConfig & { description: string }
  return { description, ...fromOfficial(official, `presets/${name}.json`) }
}

/** Rounds to the nearest integer, halves to the even one, as Python's `round`. */
export function roundHalfEven(x: number): number {
  const floor = Math.floor(x)
  const rest = x - floor
  if (rest !== 0.5) return rest < 0.5 ? floor : floor + 1
  return floor % 2 === 0 ? floor : floor + 1
}

/** SwiGLU inner size F: expansion * D * 2/3 rounded, then up to a multiple of 256. */
export function swigluInnerSize({ expansion, hiddenSize }: Pick<ModelConfig, 'expansion' | 'hiddenSize'>): number {
  return Math.ceil(roundHalfEven((expansion * hiddenSize * 2) / 3) / 256) * 256
}

/** Positions before the tokens, P = ceil(puzzleEmbNdim / D). */
export function puzzlePositions({
  puzzleEmbNdim,
  hiddenSize,
}: Pick<ModelConfig, 'puzzleEmbNdim' | 'hiddenSize'>): number {
  return Math.ceil(puzzleEmbNdim / hiddenSize)
}

/** Positions of a sequence, S: those of the puzzle embedding and the tokens. */
export function sequencePositions(config: Pick<ModelConfig, 'puzzleEmbNdim' | 'hiddenSize' | 'seqLen'>): number {
  return puzzlePositions(config) + config.seqLen
}

/** Trainable parameters without the puzzle embeddings and the start vectors, as the official run reports them. */
export function parameterCount(config: ModelConfig): number {
  const { hiddenSize: d, vocabSize, seqLen, hLayers, lLayers } = config
  const block = 4 * d * d + 3 * swigluInnerSize(config) * d
  const positions = config.posEncodings === 'learned' ? (puzzlePositions(config) + seqLen) * d : 0
  const qHead = 2 * d + 2
  return (hLayers + lLayers) * block + 2 * vocabSize * d + positions + qHead
}
