// Loaded before a TypeScript block of the documents (`node --import`): models it makes are small, trainings two steps long.
import { HRM, type ModelOptions, type TrainOptions } from 'hrm-native'

const sizes = {
  hiddenSize: 16,
  numHeads: 2,
  hLayers: 1,
  lLayers: 1,
  haltMaxSegments: 2,
} satisfies Partial<ModelOptions>
const recipe = { globalBatchSize: 4, microBatchSize: 0, maxSteps: 2 } satisfies TrainOptions

const create = HRM.create.bind(HRM)
HRM.create = (config, options) => create({ ...config, ...sizes }, options)
// oxlint-disable-next-line typescript/unbound-method
const { train } = HRM.prototype
HRM.prototype.train = function (data, options) {
  return train.call(this, data, { ...options, ...recipe })
}
