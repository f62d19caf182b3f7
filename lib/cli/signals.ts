import { Exit, exitCodes } from './exit.js'

const exitOf = { SIGINT: exitCodes.interrupted, SIGTERM: exitCodes.terminated } as const

/** Why a long command was asked to end. */
export class Interruption extends Exit {
  constructor(readonly signal: keyof typeof exitOf) {
    super(exitOf[signal], `ended by ${signal}`)
  }
}

/** SIGINT and SIGTERM as an AbortSignal; a second one ends the process at once. */
export class Interrupts {
  readonly #controller = new AbortController()

  constructor() {
    for (const name of Object.keys(exitOf) as (keyof typeof exitOf)[]) process.on(name, this.#receive)
  }

  readonly #receive = (name: NodeJS.Signals) => {
    const signal = name as keyof typeof exitOf
    if (this.#controller.signal.aborted) process.exit(exitOf[signal])
    this.#controller.abort(new Interruption(signal))
  }

  get signal(): AbortSignal {
    return this.#controller.signal
  }

  /** The interruption that came, if any. */
  get reason(): Interruption | undefined {
    return this.#controller.signal.aborted ? (this.#controller.signal.reason as Interruption) : undefined
  }

  /** Gives the signals back to Node. */
  release(): void {
    for (const name of Object.keys(exitOf)) process.off(name, this.#receive)
  }
}
