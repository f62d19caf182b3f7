import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

export const root = fileURLToPath(new URL('../../..', import.meta.url))

/** Pages whose blocks are run. */
export const pages = [
  'README.md',
  'CONTRIBUTING.md',
  'SECURITY.md',
  'examples/README.md',
  ...readdirSync(join(root, 'docs')).map((name) => `docs/${name}`),
].filter((name) => name.endsWith('.md'))

/** A fenced block of a page. */
export interface Snippet {
  page: string
  /** Line of the fence, from 1. */
  line: number
  /** What stands behind the fence: `ts`, `sh`, … */
  language: string
  text: string
  /** From `<!-- not run: … -->` before the block. */
  notRun: string | undefined
}

/** All fenced blocks of a page. */
export function snippetsOf(page: string): Snippet[] {
  const lines = readFileSync(join(root, page), 'utf8').split('\n')
  const snippets: Snippet[] = []
  let open: Snippet | undefined
  let notRun: string | undefined
  lines.forEach((line, index) => {
    const fence = /^ *```(.*)$/.exec(line)
    if (open && fence) {
      snippets.push(open)
      open = undefined
    } else if (open) {
      open.text += `${line}\n`
    } else if (fence) {
      open = { page, line: index + 1, language: fence[1]!, text: '', notRun }
      notRun = undefined
    } else if (line.trim() !== '') {
      notRun = /^<!-- not run: (.+) -->$/.exec(line)?.[1]
    }
  })
  if (open) throw new Error(`${page}:${(open as Snippet).line}: the block has no end`)
  return snippets
}
