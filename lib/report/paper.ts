import { type Dataset, type DatasetSet, emptyBatch } from '../dataset.js'
import { cell, isOfficialMaze } from '../maze/cells.js'
import { findEnds, shortestPath } from '../maze/paths.js'
import { knownTask } from '../task.js'
import type { PaperFigure } from './data.js'

/** Exact accuracies that the paper (arXiv 2506.21734) reports for 1,000 training examples each, ARC with its own ones. */
export const paperFigures = {
  'sudoku-extreme': { task: 'Sudoku-Extreme', exact: 0.55, measure: null },
  'maze-hard': { task: 'Maze-Hard', exact: 0.745, measure: null },
  'arc-1': { task: 'ARC-AGI-1', exact: 0.403, measure: 'tasks solved by two answers, voted over 1,000 augmentations' },
  'arc-2': { task: 'ARC-AGI-2', exact: 0.05, measure: 'tasks solved by two answers, voted over 1,000 augmentations' },
} as const satisfies Record<string, PaperFigure>

export type PaperTask = keyof typeof paperFigures

/** Test puzzles of Sudoku-Extreme, and test mazes of Maze-Hard. */
const TEST_SUDOKUS = 422_786
const TEST_MAZES = 1000

/** Evaluation tasks of ARC-AGI-1 and ARC-AGI-2. */
const arcTasks: Readonly<Record<number, PaperTask>> = { 400: 'arc-1', 120: 'arc-2' }

/** Cells marked on the shortest path of a hard maze: 110 steps. */
const LEAST_MARKED = 109

/**
 * Whether mazes are those of Maze-Hard: every path is long, and some mazes have several shortest ones, as those that
 * `hrm data maze --generate` makes never do.
 */
function areHardMazes(set: DatasetSet): boolean {
  const side = Math.sqrt(set.metadata.seqLen)
  const batch = emptyBatch(1, set.metadata)
  let ambiguous = false
  for (let example = 0; example < set.numExamples; example++) {
    set.readExamples([example], [set.puzzleOf(example)], batch)
    if (batch.labels.filter((token) => token === cell.path).length < LEAST_MARKED) return false
    if (ambiguous) continue
    const ends = findEnds(batch.inputs)
    if ('reason' in ends) return false
    ambiguous = shortestPath(side, batch.inputs, ends)?.unique === false
  }
  return ambiguous
}

/** The task of the paper that a dataset is, by what only the official data has; undefined for all other data. */
export function paperTask(dataset: Dataset): PaperTask | undefined {
  if (!dataset.splits.includes('test')) return undefined
  const sets = dataset.sets('test')
  const examples = sets.reduce((sum, set) => sum + set.numExamples, 0)
  const known = knownTask(dataset, dataset.vocabulary())
  if (known?.task === 'sudoku' && known.size === 9 && examples === TEST_SUDOKUS) return 'sudoku-extreme'
  if (known?.task === 'maze' && isOfficialMaze(dataset) && sets.length === 1 && examples === TEST_MAZES)
    return areHardMazes(sets[0]!) ? 'maze-hard' : undefined
  return known?.task === 'arc' ? arcTasks[dataset.metadata('test').totalGroups] : undefined
}
