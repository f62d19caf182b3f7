import { readFileSync } from 'node:fs'
import t, { type Test } from 'tap'
import {
  type Config,
  configEntries,
  describeRange,
  editDistance,
  type Field,
  fromOfficial,
  loadPreset,
  nearestName,
  officialEntry,
  parameterCount,
  presetNames,
  resolveModelConfig,
  resolveRunConfig,
  resolveTrainOptions,
  roundHalfEven,
  swigluInnerSize,
  toOfficial,
} from '#dist/config.js'

/** Asserts an ERR_HRM_CONFIG with these details and a text of the package's form. */
function refuses(t: Test, body: () => unknown, details: Record<string, unknown> = {}, name = 'is refused') {
  try {
    body()
  } catch (error) {
    return t.match(error, { code: 'ERR_HRM_CONFIG', details, message: /^\[.+\] expected .+, got .+; ./ }, name)
  }
  return t.fail(`nothing was thrown: ${name}`)
}

/** A value inside the range of a field that is not its default. */
function otherValue(field: Field): unknown {
  switch (field.type) {
    case 'choice':
      return field.choices.find((choice) => choice !== field.default)
    case 'boolean':
      return !field.default
    case 'text':
      return 'some text'
    case 'texts':
      return ['logits']
    case 'integer':
      return field.default === field.min + 3 ? field.min + 4 : field.min + 3
    case 'number':
      return field.max === undefined ? field.min + 0.25 : (field.min + field.max) / 3
  }
}

/** Values just outside the range of a field, and of wrong types. */
function badValues(field: Field): unknown[] {
  switch (field.type) {
    case 'choice':
    case 'text':
      return [7, field.type === 'choice' ? 'neither' : false]
    case 'boolean':
      return ['true', 1]
    case 'texts':
      return ['logits', [1]]
  }
  const values: unknown[] = ['3', Number.NaN, Infinity, [1], field.above ? field.min : field.min - 1]
  if (field.max !== undefined) values.push(field.below ? field.max : field.max + 1)
  if (field.type === 'integer') values.push(field.min + 0.5)
  return values
}

t.test('every key round-trips between official and TypeScript names', async (t) => {
  const config: Config = { model: {}, train: {}, run: {} }
  for (const { part, name, field } of configEntries) Object.assign(config[part], { [name]: otherValue(field) })
  const official = toOfficial(config)
  t.same(fromOfficial(official), config)
  t.same(toOfficial(fromOfficial(official)), official)
  t.same(fromOfficial(JSON.parse(JSON.stringify(official))), config, 'also through JSON text')
  const dotted = Object.fromEntries(
    configEntries.map(({ part, name, field }) => [field.official, (config[part] as Record<string, unknown>)[name]]),
  )
  t.same(fromOfficial(dotted), config, 'dotted keys mean the same as nested ones')
})

t.test('official and TypeScript names are unique and defaults lie in their ranges', async (t) => {
  t.equal(new Set(configEntries.map((entry) => entry.field.official)).size, configEntries.length)
  for (const { field } of configEntries) {
    if (field.default !== undefined) fromOfficial({ [field.official]: field.default })
    t.ok(field.description.length > 5, `${field.official} is described`)
  }
})

t.test('values outside the range of their key are refused by name, with what was expected and found', async (t) => {
  for (const { part, name, field } of configEntries) {
    for (const value of badValues(field)) {
      const expected = { key: field.official, expected: describeRange(field) }
      refuses(t, () => fromOfficial({ [field.official]: value }), expected, `${field.official} = ${value}`)
      const resolve = { model: resolveModelConfig, train: resolveTrainOptions, run: resolveRunConfig }[part]
      const typed = { vocabSize: 11, seqLen: 81, [name]: value }
      const options = part === 'model' ? typed : { [name]: value }
      refuses(t, () => resolve(options), { key: name }, `${name} = ${value}`)
    }
  }
})

