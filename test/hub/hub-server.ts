import { createHash } from 'node:crypto'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')

/** A request that the server has seen. */
export interface Seen {
  path: string
  range: string | undefined
  authorization: string | undefined
}

/** A server on the loopback interface that answers as the hub does, with the same files for each of its models. */
export class HubServer {
  readonly #server: Server
  readonly #models: readonly string[]
  readonly seen: Seen[] = []
  /** Contents by path; those of `lfs` are listed with their SHA-256. */
  files = new Map<string, Buffer>()
  lfs = new Set<string>()
  commit = '0123456789abcdef0123456789abcdef01234567'
  /** Only this token opens the model. */
  token: string | undefined
  /** Ends the connection after so many bytes of a file, once. */
  cutAfter: number | undefined
  /** Waits after each 64 KiB of a file. */
  delayMs = 0
  /** Changes the listing before it is sent. */
  listing = (entries: object[]): unknown => entries
  /** Changes a file on its way. */
  content = (bytes: Buffer): Buffer => bytes

  private constructor(server: Server, models: readonly string[]) {
    this.#server = server
    this.#models = models
  }

  static async start(models: readonly string[] = ['some/model']): Promise<HubServer> {
    const server = createServer()
    const hub = new HubServer(server, models)
    server.on('request', (request, response) => void hub.#answer(request, response))
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    return hub
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections()
    await new Promise((resolve) => this.#server.close(resolve))
  }

  #json(response: ServerResponse, status: number, value: unknown): void {
    response.writeHead(status, { 'content-type': 'application/json' })
    response.end(JSON.stringify(value))
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { pathname } = new URL(request.url!, this.url)
    const { range, authorization } = request.headers
    this.seen.push({ path: pathname, range, authorization })
    if (this.token !== undefined && authorization !== `Bearer ${this.token}`)
      return this.#json(response, 401, { error: 'Invalid credentials' })
    const [, name = '', what, rest = ''] =
      /^(?:\/api\/models)?\/([^/]+\/[^/]+)\/(revision|tree|resolve)\/(.+)$/.exec(pathname) ?? []
    if (!this.#models.includes(name)) return this.#json(response, 404, { error: 'Repository not found' })
    if (what === 'revision') {
      if (!['main', 'v1', this.commit].includes(decodeURIComponent(rest)))
        return this.#json(response, 404, { error: 'Invalid rev id' })
      return this.#json(response, 200, { _id: '1', id: name, sha: this.commit, lastModified: '2025-01-01' })
    }
    if (what === 'tree' && rest === this.commit) return this.#json(response, 200, this.listing(this.#tree()))
    const [commit, path] = [rest.slice(0, this.commit.length), rest.slice(this.commit.length + 1)]
    const bytes = commit === this.commit ? this.files.get(decodeURIComponent(path)) : undefined
    if (bytes === undefined) return this.#json(response, 404, { error: 'Entry not found' })
    await this.#send(response, this.content(bytes), range)
  }

  #tree(): object[] {
    return [...this.files].map(([path, bytes]) => ({
      type: 'file',
      path,
      size: bytes.length,
      oid: createHash('sha1').update(`blob ${bytes.length}\0`).update(bytes).digest('hex'),
      ...(this.lfs.has(path) ? { lfs: { oid: sha256(bytes), size: bytes.length, pointerSize: 130 } } : {}),
    }))
  }

  async #send(response: ServerResponse, bytes: Buffer, range: string | undefined): Promise<void> {
    const [, first, last] = /^bytes=(\d+)-(\d+)$/.exec(range ?? '') ?? []
    const begin = Number(first ?? 0)
    const end = Math.min(Number(last ?? bytes.length - 1), bytes.length - 1) + 1
    response.writeHead(range === undefined ? 200 : 206, {
      etag: `"${sha256(bytes)}"`,
      'content-length': end - begin,
      ...(range === undefined ? {} : { 'content-range': `bytes ${begin}-${end - 1}/${bytes.length}` }),
    })
    for (let at = begin; at < end; at += 65536) {
      response.write(bytes.subarray(at, Math.min(at + 65536, end)))
      if (this.delayMs > 0) await new Promise((resolve) => setTimeout(resolve, this.delayMs))
      if (this.cutAfter !== undefined && end - begin > 1 && at - begin >= this.cutAfter) {
        this.cutAfter = undefined
        response.destroy()
        return
      }
    }
    response.end()
  }
}
