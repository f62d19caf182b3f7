import { createHash } from 'node:crypto'
import { existsSync, readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { Command, Option } from 'commander'
import { openCheckpoint, verifyCheckpoint } from '../checkpoint.js'
import { parameterCount, toOfficial } from '../config.js'
import { Dataset } from '../dataset.js'
import { HRMError } from '../errors.js'
import { type Comparison, findLeaks, type LeakReport } from '../leaks.js'
import type { TensorFile } from '../model-source.js'
import { NpyArray } from '../npy.js'
import { looksLikePyTorch, PyTorchFile } from '../pytorch/pytorch-file.js'
import { type RenderOptions, renderOptions, sideBySide, table } from '../render/text.js'
import { drawTokens } from '../render/tokens.js'
import { readSafetensors } from '../safetensors.js'
import type { Vocabulary } from '../vocabulary.js'
import { scoreTable } from './eval.js'
import { loading } from './exit.js'
import { puzzleFileKinds } from './inspect-puzzles.js'
import { integerOption } from './options.js'
import { formatCount, print, printJson } from './output.js'
import { type TaskFormat, taskFormat } from './task-format.js'

interface InspectOptions {
  json?: boolean
  as?: string
  examples: number
}

/** What was found: for people as lines, for programs as values. */
interface Finding {
  lines: string[]
  json: Record<string, unknown>
}

/** Rows shown of a .npy file. */
const SHOWN_ROWS = 3

/** The tensors of a file as lines and as values. */
function tensorFinding(kind: string, path: string, file: TensorFile, metadata: Record<string, string>): Finding {
  const tensors = file.names().map((name) => ({ name, ...file.info(name) }))
  const elements = tensors.reduce((sum, { shape }) => sum + shape.reduce((product, extent) => product * extent, 1), 0)
  const rows = tensors.map(({ name, dtype, shape }) => [name, dtype, `[${shape.join(', ')}]`])
  return {
    lines: [
      `${path}: ${tensors.length} tensors, ${formatCount(elements)} elements`,
      ...Object.entries(metadata).map(([key, value]) => `${key}: ${value}`),
      ...table(['tensor', 'dtype', 'shape'], rows),
    ],
    json: { kind, path, metadata, elements, tensors },
  }
}

async function inspectTensors(path: string): Promise<Finding> {
  const file = await readSafetensors(path)
  try {
    return tensorFinding('safetensors', path, file, Object.fromEntries(file.metadata))
  } finally {
    await file.close()
  }
}

async function inspectPyTorch(path: string): Promise<Finding> {
  const file = await PyTorchFile.open(path)
  try {
    await file.verify()
    return tensorFinding('pt', path, file, {})
  } finally {
    file.close()
  }
}

async function inspectArray(path: string): Promise<Finding> {
  const array = await NpyArray.open(path)
  try {
    const { dtype, shape, length, rowLength } = array
    const rows = Array.from({ length: Math.min(SHOWN_ROWS, length) }, (_, row) => {
      const values = new Int32Array(rowLength)
      array.readRange(row, row + 1, values)
      return [...values]
    })
    return {
      lines: [`${path}: ${dtype} [${shape.join(', ')}]`, ...rows.map((row) => row.join(' '))],
      json: { kind: 'npy', path, dtype, shape, rows },
    }
  } finally {
    array.close()
  }
}

/** Lines of an official configuration: `arch.H_cycles = 2`. */
function configLines(node: object, prefix = ''): string[] {
  return Object.entries(node).flatMap(([key, value]) => {
    const isGroup = typeof value === 'object' && value !== null && !Array.isArray(value)
    return isGroup ? configLines(value, `${prefix}${key}.`) : [`  ${prefix}${key} = ${JSON.stringify(value)}`]
  })
}

async function inspectCheckpoint(path: string): Promise<Finding> {
  const { dir, config, model, trainer, evaluation } = await loading(openCheckpoint(path))
  const hashed = (await verifyCheckpoint(dir)) !== undefined
  const tensors = await inspectTensors(join(dir, 'model.safetensors'))
  const official = toOfficial({ ...config, model })
  const parameters = parameterCount(model)
  const step = trainer?.step ?? null
  return {
    lines: [
      `${dir}: checkpoint${step === null ? '' : ` of step ${formatCount(step)} of ${formatCount(trainer!.totalSteps)}`}`,
      `${formatCount(parameters)} trainable parameters`,
      hashed ? 'hashes: every file is as it was saved' : 'hashes: none, an imported checkpoint',
      trainer ? 'a run can go on from here: hrm train --resume' : 'holds no trainer state',
      ...(evaluation ? ['', ...scoreTable(evaluation.sets)] : []),
      ...(evaluation?.emaSets ? ['averaged weights:', ...scoreTable(evaluation.emaSets)] : []),
      '',
      'config',
      ...configLines(official),
      '',
      ...tensors.lines,
    ],
    json: {
      kind: 'checkpoint',
      path: dir,
      step,
      parameters,
      hashed,
      config: official,
      evaluation: evaluation ?? null,
      tensors: tensors.json['tensors'],
    },
  }
}

function drawExample(
  inputs: Int32Array,
  labels: Int32Array,
  format: TaskFormat | undefined,
  render: RenderOptions,
): string[] {
  if (!format) return sideBySide([drawTokens(inputs), ['->'], drawTokens(labels)], render.columns)
  const answer = labels.map((label) => Math.max(0, label))
  return sideBySide([format.draw(render, inputs), format.draw(render, inputs, answer)], render.columns)
}

/** Test inputs that also occur in training; undefined where there is only one split. */
async function findShared(dataset: Dataset): Promise<LeakReport | undefined> {
  if (dataset.splits.length < 2) return undefined
  const digest = (tokens: Int32Array) => createHash('sha256').update(tokens).digest('base64')
  const comparison: Comparison = { compared: 'inputs', field: 'inputs', quick: digest }
  return findLeaks(dataset.sets('test'), dataset.sets('train'), comparison)
}

function sharedLine({ leaked, testExamples, firstLeaked }: LeakReport): string {
  const first = leaked > 0 ? `, first ${firstLeaked.join(', ')}` : ''
  return `${formatCount(leaked)} of ${formatCount(testExamples)} test inputs also occur in train${first}`
}

/** Values shown of a vocabulary. */
const SHOWN_VALUES = 40

function vocabularyLines({ task, form, rows, columns, answer, values }: Vocabulary): string[] {
  const size = form === 'sequence' ? `sequences of at most ${columns}` : `grids of at most ${rows} x ${columns}`
  const sizes = { input: 'as large as their inputs', padding: 'of any size' }
  const answers = typeof answer === 'string' ? sizes[answer] : `of ${answer.join(' x ')}`
  const shown = values.slice(1, SHOWN_VALUES + 1).map((value) => JSON.stringify(value))
  const more = values.length > shown.length + 1 ? ` and ${formatCount(values.length - 1 - shown.length)} more` : ''
  return [`${task}: ${size}, answers ${answers}`, `values from token 1: ${shown.join(' ')}${more}`]
}

async function inspectDataset(path: string, examples: number, render: RenderOptions): Promise<Finding> {
  const dataset = await Dataset.open(path)
  try {
    const { vocabSize, seqLen, numPuzzleIdentifiers } = dataset
    const vocabulary = dataset.vocabulary()
    const format = taskFormat({ vocabSize, seqLen }, vocabulary)
    const hash = await dataset.hash()
    const shared = await findShared(dataset)
    const sets = dataset.splits.flatMap((split) =>
      dataset
        .sets(split)
        .map(({ name, numGroups, numPuzzles, numExamples }) => ({ split, name, numGroups, numPuzzles, numExamples })),
    )
    const rows = sets.map((set) => [
      set.split,
      set.name,
      ...[set.numGroups, set.numPuzzles, set.numExamples].map(formatCount),
    ])
    const drawn = sets.flatMap(({ split, name, numExamples }) =>
      Array.from({ length: Math.min(examples, numExamples) }, (_, at) => {
        const { inputs, labels, puzzleId } = dataset.example(split, name, at)
        return [
          '',
          `${split} ${name} example ${at}, puzzle identifier ${puzzleId}`,
          ...drawExample(inputs, labels, format, render),
        ]
      }).flat(),
    )
    return {
      lines: [
        `${path}: dataset of ${seqLen} tokens, vocabulary ${vocabSize}, ${formatCount(numPuzzleIdentifiers)} puzzle identifiers`,
        `SHA-256 ${hash}`,
        ...(vocabulary ? vocabularyLines(vocabulary) : []),
        ...table(['split', 'set', 'groups', 'puzzles', 'examples'], rows),
        ...(shared ? [sharedLine(shared)] : []),
        ...drawn,
      ],
      json: {
        kind: 'dataset',
        path,
        hash,
        metadata: Object.fromEntries(dataset.splits.map((split) => [split, dataset.metadata(split)])),
        sets,
        vocabulary: vocabulary ?? null,
        shared: shared ?? null,
      },
    }
  } finally {
    dataset.close()
  }
}

async function inspectArc(path: string): Promise<Finding> {
  const { readArcFile } = await import('../arc/read.js')
  const tasks = readArcFile(path)
  const tests = tasks.flatMap(({ test }) => test)
  const counts = {
    tasks: tasks.length,
    trainPairs: tasks.reduce((sum, { train }) => sum + train.length, 0),
    testPairs: tests.length,
    withoutOutput: tests.filter(({ output }) => output === undefined).length,
  }
  const [taskCount, trainPairs, testPairs, withoutOutput] = Object.values(counts).map(formatCount)
  const open = counts.withoutOutput > 0 ? `, of them ${withoutOutput} without output` : ''
  return {
    lines: [`${path}: ARC, ${taskCount} tasks, ${trainPairs} demonstrations, ${testPairs} tests${open}`],
    json: { kind: 'arc', path, ...counts },
  }
}

/** Something that can be inspected. */
export interface Kind {
  /** Whether a path looks like it; `names` are the entries of a folder. */
  fits: (path: string, names: ReadonlySet<string> | undefined) => boolean
  inspect: (path: string, examples: number, render: RenderOptions) => Promise<Finding>
}

const kinds: Readonly<Record<string, Kind>> = {
  checkpoint: {
    fits: (_, names) => names !== undefined && (names.has('config.json') || names.has('latest')),
    inspect: inspectCheckpoint,
  },
  dataset: {
    fits: (_, names) => names !== undefined && (names.has('train') || names.has('test')),
    inspect: inspectDataset,
  },
  safetensors: { fits: (path, names) => !names && path.endsWith('.safetensors'), inspect: inspectTensors },
  pt: { fits: (path, names) => !names && looksLikePyTorch(path), inspect: inspectPyTorch },
  npy: { fits: (path, names) => !names && path.endsWith('.npy'), inspect: inspectArray },
  arc: { fits: (path, names) => !names && /\.json(\.gz)?$/i.test(path), inspect: inspectArc },
  ...puzzleFileKinds,
}

/** The kind asked for, or the one that a path looks like. */
function kindOf(path: string, as: string | undefined): Kind {
  const folder = existsSync(path) && statSync(path).isDirectory()
  const got = existsSync(path) ? (folder ? 'another folder' : 'another file') : 'nothing'
  const names = folder ? new Set(readdirSync(path)) : undefined
  const guess = () => Object.values(kinds).find(({ fits }) => fits(path, names))
  const kind = got === 'nothing' ? undefined : as === undefined ? guess() : kinds[as]
  if (kind) return kind
  throw new HRMError(
    'ERR_HRM_DATASET',
    `[inspect] expected a checkpoint, run or dataset folder, or a PyTorch, .npy, .safetensors, .json, .jsonl or .csv file, got ${got} at ${path}; check the path or say what it is with --as`,
    { path },
  )
}

/** `hrm inspect` */
export function inspectCommand(): Command {
  return new Command('inspect')
    .description(
      'Shows what a checkpoint or run folder, a dataset folder, a PyTorch, .npy or .safetensors file, a JSON file of ARC tasks ' +
        'or a file of Sudokus, mazes or own pairs holds. Files are read whole; exit 3 where one is malformed.',
    )
    .argument('<path>', 'folder or file')
    .addOption(integerOption('--examples <n>', 'examples drawn of each set of a dataset', 0).default(2))
    .addOption(new Option('--as <kind>', 'what it is (default: guessed)').choices(Object.keys(kinds)))
    .option('--json', 'print one JSON line')
    .action(async (path: string, { json, examples, as }: InspectOptions) => {
      const finding = await kindOf(path, as).inspect(path, examples, renderOptions(process.stdout))
      if (json) printJson({ type: 'result', ...finding.json })
      else print(...finding.lines)
    })
}
