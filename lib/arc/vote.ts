import { type ArcGrid, gridKey } from './grid.js'

/** An answer that was given, with what speaks for it. */
export interface ArcCandidate {
  grid: ArcGrid
  /** How often it was given, >= 1. */
  votes: number
  /** Mean of sigmoid(q_halt) over these, 0 … 1. */
  meanHalt: number
}

/** The answers to one test input. */
export class ArcBallot {
  readonly #answers = new Map<string, { grid: ArcGrid; votes: number; halt: number }>()

  /** @param qHalt - logit of the Q head for this answer */
  add(grid: ArcGrid, qHalt: number): void {
    const key = gridKey(grid)
    const answer = this.#answers.get(key) ?? { grid, votes: 0, halt: 0 }
    answer.votes++
    answer.halt += 1 / (1 + Math.exp(-qHalt))
    this.#answers.set(key, answer)
  }

  /** Most votes first; of equal votes the higher mean q_halt; of equal ones, what was given first. */
  ranked(): ArcCandidate[] {
    return [...this.#answers.values()]
      .map(({ grid, votes, halt }) => ({ grid, votes, meanHalt: halt / votes }))
      .sort((a, b) => b.votes - a.votes || b.meanHalt - a.meanHalt)
  }
}
