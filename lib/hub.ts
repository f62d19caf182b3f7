import { createHash } from 'node:crypto'
import { createReadStream, existsSync, statSync } from 'node:fs'
import { open, readdir, rm } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { makeFolder, putInPlace, syncFolder, temporaryPrefix } from './durable-folder.js'
import { argumentError, HRMError } from './errors.js'
import { ioError } from './mapped-file.js'

/** Where models are pulled from unless told otherwise. */
export const defaultHubUrl = 'https://huggingface.co'

/** Most files of a repository. */
const MAX_FILES = 10_000

/** Longest part of a message that comes from the server. */
const MAX_SHOWN = 300

/** A model repository on the hub, at a branch, tag or commit. */
export interface HubModel {
  /** `owner/name` */
  name: string
  revision: string
}

export interface PullOptions {
  /** @default https://huggingface.co */
  hubUrl?: string
  /** For private and gated models, `hf_…`; sent to the hub only. */
  token?: string
  /** Ends the pull, which can be resumed; it rejects with `signal.reason`. */
  signal?: AbortSignal
  /** Called with the bytes that are here and those of all files. */
  onProgress?: (done: number, total: number) => void
}

export interface PullSummary extends HubModel {
  /** What the revision stood for. */
  commit: string
  dir: string
  files: string[]
  sizeBytes: number
  /** Bytes that an earlier pull had left. */
  resumedBytes: number
}

/** A file as the hub lists it. */
interface HubFile {
  path: string
  sizeBytes: number
  /** SHA-256 of the content, or for small files the SHA-1 of git. */
  hash: { sha256: string } | { gitSha1: string }
}

/** Reads `hf:owner/name`, with `@revision` where it is not `main`. @throws TypeError ERR_HRM_ARGUMENT */
export function parseHubModel(text: string): HubModel {
  const part = '[A-Za-z0-9][A-Za-z0-9._-]{0,95}'
  const [, name, revision = 'main'] =
    new RegExp(`^hf:(${part}/${part})(?:@([A-Za-z0-9][A-Za-z0-9._/-]{0,127}))?$`).exec(text) ?? []
  if (name !== undefined) return { name, revision }
  throw argumentError(`[pull] expected hf:owner/name or hf:owner/name@revision, got ${JSON.stringify(text)}`)
}

function shown(text: unknown): string {
  return JSON.stringify(String(text).slice(0, MAX_SHOWN))
}

/** What went wrong between here and the hub, in our form. */
function hubError(error: unknown, hubUrl: string, { name, revision }: HubModel): unknown {
  if (error instanceof HRMError) return error
  const { statusCode, cause, message } = (error instanceof Error ? error : new Error(String(error))) as Error & {
    statusCode?: number
    cause?: { code?: string }
  }
  const fail = (got: string, remedy: string) =>
    new HRMError('ERR_HRM_IO', `[pull] expected ${name}@${revision} from ${hubUrl}, got ${got}; do ${remedy}`, {
      hubUrl,
      ...(statusCode === undefined ? {} : { statusCode }),
    })
  if (statusCode === 401 || statusCode === 403)
    return fail(
      `status ${statusCode}`,
      'check the name; for a private or gated model set HF_TOKEN and accept its terms',
    )
  if (statusCode === 404) return fail('status 404', 'check owner, name and revision')
  if (statusCode !== undefined) return fail(`status ${statusCode}: ${shown(message)}`, 'try again later; it resumes')
  const what = cause?.code ?? message
  return fail(shown(what), 'check the connection and HF_ENDPOINT, and run it again; it resumes')
}

function corrupt(hubUrl: string, expected: string, got: string): HRMError {
  return new HRMError('ERR_HRM_CORRUPT', `[pull] expected ${expected} from ${hubUrl}, got ${got}; do run it again`, {
    hubUrl,
  })
}

/** Whether a path stays inside its folder, on every platform. */
function staysInside(path: string): boolean {
  return (
    path.length < 1000 &&
    /^[^\\:\p{Cc}]+$/u.test(path) &&
    path.split('/').every((part) => !['', '.', '..'].includes(part))
  )
}

