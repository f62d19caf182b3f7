/** Results go to stdout, everything else to stderr. */

/** Writes lines to stdout. */
export function print(...lines: string[]): void {
  process.stdout.write(lines.map((line) => `${line}\n`).join(''))
}

/** Writes one NDJSON line to stdout. Numbers that JSON cannot hold become null. */
export function printJson(value: { type: string } & Record<string, unknown>): void {
  print(JSON.stringify(value))
}

/** Writes lines to stderr. */
export function note(...lines: string[]): void {
  process.stderr.write(lines.map((line) => `${line}\n`).join(''))
}

/** A reader that went away (`hrm … | head`) ends the process quietly. */
export function endOnClosedPipe(): void {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EPIPE') throw error
      process.exit(0)
    })
  }
}

/** 3,906 s as `1 h 5 min`. */
export function formatDuration(seconds: number): string {
  if (!Number.isFinite(seconds)) return '?'
  const total = Math.max(0, Math.round(seconds))
  const units: [number, string][] = [
    [86400, 'd'],
    [3600, 'h'],
    [60, 'min'],
    [1, 's'],
  ]
  const first = units.findIndex(([size]) => total >= size)
  if (first === -1) return '0 s'
  const [size, name] = units[first]!
  const next = units[first + 1]
  const rest = next ? Math.floor((total % size) / next[0]) : 0
  return `${Math.floor(total / size)} ${name}${next && rest > 0 ? ` ${rest} ${next[1]}` : ''}`
}

/** 0.9662 as `96.6 %`; null, where nothing was counted, as `-`. */
export function formatPercent(share: number | null | undefined): string {
  return share === null || share === undefined || Number.isNaN(share) ? '-' : `${(100 * share).toFixed(1)} %`
}

/** 1234567 as `1,234,567`. */
export function formatCount(count: number): string {
  return count.toLocaleString('en-US')
}
