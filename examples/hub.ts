// Downloads an official PyTorch checkpoint from the Hugging Face hub or a mirror, converts it and loads it:
//   node build-test/examples/hub.js sapientinc/HRM-checkpoint-sudoku-extreme models
//   node build-test/examples/hub.js owner/name models http://localhost:8080
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { basename, dirname, join } from 'node:path'
import { HRM } from 'hrm-native'

const [name, dir = 'models', hub] = process.argv.slice(2)
if (name === undefined) throw new Error('usage: hub.js OWNER/NAME [FOLDER] [HUB_URL]')

/** Runs `hrm`, whose place the package says; progress goes to the terminal. */
function hrm(...args: string[]): void {
  const manifest = createRequire(import.meta.url).resolve('hrm-native/package.json')
  const env = { ...process.env, ...(hub === undefined ? {} : { HF_ENDPOINT: hub }) }
  const { status } = spawnSync(process.execPath, [join(dirname(manifest), 'dist/cli/main.js'), ...args], {
    stdio: 'inherit',
    env,
  })
  if (status !== 0) process.exit(status ?? 1)
}

// All files are there with the right checksums, or the folder is not; a download that was cut short goes on.
const pulled = join(dir, basename(name))
if (!existsSync(pulled)) hrm('pull', `hf:${name}`, '-o', pulled)
const converted = `${pulled}-hrm`
if (!existsSync(converted)) hrm('convert', pulled, converted)

const model = await HRM.load(converted)
const { hCycles, lCycles, seqLen } = model.config
console.log(`${converted}: ${model.numParameters} parameters, ${hCycles}x${lCycles} cycles, ${seqLen} tokens`)
console.log(`on ${model.device}`)
model.dispose()
