import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, statfsSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** A small file system in memory. */
export interface SmallDisk {
  folder: string
  /** Why there is none, for `skip`. */
  absent: string | false
  /** Takes up all but `left` bytes. */
  fill(left: number): void
  /** Gives them back. */
  free(): void
}

/** Mounts a file system of `mib` MiB until the process ends. */
export function mountSmallDisk(mib: number): SmallDisk {
  const folder = mkdtempSync(join(tmpdir(), 'hrm-disk-'))
  const { status } = spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${mib}m`, 'hrm-test', folder], { stdio: 'ignore' })
  process.on('exit', () => {
    spawnSync('umount', ['-l', folder], { stdio: 'ignore' })
    rmSync(folder, { recursive: true, force: true })
  })
  const ballast = join(folder, 'ballast')
  return {
    folder,
    absent: status === 0 ? false : 'a file system in memory cannot be mounted here',
    fill(left) {
      const { bavail, bsize } = statfsSync(folder)
      writeFileSync(ballast, new Uint8Array(Math.max(0, bavail * bsize - left)))
    },
    free: () => rmSync(ballast),
  }
}
