import type { NativeConfig } from '#dist/native.js'
import { resolveModelConfig } from '#dist/config.js'

const base = {
  preset: 'tiny',
  vocabSize: 7,
  seqLen: 9,
  hiddenSize: 32,
  numHeads: 2,
  hLayers: 1,
  lLayers: 2,
  numPuzzleIdentifiers: 3,
} as const

/** Small models that together take every branch of the export. */
export const smallModels: readonly { name: string; config: NativeConfig }[] = [
  { name: 'rotary positions, one puzzle position', config: resolveModelConfig(base) },
  {
    name: 'learned positions, a puzzle embedding that fills half of its second position',
    config: resolveModelConfig({ ...base, posEncodings: 'learned', puzzleEmbNdim: 48, hCycles: 1, lCycles: 3 }),
  },
  {
    name: 'no puzzle embedding, other constants',
    config: resolveModelConfig({ ...base, puzzleEmbNdim: 0, ropeTheta: 500, rmsNormEps: 1e-2, hCycles: 3, lCycles: 1 }),
  },
]
