export {
  buildGeneratedMazes,
  buildMazesFromCsv,
  type CsvMazeOptions,
  type GeneratedMazeOptions,
  type MazeBuildResult,
} from './build.js'
export { mazeCharacters, mazeSide, mazeText, mazeTokens, mazeVocabSize } from './cells.js'
export { type MazeRow, readMazeCsv } from './csv.js'
export { type Maze, tryMaze } from './generator.js'
export { verifyMaze } from './paths.js'
