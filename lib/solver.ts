import { argumentError, HRMError, rangeError } from './errors.js'
import type { Engine, Session } from './engine.js'
import type { NativeSegmentResult } from './native.js'
import { checkOptions, choiceOption, integerOption, show, signalOption } from './options.js'
import { type Example, readPuzzleIds, readTokens, type SolveInput, type TokenLimits } from './tokens.js'
import { readVotes, type StartNoise, vote, type VoteOptions, type VoteSummary } from './votes.js'

/** `max` always runs `maxSegments`; `q` stops a sequence once q_halt > q_continue, of halt-only models q_halt > 0. */
export type Halting = 'max' | 'q'

/** How one example is run. */
export interface SegmentsOptions {
  /**
   * Row of the puzzle embedding, 0…numPuzzleIdentifiers-1; 0 is the blank one.
   * @default 0
   */
  puzzleId?: number
  /**
   * Segments at most, 1…65536.
   * @default haltMaxSegments of the model
   */
  maxSegments?: number
  /**
   * When a sequence stops.
   * @default 'max'
   */
  halting?: Halting
  /** Stops within one segment; the call rejects with `signal.reason`. */
  signal?: AbortSignal
}

/** How examples are solved. */
export interface SolveOptions extends SegmentsOptions {
  /** One puzzle id per example, instead of `puzzleId`. */
  puzzleIds?: readonly number[] | Int32Array
  /** Receives the tokens, [k, seqLen]; its content is undefined after a rejection. */
  out?: Int32Array
  /**
   * Answers per example, of which one is picked without any label; a number stands for that many runs with noise.
   * @default 1
   */
  votes?: number | VoteOptions
}

/** The answer to one example. */
export interface SolveResult {
  /** [seqLen] token ids, a view on one buffer for the whole batch. */
  tokens: Int32Array
  /** Logit of the Q head for stopping, at the last segment. */
  qHalt: number
  /** Logit of the Q head for going on, at the last segment. */
  qContinue: number
  /** Segments that were run. */
  segments: number
  /** With pick `residual`: how far the slow state moved in the last segment, relative to its size. */
  residual?: number
  /** With `votes`: how this answer was picked. */
  votes?: VoteSummary
}

/** What the model thinks after a segment. */
export interface SegmentState {
  /** From 1. */
  segment: number
  /** [seqLen] token ids after this segment. */
  tokens: Int32Array
  /** Logit of the Q head for stopping. */
  qHalt: number
  /** Logit of the Q head for going on. */
  qContinue: number
  /** Tokens that differ from those of the segment before; for segment 1 from the input. */
  changed: number
}

/** What the solver must know of the model. */
export interface SolverModel extends TokenLimits {
  numPuzzleIdentifiers: number
  haltMaxSegments: number
  haltOnly: boolean
}

export interface SolverOptions {
  /** Sequences that run at once, >= 1. */
  maxBatch: number
  /** How long an idle solver waits for more sequences to fill the batch, in milliseconds. */
  maxWaitMs: number
  /** Whether small batches run segments until a sequence is done in one call: GPUs loop by themselves. */
  loops?: boolean
}

/** Sequences that enter and leave the batch one by one. */
export interface Sequences {
  /** [rows, seqLen] */
  tokens: Int32Array
  /** [rows] */
  puzzleIds: Int32Array
  maxSegments: number
  halting: Halting
  /** On the start states of every sequence. */
  noise: StartNoise | undefined
  /** Whether results have a residual. */
  residual: boolean
  signal: AbortSignal | undefined
  /** [rows, seqLen], receives the answers. */
  out: Int32Array
}

/** One call of run(). */
interface Call extends Sequences {
  /** Sequences that have not entered the batch yet start here. */
  next: number
  unfinished: number
  settled: boolean
  results: SolveResult[]
  resolve: (results: SolveResult[]) => void
  reject: (reason: unknown) => void
}

/** A sequence in a slot of the batch. */
interface Sequence {
  call: Call
  row: number
}

const segmentsKeys = ['puzzleId', 'maxSegments', 'halting', 'signal'] as const
const solveKeys = [...segmentsKeys, 'puzzleIds', 'out', 'votes'] as const
/**
 * A GPU runs the segments of so many rows at most until one halts, as otherwise the host's part would take longest; more
 * rows keep it busy, and an abort is to come through soon.
 */
const mostLoopingRows = 32
/** Bound of maxSegments. */
export const mostSegments = 65536

