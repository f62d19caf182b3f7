// Plants one fault at a time in the CUDA kernels, compiles the file for the CPU and demands that hrm_cuda_kernels fails.
// Prints `N of N mutants caught`; exits 1 otherwise. Needs the build of a checkout: its objects are linked to the mutant.
// Usage: node scripts/cuda-mutants.mjs [--short | text that the mutant's name contains]

import { spawn } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { mkdir, mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'

const root = dirname(import.meta.dirname)
const build = join(root, 'build')
const parallel = 2

/**
 * `cases` are those that must notice; `from` must occur exactly once in the file; `source` is compiled with it, where the
 * file is a header; `short`: also part of the short form.
 */
const mutants = [
  {
    name: 'matmul: parts used before they have arrived',
    file: 'cuda/matmul_tile.h',
    source: 'cuda/matmul_forward.cu',
    from: 'copy_async_wait<kStages - 2>();',
    to: 'copy_async_wait<kStages - 1>();',
    cases: ['linear layers'],
  },
  {
    name: 'matmul: no barrier between parts',
    file: 'cuda/matmul_tile.h',
    source: 'cuda/matmul_forward.cu',
    from: 'copy_async_wait<kStages - 2>();\n    __syncthreads();',
    to: 'copy_async_wait<kStages - 2>();',
    cases: ['linear layers'],
  },
  {
    name: 'matmul: next copies into the buffer in use',
    file: 'cuda/matmul_tile.h',
    source: 'cuda/matmul_forward.cu',
    from: 'issue(part + kStages - 1);',
    to: 'issue(part + kStages);',
    cases: ['linear layers'],
  },
  {
    name: 'qkv: rotation by the negative angle',
    file: 'cuda/matmul_forward.cu',
    from: 'values[j][i] = fmaf(-x2, sine, x1 * cosine);',
    to: 'values[j][i] = fmaf(x2, sine, x1 * cosine);',
    cases: ['linear layers'],
  },
  {
    name: 'qkv: a position more before the next sequence',
    file: 'cuda/matmul_forward.cu',
    from: 'static_cast<int64_t>(row % S) * half_head',
    to: 'static_cast<int64_t>(row % (S + 1)) * half_head',
    cases: ['linear layers'],
  },
  {
    name: 'residual: the upper rows’ factor for all',
    file: 'cuda/matmul_forward.cu',
    from: 'const float normed = rounded<T>(values[j][i] * (high ? high_factor : low_factor));',
    to: 'const float normed = rounded<T>(values[j][i] * low_factor);',
    cases: ['linear layers'],
  },
  {
    name: 'swiglu: gate and up exchanged',
    file: 'cuda/matmul_forward.cu',
    from: 'products[2 * high + j / 2][i] = rounded<T>(silu(values[j][i])) * values[j + 1][i];',
    to: 'products[2 * high + j / 2][i] = rounded<T>(silu(values[j + 1][i])) * values[j][i];',
    cases: ['linear layers'],
  },
  {
    name: 'weight gradient: the first split twice, the last never',
    file: 'cuda/matmul_backward.cu',
    from: 'const float4 term = partials[split * quads + i];',
    to: 'const float4 term = partials[(splits - split - 1) * quads + i];',
    cases: ['weight gradients'],
  },
  {
    name: 'attention: a key past the last',
    file: 'cuda/attention_forward.cu',
    from: 'if (first_key + 8 * j + 2 * (lane % 4) + e % 2 >= S) scores[j][e]',
    to: 'if (first_key + 8 * j + 2 * (lane % 4) + e % 2 > S) scores[j][e]',
    cases: ['attention_forward'],
    short: true,
  },
  {
    name: 'attention: sums not rescaled when the maximum rises',
    file: 'cuda/attention_forward.cu',
    from: 'exponentials[half] *= correction;',
    to: 'exponentials[half] *= 1.0f;',
    cases: ['attention_forward'],
  },
  {
    name: 'attention: no barrier after the keys arrive',
    file: 'cuda/attention_forward.cu',
    from: 'copy_async_wait<0>();\n    }\n    __syncthreads();',
    to: 'copy_async_wait<0>();\n    }',
    cases: ['attention_forward'],
    short: true,
  },
  {
    name: 'attention: one partner of the row’s sum forgotten',
    file: 'cuda/attention_forward.cu',
    from: 'exponentials[half] += __shfl_xor_sync(0xffffffffu, exponentials[half], 2);',
    to: '',
    cases: ['attention_forward'],
  },
  {
    name: 'attention gradient: q, k, v and gradients used before they have arrived',
    file: 'cuda/attention_backward.cu',
    from: 'copy_async_wait<0>();\n  __syncthreads();\n\n  const int lane',
    to: '__syncthreads();\n\n  const int lane',
    cases: ['attention_backward'],
  },
  {
    name: 'attention gradient: k turned forward instead of back',
    file: 'cuda/attention_backward.cu',
    from: 'second = fmaf(second, cosine, -first * sine);',
    to: 'second = fmaf(second, cosine, first * sine);',
    cases: ['attention_backward'],
  },
  {
    name: 'block sum: no barrier before the sums of warps are read',
    file: 'cuda/reduce.h',
    source: 'cuda/optimisers.cu',
    from: 'shared[threadIdx.x / 32] = own;\n  __syncthreads();',
    to: 'shared[threadIdx.x / 32] = own;',
    cases: ['sum_squares', 'guard'],
  },
  {
    name: 'argmax: the highest index on ties',
    file: 'cuda/reduce.h',
    source: 'cuda/readout.cu',
    from: 'other_index < index)',
    to: 'other_index > index)',
    cases: ['argmax'],
    short: true,
  },
  {
    name: 'norm gradient: without rstd',
    file: 'cuda/norm.cu',
    from: 'grads[i] = factor * (grads[i]',
    to: 'grads[i] = (grads[i]',
    cases: ['norm_backward'],
    short: true,
  },
  {
    name: 'inject: z stays pending',
    file: 'cuda/norm.cu',
    from: 'z.make_final(row);',
    to: '',
    cases: ['inject'],
  },
  {
    name: 'halt: a sequence that may not stop yet',
    file: 'cuda/carry.cu',
    from: 'taken >= min_steps[b];',
    to: 'taken > min_steps[b];',
    cases: ['halt'],
  },
  {
    name: 'embedding: the scan forgets its first barrier',
    file: 'cuda/embedding.cu',
    from: 'sums[threadIdx.x] = sum;\n  __syncthreads();',
    to: 'sums[threadIdx.x] = sum;',
    cases: ['embed_backward'],
  },
]

/** Runs a command to its end, or kills it once `stop` says so; resolves with status and output. */
function run(command, args, { cwd = root, stop = () => false } = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd, stdio: ['ignore', 'pipe', 'pipe'] })
    let output = ''
    const collect = (chunk) => {
      output += chunk
      if (stop(output)) child.kill()
    }
    child.stdout.on('data', collect)
    child.stderr.on('data', collect)
    child.on('error', reject)
    child.on('close', (status) => resolve({ status, output }))
  })
}

