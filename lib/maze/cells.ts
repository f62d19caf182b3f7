/** Characters of a maze in the order of their tokens, from 1; 0 is padding. */
export const mazeCharacters = '# SGo'

/** Tokens of the cells of a maze. */
export const cell = { pad: 0, wall: 1, open: 2, start: 3, goal: 4, path: 5 } as const

export const mazeVocabSize = mazeCharacters.length + 1

/** The side of a square maze of so many cells, from 2; undefined where there is none. */
export function mazeSide(cells: number): number | undefined {
  const side = Math.round(Math.sqrt(cells))
  return side >= 2 && side * side === cells ? side : undefined
}

/** Tokens of a maze written as characters row by row; undefined where another character occurs. */
export function mazeTokens(text: string): Uint8Array | undefined {
  const tokens = new Uint8Array(text.length)
  for (let at = 0; at < text.length; at++) {
    const token = mazeCharacters.indexOf(text[at]!) + 1
    if (token === cell.pad) return undefined
    tokens[at] = token
  }
  return tokens
}

/** The characters of tokens, `?` for what is no cell. */
export function mazeText(tokens: ArrayLike<number>): string {
  return Array.from(tokens, (token) => mazeCharacters[token - 1] ?? '?').join('')
}

/** Whether a dataset or model without a vocabulary of its own has the sizes of the official mazes. */
export function isOfficialMaze({ vocabSize, seqLen }: { vocabSize: number; seqLen: number }): boolean {
  return vocabSize === mazeVocabSize && seqLen === 900
}

/** Whether an answer may have this cell: the question's own, or a path over open cells. */
export function isAllowedCell(asked: number, answered: number): boolean {
  return answered === asked || (answered === cell.path && asked === cell.open)
}
