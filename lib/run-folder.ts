import { readdir, readFile, readlink, rename, rm, writeFile } from 'node:fs/promises'
import { basename, join, resolve } from 'node:path'
import { AppendFile } from './append-file.js'
import {
  exists,
  fileError,
  makeFolder,
  pointTo,
  replaceFile,
  syncFolder,
  temporaryPrefix,
  writeFolder,
} from './durable-folder.js'
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
  readonly #metrics: AppendFile

  private constructor(dir: string, lock: { release(): void }) {
    this.dir = dir
    this.#lock = lock
    this.#metrics = new AppendFile(join(dir, metricsName))
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
      await makeFolder(dir)
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
      const folder = new RunFolder(dir, lock)
      await folder.#sweep()
      return folder
    } catch (error) {
      lock?.release()
      throw fileError('train', dir, fromNative(error))
    }
  }

  /** The checkpoint that a pointer names. */
  pointer(pointer: Pointer): Promise<string | undefined> {
    return readPointer(this.dir, pointer)
  }

  /** Deletes what a kill or a failure left half made or half deleted. */
  async #sweep(): Promise<void> {
    for (const name of await readdir(this.dir)) {
      if (name.startsWith(temporaryPrefix)) await rm(join(this.dir, name), { recursive: true })
    }
  }

  /**
   * Saves the checkpoint of a step and makes `latest` name it; returns its path.
   *
   * @param neededBytes - for the message where the disk is full
   * @throws ERR_HRM_IO; `latest` names a whole checkpoint, the old or the new one, then
   */
  async save(step: number, fill: (dir: string) => Promise<void>, neededBytes?: number): Promise<string> {
    let name = `step_${step}`
    try {
      for (let again = 2; await exists(join(this.dir, name)); again++) name = `step_${step}-${again}`
    } catch (error) {
      throw fileError('checkpoint', join(this.dir, name), error, neededBytes)
    }
    const path = join(this.dir, name)
    await writeFolder('checkpoint', path, fill, neededBytes)
    await pointTo('checkpoint', join(this.dir, 'latest'), name, neededBytes)
    return path
  }

  async setBest(checkpoint: string): Promise<void> {
    await pointTo('checkpoint', join(this.dir, 'best'), basename(checkpoint))
  }

  /** Deletes all but the newest `keep` checkpoints; never those that a pointer names. @throws ERR_HRM_IO */
  async prune(keep: number): Promise<void> {
    try {
      const named = await Promise.all(pointerNames.map((pointer) => this.pointer(pointer)))
      const checkpoints = (await readdir(this.dir))
        .map((name) => ({ name, match: checkpointName.exec(name) }))
        .filter(({ match }) => match)
        .map(({ name, match }) => ({ name, step: Number(match![1]), again: Number(match![2] ?? 1) }))
        .sort((a, b) => b.step - a.step || b.again - a.again)
      const doomed = checkpoints.slice(keep).filter(({ name }) => !named.includes(join(this.dir, name)))
      // Renamed for good first, so that neither a kill nor a power failure leaves a half-deleted checkpoint.
      for (const { name } of doomed) await rename(join(this.dir, name), join(this.dir, `${temporaryPrefix}${name}`))
      if (doomed.length > 0) await syncFolder(this.dir)
      await this.#sweep()
    } catch (error) {
      throw fileError('checkpoint', this.dir, error)
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
    await replaceFile('train', path, (handle) => handle.writeFile(cut))
  }

  /** Adds a line to metrics.jsonl; it is written in the background. */
  log(event: object): void {
    this.#metrics.add(Buffer.from(`${JSON.stringify(event)}\n`))
  }

  /** Forces the lines of metrics.jsonl to the disk. @throws ERR_HRM_IO; they are kept for the next call then */
  async flush(): Promise<void> {
    try {
      await this.#metrics.flush()
    } catch (error) {
      throw fileError('train', this.#metrics.path, error)
    }
  }

  /** Lets go of the folder once the lines of metrics.jsonl are written or have failed. */
  async release(): Promise<void> {
    await this.#metrics.close()
    this.#lock.release()
  }
}
