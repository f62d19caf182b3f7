export { buildGrids, type GridBuildOptions, type GridBuildResult } from './build.js'
export { type Grid, gridFromJson } from './grid.js'
export { type GridPair, readGridPairs } from './read.js'
export { decodeAnswer, decodeInput, type Decoded, gridToTokens, tokensByValue, valuesToJson } from './tokens.js'
