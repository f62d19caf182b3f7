import { puzzlePositions, resolveModelConfig } from './config.js'
import type { CheckpointContent } from './checkpoint.js'
import type { EvalSets } from './evaluate.js'
import type { SafetensorsInfo } from './safetensors.js'

function percent(value: number | null): string {
  return value === null ? 'none' : `${(100 * value).toFixed(2)} %`
}

function scores(title: string, sets: EvalSets): string[] {
  return [
    '',
    `| ${title} | examples | exact accuracy | token accuracy |`,
    '|---|---|---|---|',
    ...Object.entries(sets).map(
      ([name, { count, exact_accuracy, accuracy }]) =>
        `| ${name} | ${count} | ${percent(exact_accuracy)} | ${percent(accuracy)} |`,
    ),
  ]
}

/** The text of `README.md` in a checkpoint folder. */
export function modelCard(
  { config, trainer, evaluation }: CheckpointContent,
  tensors: readonly SafetensorsInfo[],
): string {
  const model = resolveModelConfig(config.model)
  const values = tensors.reduce((sum, { shape }) => sum + shape.reduce((product, extent) => product * extent, 1), 0)
  const lines = [
    '# Hierarchical Reasoning Model',
    '',
    `Saved by hrm-native. ${values} values in ${tensors.length} tensors, with the official names.`,
    '',
    `- vocabulary ${model.vocabSize}, ${model.seqLen} tokens per sequence, ${puzzlePositions(model)} puzzle positions, ` +
      `${model.numPuzzleIdentifiers} puzzle identifiers`,
    `- hidden size ${model.hiddenSize}, ${model.numHeads} heads, ${model.hLayers} + ${model.lLayers} layers, ` +
      `${model.hCycles} x ${model.lCycles} cycles, at most ${model.haltMaxSegments} segments`,
  ]
  if (config.run.dataPath) lines.push(`- trained on ${config.run.dataPath}, SHA-256 ${config.run.dataHash}`)
  if (trainer) lines.push(`- step ${trainer.step} of ${trainer.totalSteps}`)
  if (evaluation) {
    lines.push(...scores('trained weights', evaluation.sets))
    if (evaluation.emaSets) lines.push(...scores('averaged weights', evaluation.emaSets))
  }
  lines.push('', '```ts', "import { HRM } from 'hrm-native'", "const model = await HRM.load('this folder')", '```', '')
  return lines.join('\n')
}
