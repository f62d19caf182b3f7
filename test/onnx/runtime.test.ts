import t from 'tap'
import { findOnnxRuntime } from '../../bench/onnxruntime.js'
import { exportError } from '../../bench/peer-model.js'
import { smallModels } from '../../bench/small-models.js'

const runtime = findOnnxRuntime()
const skip = runtime ? false : 'onnxruntime-node is not installed: npm run bench -- peers --check installs it'

for (const { name, config } of smallModels) {
  t.test(`the export computes what the engine computes: ${name}`, { skip }, async (t) => {
    t.ok((await exportError(runtime!, config, 3, config.haltMaxSegments)) <= 1e-5)
  })
}
