import { cell } from './cells.js'

/** Shortest ways from one cell to all others over cells that are not walls. */
export interface Distances {
  /** [side²] steps, -1 where there is no way. */
  steps: Int32Array
  /** [side²] whether there is exactly one shortest way. */
  unique: Uint8Array
}

/** @param passable - whether a cell may be walked on, by its number */
export function distancesFrom(side: number, from: number, passable: (at: number) => boolean): Distances {
  const steps = new Int32Array(side * side).fill(-1)
  const unique = new Uint8Array(side * side)
  const queue = new Int32Array(side * side)
  steps[from] = 0
  unique[from] = 1
  queue[0] = from
  for (let head = 0, tail = 1; head < tail; head++) {
    const at = queue[head]!
    for (const next of neighbours(side, at)) {
      if (!passable(next)) continue
      if (steps[next] === -1) {
        steps[next] = steps[at]! + 1
        unique[next] = unique[at]!
        queue[tail++] = next
      } else if (steps[next] === steps[at]! + 1) unique[next] = 0
    }
  }
  return { steps, unique }
}

/** Cells above, left, right and below. */
export function neighbours(side: number, at: number): number[] {
  const column = at % side
  const found: number[] = []
  if (at >= side) found.push(at - side)
  if (column > 0) found.push(at - 1)
  if (column < side - 1) found.push(at + 1)
  if (at < side * (side - 1)) found.push(at + side)
  return found
}

/** Where S and G stand. */
export interface Ends {
  start: number
  goal: number
}

/** The ends of a maze without answer, or what keeps it from being one. */
export function findEnds(maze: ArrayLike<number>): Ends | { reason: string } {
  const ends = { start: -1, goal: -1 }
  for (let at = 0; at < maze.length; at++) {
    const token = maze[at]
    if (token === cell.wall || token === cell.open) continue
    const end = token === cell.start ? 'start' : token === cell.goal ? 'goal' : undefined
    if (end === undefined) return { reason: `no cell of a question at position ${at}` }
    if (ends[end] >= 0) return { reason: `a second ${end === 'start' ? 'S' : 'G'} at position ${at}` }
    ends[end] = at
  }
  if (ends.start < 0 || ends.goal < 0) return { reason: `no ${ends.start < 0 ? 'S' : 'G'}` }
  return ends
}

/**
 * Follows the marked cells of an answer from S to G.
 *
 * @param maze - [side²] tokens of the question, `ends` its S and G
 * @param answer - [side²] tokens
 * @returns the steps of the path, or what is wrong: a cell that is not the question's, cells that do not lead to G, or
 * marked cells beside the path
 */
export function followPath(
  side: number,
  maze: ArrayLike<number>,
  { start, goal }: Ends,
  answer: ArrayLike<number>,
): { steps: number } | { reason: string } {
  let marked = 0
  for (let at = 0; at < maze.length; at++) {
    if (answer[at] === cell.path && maze[at] === cell.open) marked++
    else if (answer[at] !== maze[at])
      return {
        reason: `another cell than the question's in row ${Math.floor(at / side) + 1}, column ${(at % side) + 1}`,
      }
  }
  const { steps } = distancesFrom(side, start, (at) => answer[at] === cell.path || at === goal)
  if (steps[goal]! < 0) return { reason: 'marked cells that do not lead from S to G' }
  if (marked !== steps[goal]! - 1) return { reason: 'marked cells beside the path' }
  return { steps: steps[goal]! }
}

/** The length of the shortest path from S to G, and whether there is only one; undefined where there is none. */
export function shortestPath(
  side: number,
  maze: ArrayLike<number>,
  { start, goal }: Ends,
): { steps: number; unique: boolean } | undefined {
  const { steps, unique } = distancesFrom(side, start, (at) => maze[at] !== cell.wall)
  return steps[goal]! < 0 ? undefined : { steps: steps[goal]!, unique: unique[goal] === 1 }
}

/**
 * Whether an answer solves a maze: the question's cells, and marks that are exactly a shortest path from S to G.
 *
 * @param maze - [side²] tokens of the question
 * @param answer - [side²] tokens, any numbers
 */
export function verifyMaze(
  side: number,
  maze: ArrayLike<number>,
  answer: ArrayLike<number>,
): { valid: true } | { valid: false; reason: string } {
  const ends = findEnds(maze)
  if ('reason' in ends) return { valid: false, reason: `the question has ${ends.reason}` }
  const path = followPath(side, maze, ends, answer)
  if ('reason' in path) return { valid: false, reason: path.reason }
  const { steps } = shortestPath(side, maze, ends)!
  return path.steps === steps
    ? { valid: true }
    : { valid: false, reason: `a path of ${path.steps} steps where ${steps} are enough` }
}
