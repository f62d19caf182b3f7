// The system calls of a process that change files, as strace sees them, and those that it makes fail.
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'

const names =
  'open,openat,creat,close,write,pwrite64,writev,pwritev,fsync,fdatasync,ftruncate,truncate,' +
  'rename,renameat,renameat2,mkdir,mkdirat,symlink,symlinkat,link,linkat,unlink,unlinkat,rmdir'

/** Why strace cannot be used here, for `skip`; false where it can. */
export function withoutStrace(): string | false {
  const { status } = spawnSync('strace', ['-f', '-o', '/dev/null', '-e', 'trace=none', process.execPath, '-e', '0'])
  return status === 0 ? false : 'strace is missing, or may not trace here'
}

/** One call that did its work, or was made to fail; paths are absolute. */
export interface Call {
  thread: number
  /** As in `names`. */
  name: string
  /** Its place among all calls of that name of its thread, from 1: strace's `when`. */
  count: number
  /** What it names, or what the descriptor was opened as. */
  path: string
  /** Of rename and symlink: the new name. */
  to?: string
  /** Of opens. */
  flags?: string
  descriptor?: number
  /** Of writes: what was written, and where, undefined for the position of the descriptor. */
  bytes?: Buffer
  offset?: number
  /** Made to fail by strace. */
  injected: boolean
  failed: boolean
}

/** The bytes of a string that strace printed in hexadecimal. */
const unquote = (text: string) => Buffer.from(text.replaceAll('\\x', ''), 'hex')

const line = /^(\d+)\s+(\w+)\((.*)\)\s+= (-?\d+)(.*)$/s

function parseCalls(text: string, cwd: string): Call[] {
  const calls: Call[] = []
  const pending = new Map<string, string>()
  const counts = new Map<string, number>()
  const open = new Map<number, string>()
  for (let entry of text.split('\n')) {
    const [thread = ''] = entry.split(' ', 1)
    if (entry.endsWith(' <unfinished ...>')) {
      pending.set(thread, entry.slice(0, -' <unfinished ...>'.length))
      continue
    }
    const resumed = /<\.\.\. \w+ resumed>(.*)$/s.exec(entry)
    if (resumed) entry = pending.get(thread)! + resumed[1]!
    const [, , name, args, result, rest] = line.exec(entry) ?? []
    if (name === undefined) continue
    const count = (counts.get(thread + name) ?? 0) + 1
    counts.set(thread + name, count)
    const value = Number(result)
    const failed = value < 0
    const strings = [...args!.matchAll(/"([^"]*)"(?:\.\.\.)?/g)].map((match) => unquote(match[1]!))
    const common = { thread: Number(thread), name, count, failed, injected: rest!.includes('(INJECTED)') }
    const descriptor = Number(/^\d+/.exec(args!)?.[0] ?? -1)
    if (/^(open|openat|creat)$/.test(name)) {
      const path = resolve(cwd, strings[0]!.toString())
      if (!failed) open.set(value, path)
      const flags = /O_[A-Z_|]+/.exec(args!)?.[0] ?? ''
      calls.push({ ...common, path, flags, descriptor: value })
    } else if (/^(rename|symlink|link)/.test(name)) {
      const [from, to] = strings.map(String)
      // The target of a link is a neighbour's name, not a path.
      const path = name.startsWith('symlink') ? from! : resolve(cwd, from!)
      calls.push({ ...common, path, to: resolve(cwd, to!) })
    } else if (/^(mkdir|unlink|rmdir|truncate)/.test(name)) {
      calls.push({ ...common, path: resolve(cwd, strings[0]!.toString()) })
    } else if (open.has(descriptor)) {
      const path = open.get(descriptor)!
      if (name === 'close') open.delete(descriptor)
      else if (!/write/.test(name)) calls.push({ ...common, path, descriptor })
      else {
        const bytes = Buffer.concat(strings).subarray(0, failed ? 0 : value)
        const last = /, (\d+)$/.exec(args!)?.[1]
        const offset = name.startsWith('pwrite') ? { offset: Number(last) } : {}
        calls.push({ ...common, path, descriptor, bytes, ...offset })
      }
    }
  }
  return calls
}

/** Makes the `count`th call of a name, of whichever thread, fail. */
export interface Fault {
  name: string
  count: number
  error: string
}

