import { createHash } from 'node:crypto'
import { existsSync, statSync } from 'node:fs'
import { basename } from 'node:path'
import { buildDataset, type BuildOptions, type BuildResult, checkCount } from '../dataset-build.js'
import type { Split } from '../dataset-files.js'
import type { SplitWriter } from '../dataset-writer.js'
import { HRMError, rangeError } from '../errors.js'
import { RandomStream } from '../random.js'
import { lineError } from '../text-blocks.js'
import { maxTokens, type Value, type Vocabulary } from '../vocabulary.js'
import { type Augmentation, augmented, noAugmentation } from './augment.js'
import { readGridPairs } from './read.js'
import { type GridSurvey, type PlacedPair, surveyPairs } from './survey.js'
import { gridToTokens, tokensByValue } from './tokens.js'

const op = 'grid'

export interface GridBuildOptions extends BuildOptions {
  /** Files of pairs. Those of a `test…` file are for the test split, others for training, unless a pair says. */
  sources: readonly string[]
  /** Share of the pairs that would be for training to test on instead, drawn by the seed. @default 0 */
  val?: number
  /** Whether training pairs are rotated and reflected. @default false */
  dihedral?: boolean
  /** Values that are exchanged among each other in training pairs, by name. @default none */
  permute?: readonly string[] | 'all'
  /** Augmented versions of each training pair, as far as there are different ones. @default 7 with an augmentation, else 0 */
  numAug?: number
}

export interface GridBuildResult extends BuildResult {
  vocabulary: Vocabulary
}

/** The files' pairs with the split each goes to, in order. */
async function* readAll({ sources, signal, onProgress }: GridBuildOptions, phase: string): AsyncGenerator<PlacedPair> {
  for (const path of sources) {
    if (!existsSync(path)) {
      throw new HRMError(
        'ERR_HRM_DATASET',
        `[${op}] expected a file of pairs, got nothing at ${path}; do check the path`,
        { path },
      )
    }
    const total = statSync(path).size
    const onBytes = (done: number) => onProgress?.({ phase: `${phase} ${basename(path)}`, unit: 'bytes', done, total })
    const byName = basename(path).startsWith('test') ? 'test' : undefined
    for await (const pair of readGridPairs(path, onBytes)) {
      signal?.throwIfAborted()
      const place = pair.split ?? byName
      yield { ...pair, path, place: place ?? 'train', named: place !== undefined }
    }
  }
}

async function survey(options: GridBuildOptions): Promise<GridSurvey> {
  const found = await surveyPairs(op, readAll(options, 'survey'))
  if (found !== undefined) return found
  const path = options.sources.join(', ')
  throw new HRMError('ERR_HRM_DATASET', `[${op}] expected at least one pair, got none in ${path}; do check the file`, {
    path,
  })
}

/** Numbers in ascending order, then texts by their code units. */
function inOrder(values: ReadonlySet<Value>): Value[] {
  const numbers = [...values].filter((value) => typeof value === 'number').toSorted((a, b) => a - b)
  const texts = [...values].filter((value) => typeof value === 'string')
  return [...numbers, ...texts.toSorted((a, b) => (a < b ? -1 : 1))]
}

function makeVocabulary(
  { form, rows, columns, values, outputSize, sameSize }: GridSurvey,
  dihedral: boolean,
): Vocabulary {
  if (dihedral && form === 'sequence')
    throw rangeError(`[${op}] expected grids for rotations and reflections, got sequences; do leave dihedral out`)
  const side = Math.max(rows, columns)
  const size = dihedral ? { rows: side, columns: side } : { rows, columns }
  if (size.rows * size.columns > maxTokens) {
    throw new HRMError(
      'ERR_HRM_DATASET',
      `[${op}] expected at most ${maxTokens} cells, got ${size.rows} x ${size.columns} for the largest rows and columns; do cut the grids`,
    )
  }
  const fixed = outputSize !== undefined && (!dihedral || outputSize[0] === outputSize[1])
  const answer = sameSize ? 'input' : fixed ? outputSize : 'padding'
  return { task: 'grid', form, ...size, answer, values: [null, ...inOrder(values)] }
}

