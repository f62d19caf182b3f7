// npm run bench -- act CHECKPOINT DATASET [--max-segments 16] [--batch 32] [--threads 1] [--max-examples N]
// Fixed segments against halting q on the test split, with the averaged and the trained weights and in every precision
// of this build: one JSON line a setting, and all of them in the last one.
import { cpus } from 'node:os'
import { isDeepStrictEqual, parseArgs } from 'node:util'
import { summarise } from '#dist/bench/statistics.js'
import { loadWeights, openCheckpoint, stateHash } from '#dist/checkpoint.js'
import { wilsonInterval } from '#dist/wilson.js'
import type { ModelConfig } from '#dist/config.js'
import { Dataset, type Example } from '#dist/dataset.js'
import { resolveDevice } from '#dist/devices.js'
import { Engine, type Session } from '#dist/engine.js'
import { HRMError } from '#dist/errors.js'
import type { Weights } from '#dist/evaluate.js'
import { EvalSums } from '#dist/metrics.js'
import { native, type NativeSegmentOptions, type NativeSegmentResult } from '#dist/native.js'
import { type Halting, Solver, type SolveResult } from '#dist/solver.js'

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    'max-segments': { type: 'string', default: '16' },
    batch: { type: 'string', default: '32' },
    threads: { type: 'string', default: '1' },
    'max-examples': { type: 'string', default: '1000000' },
  },
})
const [checkpointPath, datasetPath] = positionals
if (checkpointPath === undefined || datasetPath === undefined) {
  console.error('bench: expected CHECKPOINT DATASET')
  process.exit(2)
}
const maxSegments = Number(options['max-segments'])
const maxBatch = Number(options.batch)
const threads = Number(options.threads)

/** Settings take turns on slices of the examples, so that all see the machine alike. */
const slices = 5
/** Segments between two looks at the speed of bare ones, and as many of these. */
const blockSegments = 16
/** Examples that are solved alone as well. */
const aloneExamples = 100

/** Times the segments of a solver, and between blocks of them bare ones: queued at once, without a single refilling. */
class TimedEngine extends Engine {
  insideMs = 0
  outsideMs = 0
  bareMs = 0
  segments = 0
  /** Time of a segment of the refilled loop, all included, over that of a bare one; for blocks with all slots busy. */
  readonly ratios: number[] = []
  readonly #config: ModelConfig
  #returned: number | undefined
  #block: { begin: number; bareMs: number; segments: number } | undefined

  constructor(engine: ConstructorParameters<typeof Engine>[0], config: ModelConfig) {
    super(engine)
    this.#config = config
  }

  /** Between two solves: the time until the next one is no overhead. */
  rest(): void {
    this.#returned = undefined
    this.#block = undefined
  }