/** Words of a command of compile_commands.json, which quotes nothing but whole words. */
const words = (command) => [...command.matchAll(/"([^"]*)"|(\S+)/g)].map(([, quoted, plain]) => quoted ?? plain)

/** How the build compiles `source` for the CPU: the compiler, its flags, without source and output. */
function compileCommand(source) {
  const entries = JSON.parse(readFileSync(join(build, 'compile_commands.json'), 'utf8'))
  const entry = entries.find(({ file, command }) => file.endsWith(source) && command.includes('hrm_cuda_on_cpu.dir'))
  if (!entry) throw new Error(`no command for ${source} in build/compile_commands.json; run npm run native`)
  const [compiler, ...flags] = words(entry.command)
  const output = flags.indexOf('-o')
  return {
    compiler,
    flags: flags.filter((word, i) => i < output || (i > output + 1 && word !== '-c' && word !== entry.file)),
  }
}

async function tryMutant({ name, file, source = file, from, to, cases }, folder, objects) {
  const text = await readFile(join(root, file), 'utf8')
  const occurrences = text.split(from).length - 1
  if (occurrences !== 1)
    throw new Error(`mutant '${name}': expected its text once in ${file}, got it ${occurrences} times`)
  const mutant = join(folder, file)
  await mkdir(dirname(mutant), { recursive: true })
  await writeFile(
    mutant,
    text.replace(from, () => to),
  )
  const { compiler, flags } = compileCommand(source)
  const object = join(folder, 'mutant.o')
  const input = source === file ? mutant : join(root, source)
  const compiled = await run(compiler, [`-I${folder}`, ...flags, '-Wno-error', '-c', input, '-o', object])
  if (compiled.status !== 0) throw new Error(`mutant '${name}' does not compile:\n${compiled.output}`)
  const program = join(folder, 'kernels')
  const libraries = [join(build, 'cuda/host/libhrm_cuda_on_cpu.a'), join(build, 'libhrm_core_cpu.a'), '-pthread']
  const linked = await run(compiler, [object, ...objects, ...libraries, '-o', program])
  if (linked.status !== 0) throw new Error(`mutant '${name}' does not link:\n${linked.output}`)
  const { status, output } = await run(program, cases, { stop: (lines) => /^FAIL /m.test(lines) })
  const last = output.trim().split('\n').at(-1)
  if (last === '0 passed, 0 failed') throw new Error(`mutant '${name}': no case is named ${cases.join(' or ')}`)
  // A crash is a catch too: poison that is used as an index leads nowhere.
  const notice = /^FAIL (.*)$/m.exec(output)?.[1] ?? (status === null ? 'crashed' : undefined)
  console.log(notice ? `caught   ${name}\n           ${notice}` : `SURVIVED ${name} (${status}, ${last})`)
  return notice !== undefined
}

const [filter = ''] = process.argv.slice(2)
const chosen = mutants.filter(({ name, short }) => (filter === '--short' ? short : name.includes(filter)))
const tests = join(build, 'cuda/host/CMakeFiles/hrm_cuda_kernels.dir')
if (!existsSync(tests)) throw new Error('no build of the kernels for the CPU; run npm run native')
const names = await readdir(tests, { recursive: true })
const objects = names.filter((name) => name.endsWith('.o')).map((name) => join(tests, name))
const base = await mkdtemp(join(tmpdir(), 'cuda-mutants-'))
let caught = 0
try {
  const queue = [...chosen.entries()]
  const worker = async () => {
    for (let next = queue.shift(); next; next = queue.shift())
      if (await tryMutant(next[1], join(base, String(next[0])), objects)) caught++
  }
  await Promise.all(Array.from({ length: parallel }, worker))
} finally {
  await rm(base, { recursive: true })
}
console.log(`${caught} of ${chosen.length} mutants caught`)
process.exitCode = caught === chosen.length && chosen.length > 0 ? 0 : 1