/** Name of a file while it is incomplete, beside the complete ones. */
function partialName(path: string): string {
  return `${temporaryPrefix}${createHash('sha256').update(path).digest('hex').slice(0, 16)}`
}

/** The size of a file; 0 where there is none. */
function sizeOf(path: string): number {
  return existsSync(path) ? statSync(path).size : 0
}

async function matches(path: string, { sizeBytes, hash }: HubFile): Promise<boolean> {
  const sum = 'sha256' in hash ? createHash('sha256') : createHash('sha1').update(`blob ${sizeBytes}\0`)
  for await (const chunk of createReadStream(path, { highWaterMark: 2 ** 20 })) sum.update(chunk as Buffer)
  return sum.digest('hex') === ('sha256' in hash ? hash.sha256 : hash.gitSha1)
}

function assertNew(target: string): void {
  if (existsSync(target)) throw argumentError(`[pull] expected a new folder, got ${target}; do choose another`)
}

/** One pull into a temporary folder, which keeps what is there when it is cut short. */
class Pull {
  readonly #model: HubModel
  readonly #hubUrl: string
  readonly #options: PullOptions
  #done = 0
  #total = 0
  #resumed = 0

  constructor(model: HubModel, hubUrl: string, options: PullOptions) {
    this.#model = model
    this.#hubUrl = hubUrl
    this.#options = options
  }