/** Runs a module in a process with a single thread of libuv, so that its calls come in the same order each time. */
export async function trace(
  script: string,
  { fault, bytes = false, cwd = process.cwd() }: { fault?: Fault; bytes?: boolean; cwd?: string } = {},
): Promise<{ calls: Call[]; status: number | null; output: string }> {
  const folder = mkdtempSync(join(tmpdir(), 'calls-'))
  const log = join(folder, 'calls')
  const inject = fault ? ['-e', `inject=${fault.name}:error=${fault.error}:when=${fault.count}`] : []
  try {
    const child = spawn(
      'strace',
      [
        '-f',
        '-qq',
        '--seccomp-bpf',
        '-xx',
        '-s',
        bytes ? '10000000' : '4096',
        '-e',
        `trace=${names}`,
        ...inject,
      ].concat(['-o', log, process.execPath, '--input-type=module', '-e', script]),
      {
        cwd,
        stdio: ['ignore', 'pipe', fault ? 'ignore' : 'inherit'],
        env: { ...process.env, UV_THREADPOOL_SIZE: '1' },
      },
    )
    let output = ''
    child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text))
    const [status] = (await once(child, 'close')) as [number | null]
    return { calls: parseCalls(readFileSync(log, 'latin1'), cwd), status, output }
  } finally {
    rmSync(folder, { recursive: true })
  }
}

/** What breaks the order of a durable write, in words. */
export interface Order {
  /** Names given to what was complete. */
  renames: number
  faults: string[]
}

const isTemporary = (path: string) => path.split('/').some((part) => part.startsWith('.tmp-'))

/**
 * Checks calls below `root`: only what has a temporary name, or is a log or lock, is written in place; before it gets its
 * name all of it is forced to the disk, and its folder after; and nothing is deleted whose former name may come back.
 */
export function checkOrder(calls: readonly Call[], root: string, inPlace: RegExp): Order {
  const faults: string[] = []
  /** Files with bytes, folders with entries, that are not forced to the disk. */
  const dirty = new Set<string>()
  const within = (path: string, folder: string) => path === folder || path.startsWith(`${folder}/`)
  let renames = 0
  /** Folders with a new name that must be forced to the disk before anything else happens. */
  let due: string | undefined
  for (const { name, path, to, flags = '', failed } of calls) {
    if (failed || !within(to ?? path, root)) continue
    if (due !== undefined && !(name.includes('sync') && path === due)) {
      // Opening the folder in order to force it.
      if (name.startsWith('open') && path === due) continue
      faults.push(`${name} of ${to ?? path} before ${due} is forced to the disk`)
    }
    due = undefined
    if (name.startsWith('open') || name === 'creat') {
      if (!/O_CREAT|O_TRUNC|O_WRONLY|O_RDWR/.test(flags)) continue
      if (!isTemporary(path) && !inPlace.test(path)) faults.push(`${path} is written in place`)
      if (/O_CREAT/.test(flags)) dirty.add(dirname(path))
      if (/O_TRUNC/.test(flags)) dirty.add(path)
    } else if (/write|truncate/.test(name)) dirty.add(path)
    else if (name.includes('sync')) dirty.delete(path)
    else if (name.startsWith('rename')) {
      for (const left of dirty) {
        if (within(left, path) || (left !== dirname(to!) && within(to!, left)))
          faults.push(`${to} gets its name before ${left} is forced`)
      }
      dirty.add(dirname(to!))
      if (isTemporary(path) && !isTemporary(to!)) {
        renames++
        due = dirname(to!)
      }
    } else if (name.startsWith('mkdir')) {
      dirty.add(dirname(path))
    } else if (name.startsWith('symlink')) dirty.add(dirname(to!))
    else {
      // The folder that holds the temporary name, if that is what is being deleted.
      const parts = path.split('/')
      const at = parts.findIndex((part) => part.startsWith('.tmp-'))
      const holder = parts.slice(0, at).join('/')
      if (at < 0 && !inPlace.test(path)) faults.push(`${path} is deleted under its name`)
      if (at >= 0 && at < parts.length - 1 && dirty.has(holder))
        faults.push(`${path} is deleted before ${holder} is forced`)
    }
  }
  if (due !== undefined) faults.push(`${due} is never forced`)
  return { renames, faults }
}