t.test('the defaults are the official configuration', async (t) => {
  const official = toOfficial({
    model: resolveModelConfig({ vocabSize: 12, seqLen: 900 }),
    train: resolveTrainOptions(),
    run: resolveRunConfig(),
  })
  t.match(official, {
    data_path: 'data/arc-aug-1000',
    global_batch_size: 768,
    epochs: 100000,
    eval_interval: 10000,
    checkpoint_every_eval: true,
    lr: 1e-4,
    lr_min_ratio: 1,
    lr_warmup_steps: 2000,
    beta1: 0.9,
    beta2: 0.95,
    weight_decay: 0.1,
    puzzle_emb_weight_decay: 0.1,
    puzzle_emb_lr: 1e-2,
    seed: 0,
    arch: {
      name: 'hrm.hrm_act_v1@HierarchicalReasoningModel_ACTV1',
      loss: { name: 'losses@ACTLossHead', loss_type: 'stablemax_cross_entropy' },
      halt_exploration_prob: 0.1,
      halt_max_steps: 16,
      H_cycles: 2,
      L_cycles: 2,
      H_layers: 4,
      L_layers: 4,
      hidden_size: 512,
      num_heads: 8,
      expansion: 4,
      puzzle_emb_ndim: 512,
      pos_encodings: 'rope',
      rope_theta: 10000,
      rms_norm_eps: 1e-5,
    },
  })
})

t.test('the documented defaults are those of the table', async (t) => {
  const types = readFileSync(new URL('../../../lib/config-types.ts', import.meta.url), 'utf8')
  const comments = types.matchAll(/\/\*\*((?:(?!\*\/).)*)\*\/\s*(\w+): /gs)
  const documented = new Map([...comments].map(([, text, name]) => [name, text!]))
  for (const { name, field } of configEntries) {
    const text = documented.get(name)
    if (text === undefined) {
      t.fail(`${name} is not documented`)
      continue
    }
    const stated = /@default (.*)/.exec(text)?.[1]
    if (stated === undefined) continue
    const value = typeof field.default === 'string' ? `'${field.default}'` : String(field.default)
    t.equal(stated, name === 'puzzleEmbNdim' ? 'hiddenSize' : value, name)
  }
})

t.test('unknown keys are refused with the nearest known one', async (t) => {
  const unknown = (key: string) => {
    try {
      fromOfficial({ [key]: 1 })
    } catch (error) {
      t.match(error, { code: 'ERR_HRM_CONFIG', message: new RegExp(`got ${key}`) })
      return (error as { details: { nearest: string } }).details.nearest
    }
    return t.fail(`${key} was accepted`)
  }
  t.equal(unknown('arch.L_cycle'), 'arch.L_cycles')
  t.equal(unknown('L_cycles'), 'arch.L_cycles')
  t.equal(unknown('arch.h_cycels'), 'arch.H_cycles')
  t.equal(unknown('global_batchsize'), 'global_batch_size')
  t.equal(unknown('learning_rate'), 'lr_min_ratio', 'far from everything still names something')
  t.equal(unknown('weigth_decay'), 'weight_decay')
  t.equal(unknown('batch_size'), 'global_batch_size')
  t.equal(unknown('__proto__x'), unknown('__proto__x'))
  refuses(t, () => fromOfficial(JSON.parse('{"__proto__":{"lr":1}}')))
  refuses(t, () => resolveModelConfig({ vocabSize: 11, seqLen: 81, hCycle: 3 } as never), { nearest: 'hCycles' })
  refuses(t, () => resolveTrainOptions({ batchSize: 3 } as never), { nearest: 'globalBatchSize' })
  refuses(t, () => resolveTrainOptions({ toString: 3 } as never))
})

t.test('null means not given, as in official files', async (t) => {
  t.same(fromOfficial({ run_name: null, arch: { H_cycles: null } }).run, {})
  refuses(t, () => fromOfficial({ arch: 3 }))
  for (const json of [null, 3, 'text', []]) refuses(t, () => fromOfficial(json))
})

