import type { RandomStream } from '../random.js'
import { cell } from './cells.js'
import { distancesFrom, neighbours } from './paths.js'

/** A maze with its only shortest path, [side²] tokens each. */
export interface Maze {
  question: Uint8Array
  answer: Uint8Array
}

/** One wall of so many cells is opened after carving, which closes loops: then the shortest path has rivals. */
const CELLS_PER_LOOP = 60

/** Carves corridors depth first from a random cell, without loops, then opens some walls between them. */
function carve(side: number, random: RandomStream): Uint8Array {
  const maze = new Uint8Array(side * side).fill(cell.wall)
  const openAround = (at: number) => neighbours(side, at).filter((next) => maze[next] === cell.open).length
  const stack = [random.nextBelow(side * side)]
  maze[stack[0]!] = cell.open
  while (stack.length > 0) {
    const ways = neighbours(side, stack.at(-1)!).filter((next) => maze[next] === cell.wall && openAround(next) === 1)
    if (ways.length === 0) stack.pop()
    else {
      const next = ways[random.nextBelow(ways.length)]!
      maze[next] = cell.open
      stack.push(next)
    }
  }
  for (let left = Math.floor((side * side) / CELLS_PER_LOOP); left > 0; left--) {
    const at = random.nextBelow(side * side)
    if (maze[at] === cell.wall && openAround(at) === 2) maze[at] = cell.open
  }
  return maze
}

/**
 * One try at a random maze: corridors with a few loops, S anywhere, G any cell that is at least `minPath` steps away and
 * has one shortest path only; undefined where there is no such cell.
 *
 * @param side - cells of each side, from 2
 * @param minPath - steps from S to G, from 1; the path marks one cell less
 */
export function tryMaze(side: number, minPath: number, random: RandomStream): Maze | undefined {
  const question = carve(side, random)
  const open = [...question.keys()].filter((at) => question[at] === cell.open)
  const start = open[random.nextBelow(open.length)]!
  const { steps, unique } = distancesFrom(side, start, (at) => question[at] !== cell.wall)
  const goals = open.filter((at) => steps[at]! >= minPath && unique[at] === 1)
  if (goals.length === 0) return undefined
  const goal = goals[random.nextBelow(goals.length)]!
  question[start] = cell.start
  question[goal] = cell.goal
  const answer = question.slice()
  const before = (at: number) => neighbours(side, at).find((next) => steps[next] === steps[at]! - 1)!
  for (let at = before(goal); at !== start; at = before(at)) answer[at] = cell.path
  return { question, answer }
}
