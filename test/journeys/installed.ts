import { execFile, execFileSync } from 'node:child_process'
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'

const root = fileURLToPath(new URL('../../..', import.meta.url))
const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
  name: string
  version: string
  files: string[]
  bin: { hrm: string }
  dependencies: Record<string, string>
}

/** Whether the tarball is installed by npm, which asks a registry for the dependencies. */
const long = process.env['HRM_TEST_LONG'] === '1'

/** A user's project with the package in it. */
export interface Project {
  folder: string
  /** What processes in it are started with: the interpreter, the tools of the system, and nothing of this checkout. */
  env: NodeJS.ProcessEnv
}

/**
 * The tarball of this checkout, from a copy of it: with its prebuilt binaries, or where it has none for this platform with
 * the compiled one in their place.
 */
function pack(t: Test, into: string): string {
  const copy = join(into, 'copy')
  for (const name of [
    'package.json',
    'README.md',
    'LICENSE',
    ...manifest.files.filter((name) => !name.startsWith('!')),
  ]) {
    if (existsSync(join(root, name))) cpSync(join(root, name), join(copy, name), { recursive: true })
  }
  const prebuilt = join(copy, 'prebuilds', `${process.platform}-${process.arch}`)
  t.comment(
    `binary: ${existsSync(prebuilt) ? 'the prebuilt one of this checkout' : 'the compiled one of this checkout'}`,
  )
  if (!existsSync(prebuilt)) {
    mkdirSync(prebuilt, { recursive: true })
    copyFileSync(join(root, 'build', 'Release', 'hrm.node'), join(prebuilt, `${manifest.name}.node`))
  }
  execFileSync('npm', ['pack', '--ignore-scripts', '--pack-destination', into], { cwd: copy, stdio: 'ignore' })
  return join(into, `${manifest.name}-${manifest.version}.tgz`)
}

/** What npm does with a tarball, the dependencies being those of this checkout. */
function unpack(tarball: string, folder: string): void {
  const modules = join(folder, 'node_modules')
  const installed = join(modules, manifest.name)
  mkdirSync(join(modules, '.bin'), { recursive: true })
  mkdirSync(installed)
  execFileSync('tar', ['-xzf', tarball, '-C', installed, '--strip-components=1'])
  symlinkSync(join(installed, manifest.bin.hrm), join(modules, '.bin', 'hrm'))
  for (const name of Object.keys(manifest.dependencies)) {
    if (name.includes('/')) mkdirSync(join(modules, name, '..'), { recursive: true })
    symlinkSync(join(root, 'node_modules', name), join(modules, name))
  }
}

/**
 * An empty project outside of this checkout with the packed package in it: in the long form by `npm install` of the
 * tarball, else unpacked as npm would.
 */
export function project(t: Test): Project {
  const folder = mkdtempSync(join(tmpdir(), 'hrm-journey-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const tarball = pack(t, folder)
  writeFileSync(join(folder, 'package.json'), '{ "private": true, "type": "module" }\n')
  if (long) execFileSync('npm', ['install', '--ignore-scripts', tarball], { cwd: folder, stdio: 'ignore' })
  else unpack(tarball, folder)
  for (const name of readdirSync(folder)) {
    if (!['package.json', 'node_modules'].includes(name)) rmSync(join(folder, name), { recursive: true })
  }
  const env: NodeJS.ProcessEnv = {}
  for (const [name, value] of Object.entries(process.env)) {
    if (!/^(HRM_|NODE_|npm_|TAP)/.test(name)) env[name] = value
  }
  env['npm_config_offline'] = 'true'
  return { folder, env }
}

/** A script of this folder: what a user types, with the reasons. */
export const script = (name: string) => join(root, 'test', 'journeys', name)

/** Lines of a script that are commands, each with what goes on in the next line. */
export function commands(name: string): string[] {
  return readFileSync(script(name), 'utf8')
    .replaceAll('\\\n', ' ')
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'))
}

export interface Ran {
  code: number
  stdout: string
  stderr: string
}

/** Runs one command in a project as a shell does. */
export function run({ folder, env }: Project, command: string): Promise<Ran> {
  return new Promise((resolve) => {
    execFile('sh', ['-c', command], { cwd: folder, env, maxBuffer: 2 ** 26 }, (error, stdout, stderr) => {
      resolve({ code: error ? Number(error.code ?? 1) : 0, stdout, stderr })
    })
  })
}

/** The objects of a file of JSON lines. */
export function lines(path: string) {
  return readFileSync(path, 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line))
}
