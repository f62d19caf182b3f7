import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

export const root = fileURLToPath(new URL('../../..', import.meta.url))

interface Failure {
  tensor?: string
  call?: number
  engine?: string
  error?: number
  bound?: number
  reason?: string
}

export interface Report {
  name: string
  ok: boolean
  runs: { precision: string; engine: string; worst: Record<string, number> }[]
  failures: Failure[]
  ignored: string[]
}

/** Runs `npm run parity` with these arguments. */
export function parity(...args: string[]): { status: number | null; reports: Report[]; stderr: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, [join(root, 'scripts/parity.mjs'), ...args], {
    encoding: 'utf8',
  })
  const lines = stdout.split('\n').filter((line) => line.startsWith('{'))
  return { status, reports: lines.map((line) => JSON.parse(line) as Report), stderr }
}
