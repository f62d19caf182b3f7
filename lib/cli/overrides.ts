import { type Config, type Field, fromOfficial, officialEntry } from '../config.js'
import { argumentError } from '../errors.js'

/** Groups that an official command may choose from its `config/` folder; there is one of each. */
const configGroups: Readonly<Record<string, string>> = { arch: 'hrm_v1' }

function unquote(text: string): string {
  const quoted = /^(["'])(.*)\1$/s.exec(text)
  return quoted ? quoted[2]! : text
}

/** A value as its field wants it; what does not fit stays text, for the table to refuse. */
function readValue(field: Field, text: string): unknown {
  if (/^(null|None)$/.test(text)) return null
  switch (field.type) {
    case 'integer':
    case 'number':
      return /^[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$/i.test(text) ? Number(text) : text
    case 'boolean':
      return /^true$/i.test(text) ? true : /^false$/i.test(text) ? false : text
    case 'texts': {
      const list = /^\[(.*)\]$/s.exec(text)
      if (!list) return text
      return list[1]!.trim() === '' ? [] : list[1]!.split(',').map((item) => unquote(item.trim()))
    }
    default:
      return unquote(text)
  }
}

/**
 * Reads overrides in the official hydra spelling: `arch.L_cycles=8 lr=1e-4 +run_name="my run"`.
 * @throws ERR_HRM_ARGUMENT where an argument is no `key=value`; ERR_HRM_CONFIG for unknown keys and bad values
 */
export function parseOverrides(args: readonly string[]): Config {
  const official: Record<string, unknown> = {}
  for (const arg of args) {
    const parsed = /^\+{0,2}([^=~]+)=(.*)$/s.exec(arg)
    if (!parsed) throw argumentError(`[train] expected key=value, got ${arg}; write as in lr=1e-4`)
    const [, key, text] = parsed as unknown as [string, string, string]
    if (configGroups[key] === text) continue
    const field = officialEntry(key)?.field
    official[key] = field ? readValue(field, text.trim()) : text
  }
  return fromOfficial(official, 'train')
}
