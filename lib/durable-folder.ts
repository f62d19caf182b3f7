import { randomBytes } from 'node:crypto'
import { type FileHandle, lstat, mkdir, open, rename, rm, symlink } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { HRMError } from './errors.js'

/** Names of folders and links in the making start with it; what a kill leaves behind can be deleted. */
export const temporaryPrefix = '.tmp-'

/** An error of the file system as ERR_HRM_IO, with the bytes that a save needs where they are known; others stay as they are. */
export function fileError(op: string, path: string, error: unknown, neededBytes?: number): unknown {
  const { code } = (error ?? {}) as NodeJS.ErrnoException
  if (!(error instanceof Error) || error instanceof HRMError || typeof code !== 'string') return error
  const needed = neededBytes === undefined ? '' : ` (${neededBytes} bytes are needed)`
  return new HRMError(
    'ERR_HRM_IO',
    `[${op}] expected to reach ${path}${needed}, got ${code}: ${error.message}`,
    { path, errno: code, ...(neededBytes === undefined ? {} : { neededBytes }) },
    { cause: error },
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

/** Makes a folder and those above it that are missing, and forces their entries to the disk. */
export async function makeFolder(dir: string): Promise<void> {
  const path = resolve(dir)
  const first = await mkdir(path, { recursive: true })
  if (first === undefined) return
  for (let made = path; made.length >= first.length; made = dirname(made)) await syncFolder(dirname(made))
}

/** Writes a new file and forces it to the disk. */
export async function writeDurably(path: string, fill: (handle: FileHandle) => Promise<unknown>): Promise<void> {
  const handle = await open(path, 'wx')
  try {
    await fill(handle)
    await handle.sync()
  } finally {
    await handle.close()
  }
}

function temporaryName(path: string): string {
  return join(dirname(path), `${temporaryPrefix}${basename(path)}-${randomBytes(6).toString('hex')}`)
}

export async function exists(path: string): Promise<boolean> {
  return (await kindOf(path)) !== 'nothing'
}

async function kindOf(path: string): Promise<'folder' | 'file' | 'nothing'> {
  try {
    return (await lstat(path)).isDirectory() ? 'folder' : 'file'
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return 'nothing'
    throw error
  }
}

/** Deletes what nothing names any more. What cannot be deleted is left to the next owner of the folder. */
async function discard(path: string): Promise<void> {
  await rm(path, { recursive: true, force: true }).catch(() => {})
}

/**
 * Gives what is complete and forced to the disk its name, for good when this returns. A file or link that has the name is
 * replaced in one step. A folder is renamed away first, as no system call exchanges folders everywhere: a kill between
 * the two renames leaves it whole under its temporary name. Run folders never replace a checkpoint.
 *
 * @throws the error of the file system; a folder that had the name has it again then
 */
export async function putInPlace(temporary: string, target: string): Promise<void> {
  const before = await kindOf(target)
  const previous = before === 'folder' ? temporaryName(target) : undefined
  if (previous !== undefined) await rename(target, previous)
  try {
    await rename(temporary, target)
    try {
      await syncFolder(dirname(target))
    } catch (error) {
      if (before !== 'file') await rename(target, temporary)
      throw error
    }
  } catch (error) {
    if (previous !== undefined) await rename(previous, target)
    throw error
  }
  if (previous !== undefined) await discard(previous)
}

/**
 * The one way in which this package replaces what is on the disk: `make` makes a temporary neighbour and forces it to the
 * disk, then it gets its name.
 */
async function replace(
  op: string,
  path: string,
  make: (temporary: string) => Promise<void>,
  neededBytes?: number,
): Promise<void> {
  const target = resolve(path)
  const temporary = temporaryName(target)
  try {
    await makeFolder(dirname(target))
    await make(temporary)
    await putInPlace(temporary, target)
  } catch (error) {
    await discard(temporary)
    throw fileError(op, target, error, neededBytes)
  }
}

/**
 * Makes a folder that is there whole or not at all.
 *
 * @param fill - writes into the temporary folder, and forces to the disk what it writes
 * @param neededBytes - for the message where they are known
 * @throws ERR_HRM_IO; what was there before is intact then
 */
export function writeFolder(
  op: string,
  path: string,
  fill: (dir: string) => Promise<void>,
  neededBytes?: number,
): Promise<void> {
  const make = async (temporary: string) => {
    await mkdir(temporary)
    await fill(temporary)
    await syncFolder(temporary)
  }
  return replace(op, path, make, neededBytes)
}

/**
 * Writes a file that is there whole or not at all.
 *
 * @param neededBytes - for the message where they are known
 * @throws ERR_HRM_IO; the file that was there before, or the new one, is there whole then
 */
export function replaceFile(
  op: string,
  path: string,
  fill: (handle: FileHandle) => Promise<unknown>,
  neededBytes?: number,
): Promise<void> {
  return replace(op, path, (temporary) => writeDurably(temporary, fill), neededBytes)
}

/**
 * Makes the link `path` name its neighbour `to`.
 *
 * @param neededBytes - of all that is saved, for the message where they are known
 * @throws ERR_HRM_IO; it names the old or the new neighbour then
 */
export function pointTo(op: string, path: string, to: string, neededBytes?: number): Promise<void> {
  return replace(op, path, (temporary) => symlink(to, temporary, 'dir'), neededBytes)
}