function halted(
  model: SolverModel,
  halting: Halting,
  maxSegments: number,
  result: NativeSegmentResult,
  row: number,
): boolean {
  if (result.steps[row]! >= maxSegments) return true
  return halting === 'q' && result.qHalt[row]! > (model.haltOnly ? 0 : result.qContinue[row]!)
}

function readHalting(op: string, options: SegmentsOptions, model: SolverModel) {
  return {
    maxSegments: integerOption(op, 'maxSegments', options.maxSegments, 1, mostSegments, model.haltMaxSegments),
    halting: choiceOption(op, 'halting', options.halting, ['max', 'q'], 'max'),
    signal: signalOption(op, options.signal),
  }
}

/**
 * Solves sequences in slots of one batch: a sequence that halts leaves, and its slot goes to the next one waiting, taken
 * in turn from the calls in progress. Rows do not influence each other, so a sequence ends with the same bits whatever
 * else is in the batch.
 */
export class Solver {
  readonly #engine: Engine
  readonly #model: SolverModel
  readonly #options: SolverOptions
  /** Calls with sequences that have not entered the batch. */
  readonly #calls: Call[] = []
  #session: Session | undefined
  #running: Promise<void> | undefined
  #batchFull: (() => void) | undefined

  constructor(engine: Engine, model: SolverModel, options: SolverOptions) {
    this.#engine = engine
    this.#model = model
    this.#options = options
  }