t.test('sizes that do not fit together are refused', async (t) => {
  const sizes = { vocabSize: 6, seqLen: 16 }
  refuses(t, () => resolveModelConfig({ ...sizes, hiddenSize: 100, numHeads: 3 }), { key: 'hiddenSize' })
  refuses(t, () => resolveModelConfig({ ...sizes, hiddenSize: 6, numHeads: 2 }), { key: 'hiddenSize' }, 'odd heads')
  t.equal(resolveModelConfig({ ...sizes, hiddenSize: 8, numHeads: 2 }).puzzleEmbNdim, 8, 'follows the hidden size')
  t.equal(resolveModelConfig({ ...sizes, puzzleEmbNdim: 0 }).puzzleEmbNdim, 0)
  refuses(t, () => resolveModelConfig({ seqLen: 16 }), { key: 'vocabSize' })
  refuses(t, () => resolveModelConfig({ vocabSize: 6, seqLen: undefined } as never), { key: 'seqLen' })
  refuses(t, () => resolveModelConfig(null as never))
})

t.test('presets have the promised sizes and pass their own checks', async (t) => {
  const sudoku = { vocabSize: 11, seqLen: 81 }
  t.equal(parameterCount(resolveModelConfig({ preset: 'paper', ...sudoku })), 27_275_266)
  t.equal(parameterCount(resolveModelConfig({ preset: 'paper', vocabSize: 6, seqLen: 900 })), 27_270_146)
  t.equal(parameterCount(resolveModelConfig({ preset: 'paper', vocabSize: 12, seqLen: 900 })), 27_276_290)
  t.equal(parameterCount(resolveModelConfig({ preset: 'small', ...sudoku })), 1_051_650)
  t.equal(parameterCount(resolveModelConfig({ preset: 'tiny', vocabSize: 6, seqLen: 16 })), 131_970)
  const learned = resolveModelConfig({ preset: 'tiny', vocabSize: 6, seqLen: 16, posEncodings: 'learned' })
  t.equal(parameterCount(learned), 131_970 + 17 * 64)
  for (const name of presetNames) {
    t.ok(loadPreset(name).description.length > 20)
    resolveTrainOptions({ preset: name })
  }
  t.same(resolveTrainOptions({ preset: 'paper' }), resolveTrainOptions(), 'paper is the official recipe')
  t.match(resolveTrainOptions({ preset: 'tiny', lr: 2e-3 }), {
    lr: 2e-3,
    globalBatchSize: 64,
    lrWarmupSteps: 50,
    ema: 0.998,
  })
  refuses(t, () => loadPreset('smal' as never), { key: 'preset' })
})

t.test('the inner size of SwiGLU rounds as Python does', async (t) => {
  t.same([0.5, 1.5, 2.5, 3.5, 2.4, 2.6, -0.5, 1365.3333].map(roundHalfEven), [0, 2, 2, 4, 2, 3, -0, 1365])
  t.equal(swigluInnerSize({ expansion: 4, hiddenSize: 512 }), 1536)
  t.equal(swigluInnerSize({ expansion: 4, hiddenSize: 64 }), 256)
  // 384.75 * 2/3 = 256.5 rounds to the even 256, one block; 385.5 * 2/3 = 257 needs two.
  t.equal(swigluInnerSize({ expansion: 384.75, hiddenSize: 1 }), 256)
  t.equal(swigluInnerSize({ expansion: 385.5, hiddenSize: 1 }), 512)
  refuses(t, () => resolveModelConfig({ vocabSize: 6, seqLen: 16, expansion: 0.0001 }), { key: 'expansion' })
})

t.test('edit distance counts swaps of neighbours as one edit', async (t) => {
  t.equal(editDistance('', 'abc'), 3)
  t.equal(editDistance('abc', ''), 3)
  t.equal(editDistance('kitten', 'sitting'), 3)
  t.equal(editDistance('lr', 'rl'), 1)
  t.equal(nearestName('x', []), undefined)
  t.equal(officialEntry('arch.halt_max_steps')?.name, 'haltMaxSegments')
})
