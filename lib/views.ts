import { dihedral, dihedralCount, dihedralTransposes } from './dihedral.js'
import { RandomStream } from './random.js'
import { sudokuGeometry, sudokuSizeOfCells, sudokuVocabSize } from './sudoku/geometry.js'
import type { TokenLimits } from './tokens.js'

/** How an example may be changed without changing the problem: other names for its values, or another side up. */
export type ViewKind = 'relabel' | 'dihedral'

export const viewKinds = ['relabel', 'dihedral'] as const satisfies readonly ViewKind[]

/** An invertible change of an example: new[i] = tokens[old[source[i]]]. */
export interface View {
  /** [vocabSize]: the new token of each token, a permutation. */
  tokens: Int32Array
  /** [seqLen]: the old position of each new position, a permutation. */
  source: Int32Array
}

/** What may be changed in the examples of a task. */
interface TaskSymmetries {
  /** Tokens that may change their names with each other. */
  values: readonly number[]
  /** Numbers of the legal symmetries of lib/dihedral.ts, the identity first. */
  turns: readonly number[]
}

const allTurns = Array.from({ length: dihedralCount }, (_, turn) => turn)
const upright = [0]

function range(from: number, to: number): number[] {
  return Array.from({ length: to - from }, (_, i) => from + i)
}

function squareSide(cells: number): number | undefined {
  const side = Math.round(Math.sqrt(cells))
  return side * side === cells ? side : undefined
}

/** What each task allows for a model of these sizes; undefined where the sizes are not the task's. */
const tasks = {
  /** Blank (1) stays; boxes that are not square can be mirrored and turned over, not laid on their side. */
  sudoku({ seqLen, vocabSize }: TokenLimits): TaskSymmetries | undefined {
    const size = sudokuSizeOfCells(seqLen)
    if (size === undefined || vocabSize !== sudokuVocabSize(size)) return undefined
    const { boxRows, boxColumns } = sudokuGeometry(size)
    const turns = boxRows === boxColumns ? allTurns : allTurns.filter((turn) => !dihedralTransposes(turn))
    return { values: range(2, vocabSize), turns }
  },
  /** Start (3) and goal (4) may change places, as a shortest path leads both ways. */
  maze({ seqLen, vocabSize }: TokenLimits): TaskSymmetries | undefined {
    return squareSide(seqLen) === undefined || vocabSize !== 6 ? undefined : { values: [3, 4], turns: allTurns }
  },
  /** Colours but black (2) may change; the border below and to the right of a grid keeps its canvas upright. */
  arc({ seqLen, vocabSize }: TokenLimits): TaskSymmetries | undefined {
    return seqLen !== 900 || vocabSize !== 12 ? undefined : { values: range(3, vocabSize), turns: upright }
  },
  /** Square grids that fill the sequence, or any sequence of values without order: padding (0) stays. */
  grid({ seqLen, vocabSize }: TokenLimits): TaskSymmetries | undefined {
    return { values: range(1, vocabSize), turns: squareSide(seqLen) === undefined ? upright : allTurns }
  },
} as const

/**
 * Tasks whose symmetries are known.
 * @useDeclaredType
 */
export type ViewTask = keyof typeof tasks

export const viewTasks = Object.keys(tasks) as ViewTask[]

/** The views that a model can be shown of examples of a task. */
export class Views {
  /** How many different ones there are, the unchanged example included. */
  readonly count: number
  readonly #values: readonly number[]
  readonly #turns: readonly number[]
  readonly #limits: TokenLimits

  private constructor(values: readonly number[], turns: readonly number[], limits: TokenLimits) {
    this.#values = values
    this.#turns = turns
    this.#limits = limits
    this.count = turns.length * values.reduce((product, _, i) => product * (i + 1), 1)
  }

  /** The unchanged example alone. */
  static none(limits: TokenLimits): Views {
    return new Views([], upright, limits)
  }

  /** The views of these kinds; undefined where the sizes are not the task's. */
  static of(task: ViewTask, kinds: readonly ViewKind[], limits: TokenLimits): Views | undefined {
    const allowed = tasks[task](limits)
    if (!allowed) return undefined
    const { values, turns } = allowed
    return new Views(kinds.includes('relabel') ? values : [], kinds.includes('dihedral') ? turns : upright, limits)
  }

  /**
   * The first `count` views of a seed: the unchanged example, then changed ones, which differ as long as there are any
   * left. More views of the same seed begin with these.
   */
  draw(count: number, seed: number): View[] {
    const drawn = new Set<string>()
    return range(0, count).map((index) => {
      const random = new RandomStream(seed, 'view', index)
      const turn = this.#turns[index % this.#turns.length]!
      for (;;) {
        const tokens = index === 0 ? this.#names() : this.#names(random)
        const key = `${turn} ${tokens.join()}`
        if (drawn.has(key) && index < this.count) continue
        drawn.add(key)
        return { tokens, source: this.#places(turn) }
      }
    })
  }

  #names(random?: RandomStream): Int32Array {
    const names = Int32Array.from({ length: this.#limits.vocabSize }, (_, token) => token)
    const order = random?.permutation(this.#values.length)
    order?.forEach((other, i) => (names[this.#values[i]!] = this.#values[other]!))
    return names
  }

  #places(turn: number): Int32Array {
    const { seqLen } = this.#limits
    if (turn === 0) return Int32Array.from({ length: seqLen }, (_, i) => i)
    const side = squareSide(seqLen)!
    return dihedral(turn, side, side).source
  }
}

/** Shows an example in a view. */
export function applyView({ tokens, source }: View, example: ArrayLike<number>): Int32Array {
  return Int32Array.from(source, (old) => tokens[example[old]!]!)
}

/** The view that undoes a view. */
export function invertView({ tokens, source }: View): View {
  const inverse = (permutation: Int32Array) => {
    const result = new Int32Array(permutation.length)
    permutation.forEach((to, from) => (result[to] = from))
    return result
  }
  return { tokens: inverse(tokens), source: inverse(source) }
}
