// What may be on the disk after a power failure, built from the system calls of a process.
import { createHash } from 'node:crypto'
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import type { Call } from './system-calls.js'

/** A file, folder or link, whatever its name. */
type Node =
  { kind: 'file'; bytes: Buffer } | { kind: 'folder'; entries: Map<string, Node> } | { kind: 'link'; to: string }

type Kind = { kind: 'file' | 'folder' } | { kind: 'link'; to: string }

/** A change of one node, as its number; folders change by their entries. */
type Change =
  | { change: 'write'; node: number; offset: number; bytes: Buffer }
  | { change: 'truncate'; node: number }
  | { change: 'enter'; node: number; name: string; entry: number }
  | { change: 'leave'; node: number; name: string }
  /** Within one folder, in one step. */
  | { change: 'rename'; node: number; from: string; to: string; entry: number }
  | { change: 'force'; node: number }

/** The calls below a folder as changes of nodes; node 0 is the folder itself. */
export class Journal {
  readonly #kinds: Kind[] = [{ kind: 'folder' }]
  readonly changes: Change[] = []
  /** Calls that led to each change. */
  readonly calls: Call[] = []

  constructor(calls: readonly Call[], root: string) {
    const nodes = new Map<string, number>([[root, 0]])
    const open = new Map<number, { node: number; position: number }>()
    const record = (call: Call, change: Change) => {
      this.changes.push(change)
      this.calls.push(call)
    }
    const enter = (call: Call, path: string, kind: Kind) => {
      const entry = this.#kinds.push(kind) - 1
      nodes.set(path, entry)
      record(call, { change: 'enter', node: nodes.get(dirname(path))!, name: basename(path), entry })
    }
    for (const call of calls) {
      const { name, path, to, flags = '', descriptor = -1, bytes, offset, failed } = call
      if (failed) continue
      if (name.startsWith('open')) {
        open.delete(descriptor)
        if (!path.startsWith(`${root}/`) && path !== root) continue
        if (flags.includes('O_CREAT') && !nodes.has(path)) enter(call, path, { kind: 'file' })
        else if (flags.includes('O_TRUNC')) record(call, { change: 'truncate', node: nodes.get(path)! })
        const node = nodes.get(path)
        if (node !== undefined) open.set(descriptor, { node, position: 0 })
      } else if (name === 'close') open.delete(descriptor)
      else if (bytes !== undefined) {
        const file = open.get(descriptor)
        if (file === undefined) continue
        record(call, { change: 'write', node: file.node, offset: offset ?? file.position, bytes })
        if (offset === undefined) file.position += bytes.length
      } else if (name.includes('sync')) {
        const file = open.get(descriptor)
        if (file !== undefined) record(call, { change: 'force', node: file.node })
      } else if (name.startsWith('mkdir') && path.startsWith(`${root}/`)) enter(call, path, { kind: 'folder' })
      else if (name.startsWith('symlink')) enter(call, to!, { kind: 'link', to: path })
      else if (name.startsWith('rename') && nodes.has(path)) {
        const entry = nodes.get(path)!
        const node = nodes.get(dirname(path))!
        if (dirname(to!) !== dirname(path)) throw new Error(`${path} is moved to another folder`)
        record(call, { change: 'rename', node, from: basename(path), to: basename(to!), entry })
        for (const [old, number] of Array.from(nodes)) {
          if (old !== path && !old.startsWith(`${path}/`)) continue
          nodes.delete(old)
          nodes.set(to! + old.slice(path.length), number)
        }
      } else if (/^(unlink|rmdir)/.test(name) && nodes.has(path)) {
        record(call, { change: 'leave', node: nodes.get(dirname(path))!, name: basename(path) })
        nodes.delete(path)
      }
    }
  }

  /**
   * What is on the disk where the power fails after `count` changes. Those that are not forced to the disk are kept, or
   * lost, or of writes torn, as `draw` decides, each by itself: no order among them is taken for granted.
   */
  crash(count: number, draw: () => 'kept' | 'lost' | number): Node {
    const forced = new Set<number>()
    const kept: Change[] = []
    for (const change of this.changes.slice(0, count).toReversed()) {
      if (change.change === 'force') {
        forced.add(change.node)
        continue
      }
      const fate = forced.has(change.node) ? 'kept' : draw()
      if (fate === 'lost') continue
      if (fate === 'kept' || change.change !== 'write') kept.push(change)
      else kept.push({ ...change, bytes: change.bytes.subarray(0, Math.floor(fate * change.bytes.length)) })
    }
    const nodes = this.#kinds.map((each): Node => {
      if (each.kind === 'link') return { ...each }
      return each.kind === 'file' ? { kind: 'file', bytes: Buffer.alloc(0) } : { kind: 'folder', entries: new Map() }
    })
    for (const change of kept.toReversed()) {
      const node = nodes[change.node]!
      if (node.kind === 'file') {
        if (change.change === 'truncate') node.bytes = Buffer.alloc(0)
        if (change.change !== 'write') continue
        const { offset, bytes } = change
        const grown = Buffer.alloc(Math.max(node.bytes.length, offset + bytes.length))
        node.bytes.copy(grown)
        bytes.copy(grown, offset)
        node.bytes = grown
      } else if (node.kind === 'folder') {
        if (change.change === 'enter') node.entries.set(change.name, nodes[change.entry]!)
        if (change.change === 'leave') node.entries.delete(change.name)
        if (change.change !== 'rename') continue
        node.entries.delete(change.from)
        node.entries.set(change.to, nodes[change.entry]!)
      }
    }
    return nodes[0]!
  }
}

/** Puts a state on the real disk. */
export function writeState(node: Node, path: string): void {
  if (node.kind === 'file') writeFileSync(path, node.bytes)
  else if (node.kind === 'link') symlinkSync(node.to, path)
  else {
    mkdirSync(path)
    for (const [name, entry] of node.entries) writeState(entry, join(path, name))
  }
}

/** Equal for equal states. */
export function stateDigest(node: Node): string {
  const hash = createHash('sha256').update(node.kind)
  if (node.kind === 'file') hash.update(node.bytes)
  else if (node.kind === 'link') hash.update(node.to)
  else {
    for (const name of [...node.entries.keys()].sort()) hash.update(name).update(stateDigest(node.entries.get(name)!))
  }
  return hash.digest('hex')
}