  #access() {
    const { token, signal } = this.#options
    return {
      hubUrl: this.#hubUrl,
      ...(token === undefined ? {} : { accessToken: token }),
      fetch: ((input, init) => fetch(input, { ...init, signal: signal ?? null })) as typeof fetch,
    }
  }

  async #list(commit: string): Promise<HubFile[]> {
    const { listFiles } = await import('@huggingface/hub')
    const files: HubFile[] = []
    const repo = { type: 'model' as const, name: this.#model.name }
    for await (const entry of listFiles({ ...this.#access(), repo, revision: commit, recursive: true })) {
      if (entry.type !== 'file') continue
      const { path, size, oid, lfs } = entry
      if (typeof path !== 'string' || !staysInside(path))
        throw corrupt(this.#hubUrl, 'paths inside the repository', shown(path))
      const sizeBytes = lfs?.size ?? size
      if (!Number.isSafeInteger(sizeBytes) || sizeBytes < 0)
        throw corrupt(this.#hubUrl, `a size of ${path}`, shown(sizeBytes))
      const hash = lfs === undefined ? { gitSha1: String(oid) } : { sha256: String(lfs.oid) }
      files.push({ path, sizeBytes, hash })
      if (files.length > MAX_FILES) throw corrupt(this.#hubUrl, `at most ${MAX_FILES} files`, 'more')
    }
    if (new Set(files.map(({ path }) => path)).size < files.length)
      throw corrupt(this.#hubUrl, 'each file once', 'one twice')
    return files
  }

  /** Bytes from `begin` on are added to the file. */
  async #download(commit: string, { path, sizeBytes }: HubFile, partial: string): Promise<void> {
    const { downloadFile } = await import('@huggingface/hub')
    const begin = sizeOf(partial)
    const handle = await open(partial, 'a')
    try {
      if (begin < sizeBytes) {
        const repo = { type: 'model' as const, name: this.#model.name }
        // Over plain HTTP ranges, which every mirror speaks and which resume at any byte.
        const blob = await downloadFile({ ...this.#access(), repo, path, revision: commit, xet: false })
        if (blob === null || blob.size !== sizeBytes)
          throw corrupt(this.#hubUrl, `${sizeBytes} bytes of ${path}`, blob === null ? 'no such file' : `${blob.size}`)
        let written = begin
        for await (const chunk of blob.slice(begin, sizeBytes).stream()) {
          written += chunk.length
          if (written > sizeBytes) throw corrupt(this.#hubUrl, `${sizeBytes} bytes of ${path}`, 'more')
          await handle.writeFile(chunk)
          this.#done += chunk.length
          this.#options.onProgress?.(this.#done, this.#total)
        }
        if (written < sizeBytes) throw new Error(`${path} ended at byte ${written} of ${sizeBytes}`)
      }
      await handle.sync()
    } finally {
      await handle.close()
    }
  }

  async #fetchFile(commit: string, file: HubFile, dir: string): Promise<void> {
    const target = join(dir, file.path)
    const partial = join(dir, partialName(file.path))
    if (existsSync(target)) return
    await makeFolder(dirname(target))
    if (sizeOf(partial) > file.sizeBytes) await rm(partial)
    await this.#download(commit, file, partial)
    if (!(await matches(partial, file))) {
      await rm(partial)
      throw corrupt(this.#hubUrl, `${file.path} with the checksum that it has there`, 'other bytes')
    }
    await putInPlace(partial, target)
  }

  /** What an earlier pull left of these files. */
  #left(files: readonly HubFile[], dir: string): number {
    return files.reduce((sum, { path, sizeBytes }) => {
      const here = existsSync(join(dir, path)) ? sizeBytes : sizeOf(join(dir, partialName(path)))
      return sum + (here > sizeBytes ? 0 : here)
    }, 0)
  }

  async run(target: string): Promise<PullSummary> {
    const { modelInfo } = await import('@huggingface/hub')
    const { name, revision } = this.#model
    const { sha } = await modelInfo({ ...this.#access(), name, revision, additionalFields: ['sha'] })
    const commit = String(sha)
    if (!/^[0-9a-f]{40,64}$/.test(commit)) throw corrupt(this.#hubUrl, `the commit of ${revision}`, shown(commit))
    const files = await this.#list(commit)
    if (files.length === 0) throw corrupt(this.#hubUrl, `files in ${name}`, 'none')
    const dir = await this.#temporaryFolder(target, commit)
    this.#total = files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)
    this.#resumed = this.#left(files, dir)
    this.#done = this.#resumed
    for (const file of files) {
      this.#options.signal?.throwIfAborted()
      await this.#fetchFile(commit, file, dir)
    }
    await syncFolder(dir)
    assertNew(target)
    await putInPlace(dir, target)
    const paths = files.map(({ path }) => path)
    return { name, revision, commit, dir: target, files: paths, sizeBytes: this.#total, resumedBytes: this.#resumed }
  }

  /** The folder that this commit is pulled into; what is left of other commits is deleted. */
  async #temporaryFolder(target: string, commit: string): Promise<string> {
    const parent = dirname(target)
    const prefix = `${temporaryPrefix}pull-${basename(target)}-`
    const own = `${prefix}${commit}`
    await makeFolder(join(parent, own))
    for (const name of await readdir(parent)) {
      if (name.startsWith(prefix) && name !== own && /^[0-9a-f]{40,64}$/.test(name.slice(prefix.length)))
        await rm(join(parent, name), { recursive: true })
    }
    return join(parent, own)
  }
}

/**
 * Pulls all files of a model repository into a new folder, which is there whole or not at all. What a pull that was cut
 * short has left is used again. Every file is compared with the hub's checksum.
 *
 * @throws HRMError ERR_HRM_IO where the hub cannot be reached or refuses; ERR_HRM_CORRUPT where what it sends does not fit;
 * ERR_HRM_ARGUMENT; `signal.reason`
 */
export async function pull(model: HubModel, dir: string, options: PullOptions = {}): Promise<PullSummary> {
  const target = resolve(dir)
  assertNew(target)
  const hubUrl = (options.hubUrl ?? defaultHubUrl).replace(/\/+$/, '')
  if (!/^https?:\/\//.test(hubUrl) || !URL.canParse(hubUrl))
    throw argumentError(`[pull] expected the address of a hub, got ${shown(hubUrl)}; do correct HF_ENDPOINT`)
  if (options.token !== undefined && !options.token.startsWith('hf_'))
    throw argumentError('[pull] expected a token that starts with hf_, got another; do correct HF_TOKEN')
  try {
    return await new Pull(model, hubUrl, options).run(target)
  } catch (error) {
    options.signal?.throwIfAborted()
    const local = ioError('pull', target, error)
    throw local instanceof HRMError ? local : hubError(error, hubUrl, model)
  }
}
