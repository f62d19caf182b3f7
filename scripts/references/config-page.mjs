// docs/config.md, from the tables of lib/config-fields.ts and the files of presets/.
import { configEntries, describeRange, loadPreset, presetNames } from '../../dist/config.js'

/** Keys by topic, their names apart by blanks; every key of the tables is in exactly one. */
const topics = [
  {
    title: 'Sizes of the data',
    text: 'A dataset says these; `HRM.create` needs the first two.',
    names: `vocabSize seqLen numPuzzleIdentifiers`,
  },
  {
    title: 'The network',
    text: '',
    names: `hiddenSize numHeads expansion hLayers lLayers hCycles lCycles
      posEncodings ropeTheta rmsNormEps puzzleEmbNdim`,
  },
  {
    title: 'Halting and loss',
    text: '',
    names: `haltMaxSegments haltExplorationProb haltOnly lossType`,
  },
  {
    title: 'How long a run is',
    text: '',
    names: `globalBatchSize microBatchSize epochs maxSteps epochsPerIter seed`,
  },
  {
    title: 'Optimisers',
    text: 'AdamATan2 updates everything but the puzzle embeddings, SignSGD these.',
    names: `lr lrMinRatio lrWarmupSteps beta1 beta2 weightDecay optimizer
      puzzleEmbLr puzzleEmbWeightDecay ema emaWarmup onNonFinite`,
  },
  {
    title: 'Evaluation during a run',
    text: '',
    names: `evalInterval evalEverySteps evalMaxExamples validationGroups earlyStopPatience logEvery`,
  },
  {
    title: 'Names and places',
    text: 'Recorded in checkpoints, without effect on the numbers; keys of the option `run` in TypeScript.',
    names: `dataPath checkpointPath checkpointEverySteps checkpointKeep checkpointEveryEval dataHash
      projectName runName archName lossName forwardDtype evalSaveOutputs`,
  },
]

const code = (text) => `\`${text}\``

function range(field) {
  return field.type === 'choice'
    ? field.choices.map(code).join(' or ')
    : describeRange(field).replace(String(Number.MAX_SAFE_INTEGER), '2^53 - 1')
}

function defaultOf({ default: value }) {
  if (value === undefined || value === '') return ''
  return code(Array.isArray(value) ? JSON.stringify(value) : value)
}

function table(header, rows) {
  const line = (cells) => `| ${cells.map((cell) => String(cell).replaceAll('|', '\\|')).join(' | ')} |`
  return [line(header), line(header.map(() => '---')), ...rows.map(line)].join('\n')
}

const split = (names) => names.split(/\s+/)

function topic({ title, text, names }, entries) {
  const rows = split(names).map((name) => {
    const { field } = entries.get(name)
    return [code(field.official), code(name), range(field), defaultOf(field), field.description]
  })
  return [`## ${title}`, text, table(['key', 'TypeScript', 'value', 'default', 'meaning'], rows)]
    .filter((part) => part !== '')
    .join('\n\n')
}

/** The keys in which recipes differ, a column for each recipe; nothing where it is the default. */
function presetTable(entries) {
  const presets = presetNames.map((name) => ({ ...loadPreset(name), name }))
  const rows = [...entries.values()].flatMap(({ part, name, field }) => {
    const values = presets.map((preset) => preset[part][name])
    const differs = (value) => value !== undefined && value !== field.default
    if (!values.some(differs)) return []
    const cells = values.map((value) => (differs(value) ? code(value) : ''))
    return [[code(field.official), defaultOf(field), ...cells]]
  })
  return table(['key', 'default', ...presetNames.map(code)], rows)
}

export function configPage() {
  const entries = new Map(configEntries.map((entry) => [entry.name, entry]))
  const listed = topics.flatMap(({ names }) => split(names))
  const unlisted = [...entries.keys()].filter((name) => !listed.includes(name))
  if (unlisted.length > 0 || listed.length !== entries.size)
    throw new Error(
      `scripts/references/config-page.mjs: expected each key once, got ${listed.length} without ${unlisted}`,
    )
  return `# Configuration

<!-- Written by npm run docs:references from lib/config-fields.ts and presets/; change these. -->

A key has two names: the official one, which \`hrm train key=value\`, \`config.json\` and presets use, and the one of
TypeScript. A key with dots is nested in a file: \`arch.H_cycles\` is \`H_cycles\` inside \`arch\`.

\`\`\`sh
npx hrm train data_path=data/sudoku --preset small arch.H_cycles=3 lr=3e-4 --out runs/mine
\`\`\`

\`\`\`ts
import { Dataset, HRM } from 'hrm-native'

const data = await Dataset.open('data/sudoku')
const { vocabSize, seqLen } = data
const model = await HRM.create({ preset: 'small', vocabSize, seqLen, hCycles: 3 })
await model.train(data, { preset: 'small', lr: 3e-4, checkpoint: { dir: 'runs/mine' } }).done()
\`\`\`

What is given wins over the preset, and the preset over the defaults, which are the official ones; flags of \`hrm train\`
(\`--max-steps\`, \`--ema\`, \`--seed\`, …) win over all. \`hrm train\` starts from the preset \`paper\` unless told otherwise;
in TypeScript the preset of a model and that of a training are chosen separately, and a training without one has the
defaults. An unknown key or a value outside its range is refused before any work (\`ERR_HRM_CONFIG\`), and the nearest key
is named.

${topics.map((entry) => topic(entry, entries)).join('\n\n')}

## Presets

What a preset sets to something else than the default; where a cell is empty, the default holds. What they are for is
in [training](training.md#recipes).

${presetTable(entries)}
`
}
