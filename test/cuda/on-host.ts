import { execFile } from 'node:child_process'

interface Outcome {
  status: number | string
  stdout: string
  stderr: string
}

/** Runs Node with the GPU code on the CPU; `settings` are variables of cuda/host/device_host.cc. */
export function runOnHost(words: readonly string[], settings: NodeJS.ProcessEnv = {}): Promise<Outcome> {
  const env = { ...process.env, HRM_DEVICE: 'cuda-host', ...settings }
  return new Promise((resolve) => {
    execFile(process.execPath, words, { env, maxBuffer: 2 ** 26 }, (error, stdout, stderr) => {
      resolve({ status: error ? (error.code ?? error.signal ?? 'killed') : 0, stdout, stderr })
    })
  })
}

/** Runs a module with the GPU code on the CPU; what it prints last is its result, in JSON. */
export async function moduleOnHost<T>(code: string, settings: NodeJS.ProcessEnv = {}): Promise<T> {
  const { status, stdout, stderr } = await runOnHost(['--input-type=module', '-e', code], settings)
  if (status !== 0) throw new Error(`the module ended with ${status}: ${stderr}`)
  return JSON.parse(stdout.trim().split('\n').at(-1) ?? '') as T
}
