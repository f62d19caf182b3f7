import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { Command } from 'commander'
import { isCheckpoint } from '../checkpoint.js'
import { defaultHubUrl, parseHubModel, pull, type PullSummary } from '../hub.js'
import { configFile } from '../pytorch/official-config.js'
import { looksLikePyTorch } from '../pytorch/pytorch-file.js'
import { formatCount, note, print, printJson } from './output.js'
import { Progress } from './progress.js'
import { Interrupts } from './signals.js'

interface CommandOptions {
  out?: string
  json?: boolean
}

/** What to do with what was pulled, as a command. */
async function nextStep({ dir, files }: PullSummary): Promise<string> {
  if (await isCheckpoint(dir)) return `hrm solve ${dir}`
  const official = files.filter((path) => looksLikePyTorch(join(dir, path)))
  if (!existsSync(join(dir, configFile)) || official.length === 0) return `hrm inspect ${dir}`
  return `hrm convert ${official.length === 1 ? dir : join(dir, official[0]!)} ${dir}-hrm`
}

async function run(repository: string, { out, json }: CommandOptions): Promise<void> {
  const model = parseHubModel(repository)
  const { HF_ENDPOINT: hubUrl = defaultHubUrl, HF_TOKEN: token } = process.env
  const interrupts = new Interrupts()
  let progress: Progress | undefined
  try {
    const summary = await pull(model, out ?? model.name.split('/')[1]!, {
      hubUrl,
      ...(token ? { token } : {}),
      signal: interrupts.signal,
      onProgress: (done, total) => {
        progress ??= new Progress('pull', total, { initial: done, unit: 'bytes' })
        progress.update(done)
      },
    })
    progress?.stop()
    const { commit, dir, files, sizeBytes, resumedBytes } = summary
    const next = await nextStep(summary)
    if (json) printJson({ type: 'result', ...summary, next })
    else {
      const resumed = resumedBytes > 0 ? `, ${formatCount(resumedBytes)} of them from before` : ''
      note(
        `${model.name} at ${commit}: ${files.length} files, ${formatCount(sizeBytes)} bytes${resumed}`,
        `next: ${next}`,
      )
      print(dir)
    }
  } finally {
    progress?.stop()
    interrupts.release()
  }
}

/** `hrm pull` */
export function pullCommand(): Command {
  return new Command('pull')
    .description(
      'Downloads a model repository from the Hugging Face hub, or from HF_ENDPOINT. A pull that was cut short goes on where it ended. HF_TOKEN opens private models.',
    )
    .argument('<repository>', 'hf:owner/name, or hf:owner/name@revision')
    .option('-o, --out <dir>', 'new folder (default: the name of the repository)')
    .option('--json', 'print one JSON line')
    .action(run)
}
