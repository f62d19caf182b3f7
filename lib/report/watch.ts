import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as wait } from 'node:timers/promises'
import { fileError } from '../durable-folder.js'
import { packageVersion } from '../environment.js'
import type { ReportRun } from './data.js'
import { reportPage } from './page.js'
import type { CollectOptions, RunSource } from './run.js'

/** The page is for this machine alone. */
const HOST = '127.0.0.1'

/** Time between two looks at a run folder, in milliseconds. */
const LOOK_MS = 1000

export interface WatchOptions extends CollectOptions {
  /** 0 takes a free one. */
  port: number
  /** Ends the server. */
  signal: AbortSignal
  /** Called with what kept new puzzles from being solved; the page goes on with those it has. */
  onError?: (error: unknown) => void
}

/** A page on the loopback interface that follows runs. */
export class ReportServer {
  readonly #server: Server
  readonly #sources: readonly RunSource[]
  readonly #collect: CollectOptions
  readonly #wantedPort: number
  readonly #signal: AbortSignal
  readonly #onError: WatchOptions['onError']
  readonly #runs: ReportRun[] = []
  readonly #listeners = new Set<ServerResponse>()
  #port = 0

  private constructor(sources: readonly RunSource[], options: WatchOptions) {
    this.#sources = sources
    // Models are loaded with the rest: they know no port.
    const { port, onError, ...collect } = options
    this.#collect = collect
    this.#wantedPort = port
    this.#signal = options.signal
    this.#onError = onError
    this.#server = createServer((request, response) => void this.#answer(request, response))
  }

  /** @throws ERR_HRM_IO where the port is taken; as RunSource.collect */
  static async start(sources: readonly RunSource[], options: WatchOptions): Promise<ReportServer> {
    const server = new ReportServer(sources, options)
    for (const source of sources) {
      const run = await source.collect({ ...server.#collect, puzzles: 0 })
      const waiting = server.#collect.puzzles > 0 && (await source.checkpoint()) !== undefined
      server.#runs.push(waiting ? { ...run, puzzles: { reason: 'they are being solved' } } : run)
    }
    await server.#listen()
    return server
  }

  #listen(): Promise<void> {
    return new Promise((resolve, reject) => {
      const fail = (error: Error) => reject(fileError('report', `${HOST}:${this.#wantedPort}`, error))
      this.#server.once('error', fail)
      this.#server.listen(this.#wantedPort, HOST, () => {
        this.#server.off('error', fail)
        this.#port = (this.#server.address() as AddressInfo).port
        resolve()
      })
    })
  }

  get url(): string {
    return `http://${HOST}:${this.#port}/`
  }

  /** Follows the runs until the signal comes, then closes the server. Puzzles are solved beside it, those of one run at a time. */
  async follow(): Promise<void> {
    const signal = this.#signal
    const { puzzles } = this.#collect
    const solved: (string | undefined)[] = []
    let solving: Promise<void> | undefined
    try {
      while (!signal.aborted) {
        for (const [run, source] of this.#sources.entries()) {
          if (await source.read(signal)) this.#update(run, { metrics: source.metrics() })
          const checkpoint = await source.checkpoint()
          if (puzzles === 0 || solving || checkpoint === solved[run]) continue
          solved[run] = checkpoint
          solving = this.#solve(run, source).finally(() => (solving = undefined))
        }
        await wait(LOOK_MS, undefined, { signal })
      }
    } catch (error) {
      if (!signal.aborted) throw error
    } finally {
      await solving
      for (const listener of this.#listeners) listener.end()
      this.#server.closeAllConnections()
      await new Promise((resolve) => this.#server.close(resolve))
    }
  }

  async #solve(run: number, source: RunSource): Promise<void> {
    try {
      this.#update(run, await source.collect(this.#collect))
    } catch (error) {
      if (!this.#signal.aborted) this.#onError?.(error)
    }
  }

  #update(run: number, update: Partial<ReportRun>): void {
    Object.assign(this.#runs[run]!, update)
    const message = `data: ${JSON.stringify({ run, ...update })}\n\n`
    for (const listener of this.#listeners) listener.write(message)
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    // A page of another site whose name leads here (DNS rebinding) sends that name.
    const ours = [`${HOST}:${this.#port}`, `localhost:${this.#port}`].includes(request.headers.host ?? '')
    const path = request.method === 'GET' && ours ? request.url : undefined
    if (path === '/') {
      try {
        const page = await reportPage({ version: packageVersion(), live: true, runs: this.#runs })
        response.writeHead(200, { 'content-type': 'text/html; charset=utf-8', 'cache-control': 'no-store' }).end(page)
      } catch (error) {
        response.writeHead(500, { 'content-type': 'text/plain; charset=utf-8' }).end((error as Error).message)
      }
    } else if (path === '/events') {
      response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' })
      response.write('retry: 2000\n\n')
      this.#listeners.add(response)
      response.on('close', () => this.#listeners.delete(response))
    } else response.writeHead(ours ? 404 : 403).end()
  }
}
