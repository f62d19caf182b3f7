import { closeSync, openSync, readSync } from 'node:fs'
import type { Kind } from './inspect.js'
import { formatCount } from './output.js'

/** Bytes at the beginning of a CSV file that tell what it holds. */
const HEAD_BYTES = 4096

type PuzzleCsv = 'sudoku-csv' | 'maze-csv' | 'grid-csv'

/** What a CSV file looks like, by its header and first row. */
function guessCsv(path: string): PuzzleCsv {
  const file = openSync(path, 'r')
  try {
    const bytes = Buffer.alloc(HEAD_BYTES)
    const head = bytes.toString('latin1', 0, readSync(file, bytes))
    if (/[.0-9]{81}/.test(head)) return 'sudoku-csv'
    return /^[^\n]*\b(question|answer)\b/.test(head) || /[# SGo]{100}/.test(head) ? 'maze-csv' : 'grid-csv'
  } finally {
    closeSync(file)
  }
}

function csvKind(name: PuzzleCsv, inspect: Kind['inspect']): Kind {
  return { fits: (path, names) => !names && /\.csv$/i.test(path) && guessCsv(path) === name, inspect }
}

const inspectSudokus: Kind['inspect'] = async (path) => {
  const { readSudokuCsv } = await import('../sudoku/csv.js')
  let puzzles = 0
  for await (const _ of readSudokuCsv(path)) puzzles++
  return {
    lines: [`${path}: ${formatCount(puzzles)} Sudokus with their solutions`],
    json: { kind: 'sudoku-csv', path, puzzles },
  }
}

const inspectMazes: Kind['inspect'] = async (path) => {
  const { readMazeCsv } = await import('../maze/csv.js')
  const found = { puzzles: 0, size: 0, notShortest: 0, ambiguous: 0 }
  for await (const { side, shortest, unique } of readMazeCsv(path)) {
    found.puzzles++
    found.size = side
    if (!shortest) found.notShortest++
    if (!unique) found.ambiguous++
  }
  const [puzzles, notShortest, ambiguous] = [found.puzzles, found.notShortest, found.ambiguous].map(formatCount)
  return {
    lines: [
      `${path}: ${puzzles} mazes of ${found.size} x ${found.size} cells with their paths`,
      `${notShortest} paths are not the shortest, ${ambiguous} mazes have several shortest ones`,
    ],
    json: { kind: 'maze-csv', path, ...found },
  }
}

function inspectGrids(format: 'csv' | 'jsonl'): Kind['inspect'] {
  return async (path) => {
    const { readGridPairs, surveyPairs } = await import('../grid/index.js')
    const placed = async function* () {
      for await (const pair of readGridPairs(path, undefined, format))
        yield { ...pair, path, place: pair.split ?? ('train' as const), named: pair.split !== undefined }
    }
    const found = await surveyPairs('inspect', placed())
    const kind = `grid-${format}`
    if (found === undefined) return { lines: [`${path}: no pairs`], json: { kind, path, pairs: 0 } }
    const { form, rows, columns, sameSize } = found
    const pairs = found.pairs.train + found.pairs.test
    const size = form === 'sequence' ? `${columns}` : `${rows} x ${columns}`
    const outputs = sameSize ? 'each as large as its input' : 'of other sizes than inputs'
    return {
      lines: [
        `${path}: ${formatCount(pairs)} pairs of ${form}s of at most ${size} values, outputs ${outputs}`,
        `${formatCount(found.values.size)} different values, ${formatCount(found.pairs.test)} pairs marked for testing`,
      ],
      json: { kind, path, pairs, form, rows, columns, sameSize, values: found.values.size, test: found.pairs.test },
    }
  }
}

/** Files of puzzles and pairs, each read whole. */
export const puzzleFileKinds: Readonly<Record<string, Kind>> = {
  'sudoku-csv': csvKind('sudoku-csv', inspectSudokus),
  'maze-csv': csvKind('maze-csv', inspectMazes),
  'grid-csv': csvKind('grid-csv', inspectGrids('csv')),
  'grid-jsonl': { fits: (path, names) => !names && /\.(jsonl|ndjson)$/i.test(path), inspect: inspectGrids('jsonl') },
}
