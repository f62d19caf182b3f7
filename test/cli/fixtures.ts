import { join } from 'node:path'
import type { Test } from 'tap'
import { RandomStream } from '#dist/random.js'
import { digitsToTokens, generatePuzzle, type SudokuPuzzle } from '#dist/sudoku/index.js'
import { npy, writeSplit } from '../data/fixtures.js'

/** 4x4 puzzles with 4 empty cells, the same ones every time. */
export function puzzles(count: number, from = 0): SudokuPuzzle[] {
  return Array.from({ length: count }, (_, at) => generatePuzzle(4, 4, new RandomStream(0, 'puzzle', from + at)))
}

function split(made: SudokuPuzzle[]): Record<string, Uint8Array | string> {
  const tokens = (grids: Uint8Array[]) =>
    npy(
      '|u1',
      [made.length, 16],
      grids.flatMap((grid) => [...digitsToTokens(grid)]),
    )
  const ends = Array.from({ length: made.length + 1 }, (_, at) => at)
  return {
    'dataset.json': JSON.stringify({
      pad_id: 0,
      ignore_label_id: 0,
      blank_identifier_id: 0,
      vocab_size: 6,
      seq_len: 16,
      num_puzzle_identifiers: 1,
      total_groups: made.length,
      mean_puzzle_examples: 1,
      sets: ['all'],
    }),
    'all__inputs.npy': tokens(made.map(({ puzzle }) => puzzle)),
    'all__labels.npy': tokens(made.map(({ solution }) => solution)),
    'all__puzzle_identifiers.npy': npy(
      '<i4',
      [made.length],
      made.map(() => 0),
    ),
    'all__puzzle_indices.npy': npy('<i4', [ends.length], ends),
    'all__group_indices.npy': npy('<i4', [ends.length], ends),
  }
}

/** A folder with a Sudoku dataset in `data`: 32 puzzles to train on, 9 to test. */
export function sudokuFolder(t: Test): string {
  const folder = t.testdir()
  writeSplit(join(folder, 'data'), 'train', split(puzzles(32)))
  writeSplit(join(folder, 'data'), 'test', split(puzzles(9, 1000)))
  return folder
}

/** Overrides for a model that takes a millisecond a step. */
export const small = [
  'data_path=data',
  'arch.hidden_size=16',
  'arch.num_heads=2',
  'arch.halt_max_steps=3',
  'global_batch_size=8',
  'log_every=1',
]
