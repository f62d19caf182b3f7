import { type Dirent, existsSync, readdirSync, statSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { HRMError } from '../errors.js'
import { ioError } from '../mapped-file.js'
import { type ArcTask, gridKey } from './grid.js'
import { puzzleHash } from './hash.js'
import { readArcFile } from './read.js'

/** A task with where it came from. */
export interface SourcedTask {
  task: ArcTask
  /** Whether its test pairs are for the test split. */
  evaluation: boolean
  path: string
}

const fileName = /\.json(\.gz)?$/i

function listFolder(dir: string): string[] {
  let entries: Dirent[]
  try {
    entries = readdirSync(dir, { withFileTypes: true })
  } catch (error) {
    throw ioError('read', dir, error)
  }
  return entries.flatMap((entry) => {
    const path = join(dir, entry.name)
    if (entry.name.startsWith('.')) return []
    if (entry.isDirectory()) return listFolder(path)
    return fileName.test(entry.name) ? [path] : []
  })
}

/** The files of a path: itself, or all `.json` and `.json.gz` below a folder. */
function filesOf(path: string): string[] {
  const missing = (got: string): HRMError =>
    new HRMError(
      'ERR_HRM_DATASET',
      `[arc] expected ARC tasks as .json or .json.gz, got ${got} at ${path}; do check the path`,
      { path },
    )
  if (!existsSync(path)) throw missing('nothing')
  if (!statSync(path).isDirectory()) return [path]
  const files = listFolder(path)
  if (files.length === 0) throw missing('a folder without them')
  return files
}

/** Whether the name of a file says `evaluation`, or that of its folder, or of one between it and the given path. */
function isEvaluation(given: string, file: string): boolean {
  const from = Math.min(dirname(resolve(given)).length, dirname(dirname(resolve(file))).length)
  return resolve(file).slice(from).toLowerCase().includes('evaluation')
}

/** Tells copies of a task apart whose pairs come in another order, as ARC-AGI-2 has them of ARC-AGI-1. */
function pairsInOrder({ train, test }: ArcTask): string {
  return JSON.stringify(
    [train, test].map((pairs) => pairs.map(({ input, output }) => [gridKey(input), output && gridKey(output)])),
  )
}

/**
 * Reads all tasks of files and folders, sorted by id, so that neither the order of the paths nor that of the files
 * counts. Of a task that comes several times with the same pairs one is taken.
 *
 * @param onFile - called after each file
 * @throws HRMError ERR_HRM_DATASET naming file and place, or where two evaluation tasks share an id; ERR_HRM_IO
 */
export async function readArcSources(
  paths: readonly string[],
  onFile: (done: number, total: number) => void | Promise<void> = () => {},
): Promise<{ tasks: SourcedTask[]; repeated: number }> {
  const files = paths.flatMap((path) => filesOf(path).map((file) => ({ file, evaluation: isEvaluation(path, file) })))
  /** By id, then by pairs. */
  const byId = new Map<string, Map<string, SourcedTask>>()
  let repeated = 0
  for (const [done, { file, evaluation }] of files.entries()) {
    for (const task of readArcFile(file)) {
      const versions = byId.get(task.id) ?? new Map<string, SourcedTask>()
      byId.set(task.id, versions)
      // Without outputs there is nothing to train on, wherever the file lies.
      const held = evaluation || task.test.some(({ output }) => output === undefined)
      const key = `${held ? 1 : 0} ${puzzleHash([...task.train, ...task.test])}`
      const same = versions.get(key)
      if (same) repeated++
      if (!same || pairsInOrder(task) < pairsInOrder(same.task))
        versions.set(key, { task, evaluation: held, path: file })
    }
    await onFile(done + 1, files.length)
  }
  const sorted = <T>(map: Map<string, T>): [string, T][] => [...map].sort(([a], [b]) => (a < b ? -1 : 1))
  const tasks = sorted(byId).flatMap(([id, versions]) => {
    const held = [...versions.values()].filter(({ evaluation }) => evaluation)
    if (held.length > 1) {
      throw new HRMError(
        'ERR_HRM_DATASET',
        `[arc] expected one evaluation task ${JSON.stringify(id)}, got others in ${held[0]!.path} and ${held[1]!.path}; do leave one out`,
        { path: held[1]!.path },
      )
    }
    return sorted(versions).map(([, version]) => version)
  })
  return { tasks, repeated }
}
