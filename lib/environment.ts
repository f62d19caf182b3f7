import { readFileSync } from 'node:fs'
import { cpus } from 'node:os'

/** What a run was computed with. */
export interface Environment {
  /** Version of this package. */
  version: string
  /** What computes, as `HRM.device` says: "cpu avx512, 2 threads". */
  device: string
  /** Model of the processor. */
  cpu: string
  /** Operating system and architecture, as "linux-x64". */
  platform: string
  /** Version of Node. */
  node: string
}

/** The version of this package. */
export function packageVersion(): string {
  const text = readFileSync(new URL('../package.json', import.meta.url), 'utf8')
  return (JSON.parse(text) as { version: string }).version
}

/** @param device - the description of the engine that computes */
export function environment(device: string): Environment {
  return {
    version: packageVersion(),
    device,
    cpu: cpus()[0]?.model.trim() ?? process.arch,
    platform: `${process.platform}-${process.arch}`,
    node: process.version,
  }
}
