import { appendFile, mkdir, readdir, readFile, readlink, rename, rm, writeFile } from 'node:fs/promises'
import { basename, join, resolve } from 'node:path'
import { exists, fileError, pointTo, syncFolder, temporaryPrefix, writeDurably, writeFolder } from './durable-folder.js'
import { fromNative, HRMError } from './errors.js'
import { native } from './native.js'

const lockName = 'run.lock'
const metricsName = 'metrics.jsonl'
const pointerNames = ['latest', 'best'] as const
export type Pointer = (typeof pointerNames)[number]

/** `step_100`, or `step_100-2` where an earlier run of the folder left another `step_100`. */
const checkpointName = /^step_(\d+)(?:-(\d+))?$/

/** The checkpoint that a pointer of a run folder names, as a full path; undefined where there is none. */
export async function readPointer(dir: string, pointer: Pointer): Promise<string | undefined> {
  try {
    return resolve(dir, await readlink(join(dir, pointer)))
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT' || code === 'ENOTDIR' || code === 'EINVAL') return undefined
    throw fileError('load', dir, error)
  }
}

/**
 * A folder of one training run, owned by one process: checkpoints `step_N`, links `latest` and `best`, `metrics.jsonl`
 * and `run.lock`.
 */
export class RunFolder {
  readonly dir: string
  readonly #lock: { release(): void }
  /** Lines of metrics.jsonl not written yet. */
  #lines: string[] = []
  #writing: Promise<void> = Promise.resolve()

  private constructor(dir: string, lock: { release(): void }) {
    this.dir = dir
    this.#lock = lock
  }

  /**
   * Makes the folder if need be, locks it, and deletes what a killed owner left half done.
   *
   * @throws ERR_HRM_LOCKED naming the owner's process id
   * @throws ERR_HRM_IO
   */
  static async open(path: string): Promise<RunFolder> {
    const dir = resolve(path)
    const lockPath = join(dir, lockName)
    let lock: { release(): void } | undefined
    try {
      await mkdir(dir, { recursive: true })
      lock = native.lockFile(lockPath)
      if (!lock) {
        const owner = (await readFile(lockPath, 'utf8')).trim()
        throw new HRMError(
          'ERR_HRM_LOCKED',
          `[train] expected ${dir} to be free, got one that process ${owner || 'unknown'} owns; stop it or choose another folder`,
          { path: dir, pid: owner === '' ? undefined : Number(owner) },
        )
      }
      await writeFile(lockPath, `${process.pid}\n`)
      for (const name of await readdir(dir)) {
        if (name.startsWith(temporaryPrefix)) await rm(join(dir, name), { recursive: true })
      }
      return new RunFolder(dir, lock)
    } catch (error) {
      lock?.release()
      throw fileError('train', dir, fromNative(error))
    }
  }

  /** The checkpoint that a pointer names. */
  pointer(pointer: Pointer): Promise<string | undefined> {
    return readPointer(this.dir, pointer)
  }

  /** Saves the checkpoint of a step and makes `latest` name it; returns its path. */
  async save(step: number, fill: (dir: string) => Promise<void>): Promise<string> {
    let name = `step_${step}`
    for (let again = 2; await exists(join(this.dir, name)); again++) name = `step_${step}-${again}`
    await writeFolder('checkpoint', join(this.dir, name), fill)
    await pointTo(this.dir, 'latest', name)
    return join(this.dir, name)
  }

  async setBest(checkpoint: string): Promise<void> {
    await pointTo(this.dir, 'best', basename(checkpoint))
  }

  /** Deletes all but the newest `keep` checkpoints; never those that a pointer names. */
  async prune(keep: number): Promise<void> {
    const named = await Promise.all(pointerNames.map((pointer) => this.pointer(pointer)))
    const checkpoints = (await readdir(this.dir))
      .map((name) => ({ name, match: checkpointName.exec(name) }))
      .filter(({ match }) => match)
      .map(({ name, match }) => ({ name, step: Number(match![1]), again: Number(match![2] ?? 1) }))
      .sort((a, b) => b.step - a.step || b.again - a.again)
    for (const { name } of checkpoints.slice(keep)) {
      if (named.includes(join(this.dir, name))) continue
      // Renamed first, so that a kill leaves no half-deleted checkpoint.
      const doomed = join(this.dir, `${temporaryPrefix}${name}`)
      await rename(join(this.dir, name), doomed)
      await rm(doomed, { recursive: true })
    }
  }

  /** Deletes the lines of metrics.jsonl that come after `step`, or that a kill left incomplete. */
  async cutMetrics(step: number): Promise<void> {
    const path = join(this.dir, metricsName)
    if (!(await exists(path))) return
    const text = await readFile(path, 'utf8')
    const kept = text.split('\n').filter((line) => {
      try {
        const event = JSON.parse(line) as { type?: unknown; step?: unknown }
        return typeof event.step === 'number' && event.step <= step && event.type !== 'end'
      } catch {
        return false
      }
    })
    const cut = kept.map((line) => `${line}\n`).join('')
    if (cut === text) return
    const temporary = join(this.dir, `${temporaryPrefix}${metricsName}`)
    await writeDurably(temporary, cut)
    await rename(temporary, path)
    await syncFolder(this.dir)
  }

  /** Adds a line to metrics.jsonl; it is written in the background. */
  log(event: object): void {
    this.#lines.push(`${JSON.stringify(event)}\n`)
    if (this.#lines.length > 1) return
    this.#writing = this.#writing.then(async () => {
      const lines = this.#lines.splice(0).join('')
      await appendFile(join(this.dir, metricsName), lines)
    })
    // flush() reports a failure; until then it must not count as unhandled.
    this.#writing.catch(() => {})
  }

  /** Waits for the lines of metrics.jsonl to be written. @throws ERR_HRM_IO */
  async flush(): Promise<void> {
    try {
      await this.#writing
    } catch (error) {
      throw fileError('train', join(this.dir, metricsName), error)
    }
  }

  /** Lets go of the folder once the lines of metrics.jsonl are written or have failed. */
  async release(): Promise<void> {
    await this.#writing.catch(() => {})
    this.#lock.release()
  }
}
