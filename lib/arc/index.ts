export {
  type ArcAugmentation,
  type ArcVersion,
  augmentedName,
  augmentGrid,
  parseAugmentedName,
  undoAugmentation,
} from './augment.js'
export { type ArcBuildOptions, type ArcBuildResult, buildArc } from './build.js'
export { arcSeqLen, arcVocabSize, cropGrid, encodeGrid } from './encode.js'
export { ArcEvaluation, type ArcPass, type ArcScores, type ArcSubmission, officialAttempts } from './evaluate.js'
export { type ArcGrid, type ArcPair, type ArcTask, gridRows } from './grid.js'
export { readArcFile } from './read.js'
