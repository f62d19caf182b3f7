import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** What is used of onnxruntime-node's interface; its own types are installed only with it. */
export interface OnnxTensor {
  readonly data: Float32Array | Int32Array | Uint8Array
}

export interface OnnxSession {
  run(feeds: Readonly<Record<string, OnnxTensor>>): Promise<Record<string, OnnxTensor>>
  release(): Promise<void>
}

export interface OnnxRuntime {
  env: { versions: { node?: string } }
  Tensor: new (type: string, data: Float32Array | Int32Array | Uint8Array, dims: readonly number[]) => OnnxTensor
  InferenceSession: { create(path: string, options: Record<string, unknown>): Promise<OnnxSession> }
}

const folder = fileURLToPath(new URL('../../bench/peers', import.meta.url))
const manifest = join(folder, 'package.json')

function wantedVersion(): string {
  const { dependencies } = JSON.parse(readFileSync(manifest, 'utf8')) as { dependencies: Record<string, string> }
  return dependencies['onnxruntime-node']!
}

/** onnxruntime-node of `bench/peers`, or undefined where it is not installed there in the version of its lockfile. */
export function findOnnxRuntime(): OnnxRuntime | undefined {
  const installed = join(folder, 'node_modules', 'onnxruntime-node', 'package.json')
  if (!existsSync(installed)) return undefined
  const { version } = JSON.parse(readFileSync(installed, 'utf8')) as { version: string }
  if (version !== wantedVersion()) return undefined
  return createRequire(manifest)('onnxruntime-node') as OnnxRuntime
}

/** The same, installed from the lockfile where needed. Its install script would fetch CUDA libraries; the CPU needs none. */
export function installOnnxRuntime(): OnnxRuntime {
  const found = findOnnxRuntime()
  if (found) return found
  process.stderr.write(`installing onnxruntime-node ${wantedVersion()} into bench/peers\n`)
  const { status, error } = spawnSync('npm', ['ci', '--ignore-scripts'], {
    cwd: folder,
    stdio: ['ignore', 2, 2],
    shell: process.platform === 'win32',
  })
  if (error) throw error
  const runtime = findOnnxRuntime()
  if (status === 0 && runtime) return runtime
  throw new Error(`[peers] expected onnxruntime-node in ${folder}, got exit code ${status} of npm ci`)
}

/**
 * A session as its documentation recommends for latency on a CPU: all graph optimisations, nodes one after the other, as
 * many threads as ours, which spin while they wait.
 */
export function openOnnxSession(runtime: OnnxRuntime, path: string, threads: number): Promise<OnnxSession> {
  return runtime.InferenceSession.create(path, {
    executionProviders: ['cpu'],
    graphOptimizationLevel: 'all',
    executionMode: 'sequential',
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    extra: { session: { intra_op: { allow_spinning: '1' } } },
  })
}
