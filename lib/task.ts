import { arcSeqLen, arcVocabSize } from './arc/encode.js'
import { isOfficialMaze, mazeSide, mazeVocabSize } from './maze/cells.js'
import { sudokuSizeOfCells, type SudokuSize, sudokuVocabSize } from './sudoku/geometry.js'
import type { Vocabulary } from './vocabulary.js'

/** Tokens of an example, and tokens there are. */
export interface TaskSizes {
  seqLen: number
  vocabSize: number
}

/** What the tokens of a model or dataset are. */
export type KnownTask =
  | { task: 'sudoku'; size: SudokuSize }
  | { task: 'maze'; side: number }
  | { task: 'arc' }
  | { task: 'grid'; vocabulary: Vocabulary }

/**
 * The task of a model or dataset, by its vocabulary where it has one, else by its sizes; undefined where these say
 * nothing, or another task than the one asked for.
 */
export function knownTask(
  { seqLen, vocabSize }: TaskSizes,
  vocabulary: Vocabulary | undefined,
  asked?: KnownTask['task'],
): KnownTask | undefined {
  const wanted = (task: KnownTask['task']) => asked === undefined || asked === task
  if (vocabulary !== undefined) {
    if (!wanted(vocabulary.task)) return undefined
    return vocabulary.task === 'grid' ? { task: 'grid', vocabulary } : { task: 'maze', side: Math.sqrt(seqLen) }
  }
  const size = sudokuSizeOfCells(seqLen)
  if (size !== undefined && sudokuVocabSize(size) === vocabSize && wanted('sudoku')) return { task: 'sudoku', size }
  if (seqLen === arcSeqLen && vocabSize === arcVocabSize && wanted('arc')) return { task: 'arc' }
  // Mazes of other sizes have the sizes of much else, so they must be asked for.
  const maze =
    asked === 'maze' ? vocabSize === mazeVocabSize && mazeSide(seqLen) : isOfficialMaze({ seqLen, vocabSize })
  return maze && wanted('maze') ? { task: 'maze', side: Math.sqrt(seqLen) } : undefined
}