  override async openSession(op: string, capacity: number): Promise<Session> {
    const session = await super.openSession(op, capacity)
    const bare = await super.openSession(op, capacity)
    const { seqLen } = this.#config
    const bareSegment = (reset: number) =>
      bare.segment({
        rows: capacity,
        reset: new Uint8Array(capacity).fill(reset),
        inputs: new Int32Array(capacity * seqLen).fill(1),
        puzzleIds: new Int32Array(capacity),
      })
    await bareSegment(1)
    /** Milliseconds of a bare segment. */
    const measureBare = async (): Promise<number> => {
      const begin = performance.now()
      await Promise.all(Array.from({ length: blockSegments }, () => bareSegment(0)))
      const ms = performance.now() - begin
      this.bareMs += ms
      return ms / blockSegments
    }
    const segment = async (request: NativeSegmentOptions): Promise<NativeSegmentResult> => {
      let begin = performance.now()
      if (this.#returned !== undefined) this.outsideMs += begin - this.#returned
      if (request.rows < capacity) this.#block = undefined
      else if (this.#block === undefined || this.#block.segments === blockSegments) {
        const bareMs = await measureBare()
        if (this.#block) {
          const loopMs = (begin - this.#block.begin) / blockSegments
          this.ratios.push(loopMs / ((this.#block.bareMs + bareMs) / 2))
        }
        begin = performance.now()
        this.#block = { begin, bareMs, segments: 0 }
      }
      const result = await session.segment(request)
      this.#returned = performance.now()
      this.insideMs += this.#returned - begin
      this.segments++
      if (this.#block) this.#block.segments++
      return result
    }
    const close = () => {
      session.close()
      bare.close()
    }
    return { segment, close }
  }
}

interface Setting {
  weights: Weights
  precision: 'fp32' | 'int8'
  halting: Halting
  device: string
  engine: TimedEngine
  solver: Solver
  ms: number
  results: SolveResult[]
}

function round(value: number, digits: number): number {
  return Number(value.toFixed(digits))
}

/** Share of `count` for which `holds`. */
function share(count: number, holds: (at: number) => boolean): number {
  return Array.from({ length: count }, (_, at) => Number(holds(at))).reduce((sum, one) => sum + one, 0) / count
}

/** How many of the first examples end alone with the very same result: tokens, both logits, segments. */
async function sameAlone(setting: Setting, examples: readonly Example[]): Promise<string> {
  const some = examples.slice(0, aloneExamples)
  let same = 0
  for (const [at, { inputs, puzzleId }] of some.entries()) {
    const alone = await setting.solver.solve(inputs, { halting: setting.halting, maxSegments, puzzleId })
    setting.engine.rest()
    if (isDeepStrictEqual(alone, setting.results[at])) same++
  }
  return `${same} of ${some.length}`
}

const checkpoint = await openCheckpoint(checkpointPath)
using dataset = await Dataset.open(datasetPath)
const set = dataset.sets('test')[0]!
const count = Math.min(set.numExamples, Number(options['max-examples']))
const examples = Array.from({ length: count }, (_, at) => dataset.example('test', set.name, at))

const averaged = checkpoint.trainer !== undefined && (checkpoint.config.train.ema ?? 0) > 0
const settings: Setting[] = []
for (const precision of ['fp32', 'int8'] as const) {
  let device
  try {
    device = resolveDevice('bench', { precision, threads, device: 'cpu' })
  } catch (error) {
    if (!(error instanceof HRMError) || error.code !== 'ERR_HRM_NO_DEVICE') throw error
    console.log(JSON.stringify({ type: 'skipped', precision, reason: error.message }))
    continue
  }
  for (const weights of averaged ? (['ema', 'raw'] as const) : (['raw'] as const)) {
    for (const halting of ['max', 'q'] as const) {
      const backend = new native.Engine(checkpoint.model, device)
      const engine = new TimedEngine(backend, checkpoint.model)
      await loadWeights(engine, checkpoint, weights)
      const solver = new Solver(engine, checkpoint.model, { maxBatch, maxWaitMs: 0 })
      settings.push({ weights, precision, halting, device: backend.description, engine, solver, ms: 0, results: [] })
    }
  }
}

for (let slice = 0; slice < slices; slice++) {
  const part = examples.slice((slice * count) / slices, ((slice + 1) * count) / slices)
  const inputs = part.map((example) => example.inputs)
  const puzzleIds = part.map((example) => example.puzzleId)
  for (const setting of settings) {
    const begin = performance.now()
    const bareBefore = setting.engine.bareMs
    const results = await setting.solver.solve(inputs, { halting: setting.halting, maxSegments, puzzleIds })
    setting.ms += performance.now() - begin - (setting.engine.bareMs - bareBefore)
    setting.engine.rest()
    setting.results.push(...(results as SolveResult[]))
  }
}

const report = []
for (const setting of settings) {
  const { weights, precision, halting, engine, results, ms } = setting
  const sums = new EvalSums()
  results.forEach((result, at) => sums.addAnswer(result, examples[at]!.labels))
  const { exact_accuracy, accuracy, q_halt_accuracy, steps } = sums.metrics()
  const reference = settings.find((other) => other.weights === weights && other.halting === halting)!.results
  const { seqLen } = checkpoint.model
  const { insideMs, outsideMs, segments, ratios } = engine
  const row = {
    weights,
    precision,
    halting,
    maxSegments,
    count,
    exactAccuracy: round(exact_accuracy!, 5),
    interval: wilsonInterval(exact_accuracy!, count).map((bound) => round(bound, 4)),
    cellAccuracy: round(accuracy!, 5),
    qHaltAccuracy: round(q_halt_accuracy!, 5),
    meanSegments: round(steps!, 3),
    puzzlesPerSecond: round((1000 * count) / ms, 2),
    msPerSegment: round(insideMs / segments, 3),
    refillOverhead: round(outsideMs / insideMs, 5),
    loopOverhead: ratios.length > 0 ? round(summarise(ratios).median - 1, 5) : null,
    blocks: ratios.length,
    equalTokens: round(
      share(count * seqLen, (at) => {
        const row = Math.floor(at / seqLen)
        return results[row]!.tokens[at % seqLen] === reference[row]!.tokens[at % seqLen]
      }),
      5,
    ),
    equalGrids: round(
      share(count, (at) => results[at]!.tokens.every((token, i) => token === reference[at]!.tokens[i])),
      5,
    ),
    sameAlone: await sameAlone(setting, examples),
  }
  console.log(JSON.stringify({ type: 'setting', ...row }))
  report.push(row)
}
console.log(
  JSON.stringify({
    type: 'result',
    cpu: cpus()[0]?.model ?? 'unknown',
    device: settings[0]!.device,
    node: process.version,
    maxBatch,
    checkpoint: await stateHash(checkpointPath),
    settings: report,
  }),
)
for (const { engine } of settings) engine.dispose()
