import { randomBytes } from 'node:crypto'
import { type FileHandle, lstat, mkdir, open, rename, rm, symlink } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { HRMError } from './errors.js'

/** Names of folders and links in the making start with it; what a kill leaves behind can be deleted. */
export const temporaryPrefix = '.tmp-'

/** An error of the file system as ERR_HRM_IO, with the bytes that a save needs where they are known; others stay as they are. */
export function fileError(op: string, path: string, error: unknown, neededBytes?: number): unknown {
  const saving = neededBytes !== undefined && error instanceof HRMError && error.code === 'ERR_HRM_IO'
  const cause = saving ? error.cause : error
  const { code } = (cause ?? {}) as NodeJS.ErrnoException
  if (!(cause instanceof Error) || cause instanceof HRMError || typeof code !== 'string') return error
  const needed = neededBytes === undefined ? '' : ` (${neededBytes} bytes are needed)`
  return new HRMError(
    'ERR_HRM_IO',
    `[${op}] expected to reach ${path}${needed}, got ${code}: ${cause.message}`,
    { path, errno: code, ...(neededBytes === undefined ? {} : { neededBytes }) },
    { cause },
  )
}

/** Forces the entries of a folder to the disk. Windows has no such call. */
export async function syncFolder(dir: string): Promise<void> {
  if (process.platform === 'win32') return
  const handle = await open(dir, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/** Writes a new file and forces it to the disk. */
export async function writeDurably(path: string, content: string | Uint8Array): Promise<void> {
  const handle = await open(path, 'wx')
  try {
    await handle.writeFile(content)
    await handle.sync()
  } finally {
    await handle.close()
  }
}

function temporaryName(path: string): string {
  return join(dirname(path), `${temporaryPrefix}${basename(path)}-${randomBytes(6).toString('hex')}`)
}

export async function exists(path: string): Promise<boolean> {
  try {
    await lstat(path)
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false
    throw error
  }
}

/**
 * Makes a folder that is there whole or not at all: `fill` writes into a temporary neighbour, which is forced to the disk
 * and renamed. A folder already at `path` is renamed away first, as no system call exchanges folders everywhere: a kill
 * between the two renames leaves it whole under its temporary name. Run folders never replace a checkpoint.
 *
 * @param fill - must force what it writes to the disk
 * @throws ERR_HRM_IO; what was there before is intact then
 */
export async function writeFolder(op: string, path: string, fill: (dir: string) => Promise<void>): Promise<void> {
  const target = resolve(path)
  const temporary = temporaryName(target)
  try {
    await mkdir(temporary, { recursive: true })
    await fill(temporary)
    await syncFolder(temporary)
    if (await exists(target)) {
      const previous = temporaryName(target)
      await rename(target, previous)
      try {
        await rename(temporary, target)
      } catch (error) {
        await rename(previous, target)
        throw error
      }
      await rm(previous, { recursive: true })
    } else {
      await rename(temporary, target)
    }
    await syncFolder(dirname(target))
  } catch (error) {
    await rm(temporary, { recursive: true, force: true })
    throw fileError(op, target, error)
  }
}

/**
 * Writes a file that is there whole or not at all: `fill` writes into a temporary neighbour, which is forced to the disk
 * and renamed, in one step also where a file is there already.
 *
 * @throws ERR_HRM_IO; what was there before is intact then
 */
export async function replaceFile(
  op: string,
  path: string,
  fill: (handle: FileHandle) => Promise<unknown>,
): Promise<void> {
  const target = resolve(path)
  const temporary = temporaryName(target)
  try {
    await mkdir(dirname(target), { recursive: true })
    const handle = await open(temporary, 'wx')
    try {
      await fill(handle)
      await handle.sync()
    } finally {
      await handle.close()
    }
    await rename(temporary, target)
    await syncFolder(dirname(target))
  } catch (error) {
    await rm(temporary, { force: true })
    throw fileError(op, target, error)
  }
}

/** Makes the link `name` in `dir` point to its neighbour `to`, replacing an older link in one step. */
export async function pointTo(dir: string, name: string, to: string): Promise<void> {
  const temporary = temporaryName(join(dir, name))
  try {
    await symlink(to, temporary, 'dir')
    await rename(temporary, join(dir, name))
    await syncFolder(dir)
  } catch (error) {
    await rm(temporary, { force: true })
    throw fileError('checkpoint', join(dir, name), error)
  }
}