/** Tokens of the values named; a name is the text of a string or of a number. */
function tokensNamed(vocabulary: Vocabulary, permute: GridBuildOptions['permute']): number[] {
  if (permute === undefined) return []
  const tokenOf = tokensByValue(vocabulary)
  if (permute === 'all') return [...tokenOf.values()]
  const tokens = permute.flatMap((name) => {
    const found = [...tokenOf].filter(([value]) => String(value) === name).map(([, token]) => token)
    if (found.length > 0) return found
    const known = [...tokenOf.keys()].slice(0, 20).join(', ')
    throw rangeError(`[${op}] expected values of the data to permute, as ${known}, got ${name.slice(0, 60)}`)
  })
  return [...new Set(tokens)]
}

/** Numbers of the unnamed pairs that are held out. */
function heldOut({ pairs, unnamed }: GridSurvey, val: number, seed: number): ReadonlySet<number> {
  if (val === 0) return new Set()
  if (!(val > 0 && val < 1)) throw rangeError(`[${op}] expected val to be a share from 0 to below 1, got ${val}`)
  if (pairs.test > 0) {
    throw rangeError(
      `[${op}] expected no val where files have ${pairs.test} test pairs already, got ${val}; do leave it out`,
    )
  }
  const count = Math.max(1, Math.round(unnamed * val))
  if (count >= unnamed)
    throw rangeError(`[${op}] expected more pairs than the ${count} for validation, got ${unnamed}; do lower val`)
  return new Set(new RandomStream(seed, 'subsample', 1).sample(unnamed, count))
}

function tokenKey(tokens: Int32Array): string {
  return createHash('sha256').update(tokens).digest('base64')
}

/**
 * Builds a dataset of the user's own pairs of grids or sequences. The vocabulary is that of all files, examples are padded
 * to the largest rows and columns. Files are read several times and never held in memory.
 *
 * @throws HRMError ERR_HRM_DATASET naming file and line, or where a split exists; ERR_HRM_IO
 * @throws RangeError ERR_HRM_ARGUMENT where an option does not fit the data
 */
export async function buildGrids(options: GridBuildOptions): Promise<GridBuildResult> {
  const { val = 0, dihedral = false, permute, seed } = options
  const augments = dihedral || permute !== undefined
  const numAug = options.numAug ?? (augments ? 7 : 0)
  checkCount(op, 'num-aug', numAug, 0)
  if (numAug > 0 && !augments)
    throw rangeError(`[${op}] expected num-aug only with an augmentation, got ${numAug}; do choose one`)
  const found = await survey(options)
  const vocabulary = makeVocabulary(found, dihedral)
  const held = heldOut(found, val, seed)
  const augmentation: Augmentation = { dihedral, tokens: tokensNamed(vocabulary, permute), count: numAug }
  const tokenOf = tokensByValue(vocabulary)
  const splits = (['test', 'train'] as const).filter(
    (split) => found.pairs[split] > 0 || (split === 'test' && held.size > 0),
  )
  const fill = async (split: Split, writer: SplitWriter): Promise<void> => {
    let unnamed = 0
    let groups = 0
    for await (const { path, line, input, output, place, named } of readAll(options, `write ${split},`)) {
      const isHeld = !named && held.has(unnamed++)
      if ((isHeld ? 'test' : place) !== split) continue
      const [inputs, labels] = [input, output].map((grid) => gridToTokens(grid, vocabulary, tokenOf))
      if (!(inputs instanceof Int32Array) || !(labels instanceof Int32Array))
        throw lineError(op, path, line, 'the pairs of the first reading', 'others: the file has changed')
      const size = [input, output].map(({ rows }) => [rows.length, rows[0]!.length] as const)
      const example = { inputs, labels, inputSize: size[0]!, labelSize: size[1]! }
      const random = new RandomStream(seed, 'augmentation', groups++)
      const chosen = split === 'train' ? augmentation : noAugmentation
      for (const version of augmented(example, vocabulary.columns, chosen, random)) {
        writer.example(version.inputs, version.labels)
        writer.endPuzzle(0)
      }
      writer.endGroup()
    }
  }
  const built = await buildDataset(options, {
    splits,
    fill,
    vocabulary,
    description: {
      padId: 0,
      // Where padding tells the size of the answer, it is to be learnt.
      ignoreLabelId: vocabulary.answer === 'padding' ? null : 0,
      blankIdentifierId: 0,
      vocabSize: vocabulary.values.length,
      seqLen: vocabulary.rows * vocabulary.columns,
      numPuzzleIdentifiers: 1,
    },
    comparison: { compared: 'inputs', field: 'inputs', quick: tokenKey },
  })
  return { ...built, vocabulary }
}