  /** Frees the carry of an idle solver; one that runs frees it when its engine is disposed. */
  dispose(): void {
    if (this.#running) return
    this.#session?.close()
    this.#session = undefined
  }

  /** Resolves once no sequence is running. */
  async idle(): Promise<void> {
    await this.#running
  }

  /** @param solverOf - the solver of a model of the option `votes`, undefined for what is no model */
  async solve(
    input: SolveInput,
    options: SolveOptions = {},
    solverOf: (model: unknown) => Solver | undefined = () => undefined,
  ): Promise<SolveResult | SolveResult[]> {
    const op = 'solve'
    this.#engine.assertLive(op)
    checkOptions(op, options, solveKeys)
    const { rows, tokens, batch } = readTokens(op, input, this.#model)
    const puzzleIds = readPuzzleIds(op, options, rows, this.#model.numPuzzleIdentifiers)
    const { maxSegments, halting, signal } = readHalting(op, options, this.#model)
    const plan = readVotes(op, options.votes, this.#model)
    const solvers = this.#voters(op, options.votes, puzzleIds, solverOf)
    const { out } = options
    if (out !== undefined && !(out instanceof Int32Array)) {
      throw argumentError(`[${op}] expected out to be an Int32Array, got ${show(out)}`)
    }
    if (out && out.length !== tokens.length) {
      throw new HRMError('ERR_HRM_SHAPE', `[${op}] expected out to hold ${tokens.length} tokens, got ${out.length}`)
    }
    signal?.throwIfAborted()
    const answers = new Int32Array(tokens.length)
    const request = { tokens, puzzleIds, maxSegments, halting, noise: undefined, residual: false, signal, out: answers }
    const results = plan
      ? await vote(plan, request, (model, sequences) => solvers[model]!.run(sequences))
      : await this.run(request)
    if (out) this.#moveTokens(results, answers, out)
    return batch ? results : results[0]!
  }

  /** Lets results lie in the caller's memory, which other calls must not depend on: it can be gone by now. */
  #moveTokens(results: SolveResult[], answers: Int32Array, out: Int32Array): void {
    const { seqLen } = this.#model
    out.set(answers)
    results.forEach((result, row) => (result.tokens = out.subarray(row * seqLen, (row + 1) * seqLen)))
  }

  /** This solver and those of the models of the option `votes`, checked to be able to take part. */
  #voters(
    op: string,
    votes: SolveOptions['votes'],
    puzzleIds: Int32Array,
    solverOf: (model: unknown) => Solver | undefined,
  ): Solver[] {
    const models: unknown = typeof votes === 'object' ? votes.models : undefined
    if (models === undefined) return [this]
    if (!Array.isArray(models)) throw argumentError(`[${op}] expected votes.models to be a list, got ${show(models)}`)
    const { seqLen, vocabSize } = this.#model
    const solvers = models.map((model: unknown, i): Solver => {
      const name = `votes.models[${i}]`
      const solver = solverOf(model)
      if (!solver) throw argumentError(`[${op}] expected ${name} to be a model, got ${show(model)}`)
      solver.#engine.assertLive(op)
      const other = solver.#model
      if (other.seqLen !== seqLen || other.vocabSize !== vocabSize) {
        throw rangeError(
          `[${op}] expected ${name} to have ${seqLen} tokens of ${vocabSize} values, as this model has, got ` +
            `${other.seqLen} of ${other.vocabSize}`,
        )
      }
      readPuzzleIds(`${op}: ${name}`, { puzzleIds }, puzzleIds.length, other.numPuzzleIdentifiers)
      return solver
    })
    if (new Set([this, ...solvers]).size === 1 + solvers.length) return [this, ...solvers]
    throw rangeError(`[${op}] expected votes.models to be other models, each once, got one twice`)
  }

  /** Runs checked sequences; resolves to their results in order. */
  async run(request: Sequences): Promise<SolveResult[]> {
    const { signal } = request
    return await new Promise<SolveResult[]>((resolve, reject) => {
      const call: Call = {
        ...request,
        next: 0,
        unfinished: request.puzzleIds.length,
        settled: false,
        results: [],
        resolve: (done) => {
          signal?.removeEventListener('abort', abort)
          resolve(done)
        },
        reject: (reason) => {
          signal?.removeEventListener('abort', abort)
          call.settled = true
          reject(reason)
        },
      }
      const abort = () => {
        const waiting = this.#calls.indexOf(call)
        if (waiting >= 0) this.#calls.splice(waiting, 1)
        call.reject(signal?.reason)
      }
      signal?.addEventListener('abort', abort, { once: true })
      this.#calls.push(call)
      if (this.#waitingSequences() >= this.#options.maxBatch) this.#batchFull?.()
      this.#running ??= this.#run()
    })
  }

  /**
   * Runs one example segment by segment. While training goes on, each segment uses the weights of its moment.
   */
  segments(input: Example, options: SegmentsOptions = {}): AsyncIterableIterator<SegmentState> {
    const op = 'segments'
    this.#engine.assertLive(op)
    checkOptions(op, options, segmentsKeys)
    const { rows, tokens } = readTokens(op, input, this.#model)
    if (rows !== 1) {
      throw new HRMError('ERR_HRM_SHAPE', `[${op}] expected one example of ${this.#model.seqLen} tokens, got ${rows}`)
    }
    const puzzleIds = readPuzzleIds(op, options, rows, this.#model.numPuzzleIdentifiers)
    return this.#segments(op, tokens, puzzleIds, readHalting(op, options, this.#model))
  }

  async *#segments(
    op: string,
    inputs: Int32Array,
    puzzleIds: Int32Array,
    { maxSegments, halting, signal }: ReturnType<typeof readHalting>,
  ): AsyncGenerator<SegmentState, void, undefined> {
    signal?.throwIfAborted()
    const session = await this.#engine.openSession(op, 1)
    try {
      let before = inputs
      for (let segment = 1, done = false; !done; segment++) {
        const release = await this.#engine.weights.read(signal)
        let result: NativeSegmentResult
        try {
          result = await session.segment({ rows: 1, reset: Uint8Array.of(segment === 1 ? 1 : 0), inputs, puzzleIds })
        } finally {
          release()
        }
        signal?.throwIfAborted()
        const { tokens } = result
        const changed = tokens.reduce((sum, token, i) => sum + (token === before[i] ? 0 : 1), 0)
        done = halted(this.#model, halting, maxSegments, result, 0)
        before = tokens.slice()
        yield { segment, tokens, qHalt: result.qHalt[0]!, qContinue: result.qContinue[0]!, changed }
      }
    } finally {
      session.close()
    }
  }

  #waitingSequences(): number {
    return this.#calls.reduce((sum, call) => sum + call.puzzleIds.length - call.next, 0)
  }

  async #run(): Promise<void> {
    if (this.#options.maxWaitMs > 0) await this.#gather()
    while (this.#calls.length > 0) {
      const release = await this.#engine.weights.read()
      try {
        await this.#runBatch()
      } finally {
        release()
      }
    }
    // In the same turn as the last look at the queue, so that no call falls between.
    this.#running = undefined
  }

  /** Waits for more sequences, until the batch is full or maxWaitMs have passed. */
  async #gather(): Promise<void> {
    let timer: NodeJS.Timeout | undefined
    await new Promise<void>((resolve) => {
      this.#batchFull = resolve
      timer = setTimeout(resolve, this.#options.maxWaitMs)
    })
    clearTimeout(timer)
    this.#batchFull = undefined
  }

  /** The next sequence waiting; the call it came from goes to the end of the queue. */
  #take(): Sequence | undefined {
    const call = this.#calls.shift()
    if (!call) return undefined
    const sequence = { call, row: call.next++ }
    if (call.next < call.puzzleIds.length) this.#calls.push(call)
    return sequence
  }

  /**
   * Fills the slots and runs segments until no sequence is left. Once somebody waits to change the weights no slot is
   * filled again, so that the turn ends with the sequences in progress.
   */
  async #runBatch(): Promise<void> {
    const { maxBatch } = this.#options
    const { seqLen } = this.#model
    const reset = new Uint8Array(maxBatch)
    const inputs = new Int32Array(maxBatch * seqLen)
    const puzzleIds = new Int32Array(maxBatch)
    const sigmas = new Float64Array(maxBatch)
    const keys = new Int32Array(3 * maxBatch)
    let slots: (Sequence | undefined)[] = []
    let rows = 0
    try {
      const session = (this.#session ??= await this.#engine.openSession('solve', maxBatch))
      for (;;) {
        // Slots of sequences that are done or aborted are refilled in place; what stays empty is closed up by `keep`.
        const next: Sequence[] = []
        const kept: number[] = []
        let noisy = false
        reset.fill(0)
        const refill = rows === 0 || !this.#engine.weights.contended
        for (let slot = 0; slot < maxBatch; slot++) {
          const running = slots[slot]
          const stays = running !== undefined && !running.call.settled
          const sequence = stays ? running : refill ? this.#take() : undefined
          if (!sequence) continue
          if (!stays) {
            const { call, row } = sequence
            reset[next.length] = 1
            inputs.set(call.tokens.subarray(row * seqLen, (row + 1) * seqLen), next.length * seqLen)
            puzzleIds[next.length] = call.puzzleIds[row]!
            sigmas[next.length] = call.noise?.sigma ?? 0
            if (call.noise) {
              const { seed, run } = call.noise
              keys.set([seed, Math.floor(seed / 2 ** 32), run], 3 * next.length)
              noisy = true
            }
          }
          if (slot < slots.length) kept.push(slot)
          next.push(sequence)
        }
        rows = next.length
        if (rows === 0) return
        const keep = kept.length < slots.length ? Int32Array.from(kept) : undefined
        slots = next
        const residual = slots.some((sequence) => sequence?.call.residual)
        const looping = this.#options.loops && rows <= mostLoopingRows && !residual
        const result = await session.segment({
          ...(looping ? this.#limits(next) : {}),
          rows,
          reset: reset.subarray(0, rows),
          inputs: inputs.subarray(0, rows * seqLen),
          puzzleIds: puzzleIds.subarray(0, rows),
          keep,
          noise: noisy ? { sigmas: sigmas.subarray(0, rows), keys: keys.subarray(0, 3 * rows) } : undefined,
          residual,
        })
        this.#settle(slots, result)
      }
    } catch (error) {
      this.#session?.close()
      this.#session = undefined
      const failed = new Set([...slots.map((sequence) => sequence?.call), ...this.#calls.splice(0)])
      for (const call of failed) if (call && !call.settled) call.reject(error)
    }
  }

  /** Where each sequence ends, for a device that runs segments until one of them does. */
  #limits(sequences: readonly Sequence[]) {
    return {
      limits: Int32Array.from(sequences, ({ call }) => call.maxSegments),
      adaptive: Uint8Array.from(sequences, ({ call }) => Number(call.halting === 'q')),
    }
  }

  /** Takes the sequences that halt out of their slots and resolves calls that are complete. */
  #settle(slots: (Sequence | undefined)[], result: NativeSegmentResult): void {
    const { seqLen } = this.#model
    slots.forEach((sequence, slot) => {
      if (!sequence) return
      const { call, row } = sequence
      if (call.settled || !halted(this.#model, call.halting, call.maxSegments, result, slot)) return
      const tokens = call.out.subarray(row * seqLen, (row + 1) * seqLen)
      tokens.set(result.tokens.subarray(slot * seqLen, (slot + 1) * seqLen))
      call.results[row] = {
        tokens,
        qHalt: result.qHalt[slot]!,
        qContinue: result.qContinue[slot]!,
        segments: result.steps[slot]!,
        ...(call.residual ? { residual: result.residual![slot]! } : {}),
      }
      slots[slot] = undefined
      if (--call.unfinished > 0) return
      call.settled = true
      call.resolve(call.results)
    })
  }
}
