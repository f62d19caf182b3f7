// Plants one fault at a time in the reference backward and the one-step gradient, and demands that the whole-model
// gradient check fails. Prints `N of N mutants caught`; exits 1 otherwise, or if the unchanged code does not pass.
// Usage: node scripts/mutants.mjs [text that the mutant's name contains]. Compiler: $CXX, else g++.

import { spawn } from 'node:child_process'
import { cp, mkdir, mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const repository = dirname(dirname(fileURLToPath(import.meta.url)))
const compiler = process.env.CXX ?? 'g++'
const parallel = 2

/** `check` is the configuration that must notice; `from` must occur exactly once in the file. */
const mutants = [
  {
    name: 'rms norm: sign of the projection',
    file: 'cpu/reference/rms_norm.h',
    from: '(grad_row[i] - y_row[i] * mean)',
    to: '(grad_row[i] + y_row[i] * mean)',
  },
  {
    name: 'rms norm: another row’s scale',
    file: 'cpu/reference/rms_norm.h',
    from: 'inverse_rms[r] * (grad_row[i]',
    to: 'inverse_rms[0] * (grad_row[i]',
  },
  {
    name: 'rope: turned forward instead of back',
    file: 'cpu/reference/rope.h',
    from: 'grad[i] = first * cos[i] + second * sin[i];',
    to: 'grad[i] = first * cos[i] - second * sin[i];',
  },
  {
    name: 'attention: softmax without its mean',
    file: 'cpu/reference/attention.h',
    from: '(grad_p[j] - weighted)',
    to: 'grad_p[j]',
  },
  {
    name: 'attention: no score scale',
    file: 'cpu/reference/attention.h',
    from: 'scale * (p[j] *',
    to: '(p[j] *',
  },
  {
    name: 'attention: key gradient from the key’s own query',
    file: 'cpu/reference/attention.h',
    from: 'grad_score * q[i * stride + d]',
    to: 'grad_score * q[j * stride + d]',
  },
  {
    name: 'attention: value gradient transposed',
    file: 'cpu/reference/attention.h',
    from: 'grad_v[j * stride + d] += p[j]',
    to: 'grad_v[i * stride + d] += p[j]',
  },
  {
    name: 'swiglu: sign inside the slope of silu',
    file: 'cpu/reference/swiglu.h',
    from: '(T(1) - gated)',
    to: '(T(1) + gated)',
  },
  {
    name: 'swiglu: up gradient without the gate’s value',
    file: 'cpu/reference/swiglu.h',
    from: 'grad * (gate[i] * gated)',
    to: 'grad * gated',
  },
  {
    name: 'linear: weight transposed in the input gradient',
    file: 'cpu/reference/linear.h',
    from: 'value * weight_row[i]',
    to: 'value * weight[i * out + o]',
  },
  {
    name: 'linear: rows reversed in the weight gradient',
    file: 'cpu/reference/linear.h',
    from: 'const T* x_row = x + r * in;',
    to: 'const T* x_row = x + (rows - 1 - r) * in;',
  },
  {
    name: 'block: attention weights against the middle activation',
    file: 'cpu/reference/block.h',
    from: 'grad_qkv.data(), tape.input.data()',
    to: 'grad_qkv.data(), tape.middle.data()',
  },
  {
    name: 'block: first norm with the second’s scale',
    file: 'cpu/reference/block.h',
    from: 'tape.middle.data(), tape.middle_inverse_rms.data(), grad)',
    to: 'tape.middle.data(), tape.output_inverse_rms.data(), grad)',
  },
  {
    name: 'embedding: tokens shifted by the puzzle positions',
    file: 'cpu/reference/embedding.h',
    from: 'scale * grad[(P + t) * D + i]',
    to: 'scale * grad[t * D + i]',
  },
  {
    name: 'embedding: scale of learned positions lost',
    file: 'cpu/reference/embedding.h',
    from: 'grad_positions ? kPositionScale : 1.0',
    to: 'grad_positions ? 1.0 : 1.0',
    check: 'learned-stablemax',
  },
  {
    name: 'readout: q head at the second position',
    file: 'cpu/reference/readout.h',
    from: 'accumulate(grad_q[b * 2 + i], z_h + first,',
    to: 'accumulate(grad_q[b * 2 + i], z_h + first + D,',
  },
  {
    name: 'readout: bias of halt and continue exchanged',
    file: 'cpu/reference/readout.h',
    from: 'grads.q_bias[i] += grad_q',
    to: 'grads.q_bias[1 - i] += grad_q',
  },
  {
    name: 'stablemax: sign at the label',
    file: 'cpu/reference/losses.h',
    from: 'grad[label] -= stablemax_slope',
    to: 'grad[label] += stablemax_slope',
  },
  {
    name: 'softmax: sign at the label',
    file: 'cpu/reference/losses.h',
    from: 'grad[label] -= 1;',
    to: 'grad[label] += 1;',
    check: 'rope-softmax',
  },
  {
    name: 'loss: not divided by the labelled tokens',
    file: 'cpu/reference/losses.h',
    from: 'T(scale / divisor * scratch[v])',
    to: 'T(scale * scratch[v])',
  },
  {
    name: 'q loss: sign of the target',
    file: 'cpu/reference/losses.h',
    from: '/ (1 + std::exp(-x)) - target',
    to: '/ (1 + std::exp(-x)) + target',
  },
  {
    name: 'q loss: continue gradient from the halt logit',
    file: 'cpu/reference/losses.h',
    from: 'bce_with_logits_grad(q[1]',
    to: 'bce_with_logits_grad(q[0]',
  },
  {
    name: 'one-step gradient: L layers in forward order',
    file: 'core/model.cc',
    from: 'for (size_t i = weights_.l_level.size(); i-- > 0;)',
    to: 'for (size_t i = 0; i < weights_.l_level.size(); ++i)',
  },
  {
    name: 'one-step gradient: first L layer’s tape for all',
    file: 'core/model.cc',
    from: '*tape.l[i], grad',
    to: '*tape.l[0], grad',
  },
  {
    name: 'one-step gradient: sum over the batch, not its mean',
    file: 'core/trainer.cc',
    from: '1 / static_cast<double>(batch_), on.logits',
    to: '1.0, on.logits',
  },
]

const driver = `#include "test/native/modes.h"
int main(int, char** words) {
  hrm::optable::Options options;
  options.filter = words[1];
  hrm::optable::Report report(options);
  hrm::optable::run_model_grad(options, report);
  return report.finish();
}
`

/** Runs a command to its end, or kills it once `stop` says so; resolves with status and output. */
function run(command, args, stop = () => false) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] })
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

async function compile(source, object, includes) {
  const flags = ['-std=c++20', '-O1', '-ffp-contract=off', ...includes.map((path) => `-I${path}`)]
  const { status, output } = await run(compiler, [...flags, '-c', source, '-o', object])
  if (status !== 0) throw new Error(`${compiler} could not compile ${source}:\n${output}`)
}

/** Calls `work` on every item, `parallel` at a time; results in order. */
async function mapParallel(items, work) {
  const results = []
  const queue = items.entries()
  const worker = async () => {
    for (const [index, item] of queue) results[index] = await work(item, index)
  }
  await Promise.all(Array.from({ length: parallel }, worker))
  return results
}

/** Copies the sources and compiles them unchanged; returns source -> object. */
async function buildBase(base) {
  const native = ['gradient_check', 'finite_differences', 'fixture', 'report'].map((name) => `test/native/${name}.cc`)
  await cp(join(repository, 'core'), join(base, 'core'), { recursive: true })
  await cp(join(repository, 'cpu/reference'), join(base, 'cpu/reference'), { recursive: true })
  for (const name of ['storage.h', 'memory.h', 'memory.cc'])
    await cp(join(repository, 'cpu', name), join(base, 'cpu', name))
  await cp(join(repository, 'test/native'), join(base, 'test/native'), { recursive: true })
  await writeFile(join(base, 'driver.cc'), driver)
  // backend_select.cc is the only file of core that names other backends.
  const core = (await readdir(join(base, 'core'))).filter(
    (name) => name.endsWith('.cc') && name !== 'backend_select.cc',
  )
  const cpu = ['cpu/memory.cc', 'cpu/reference/reference_backend.cc']
  const sources = ['driver.cc', ...cpu, ...core.map((name) => `core/${name}`), ...native]
  const objects = new Map(sources.map((source) => [source, join(base, source.replaceAll('/', '_') + '.o')]))
  await mapParallel(sources, (source) => compile(join(base, source), objects.get(source), [base]))
  return objects
}

async function link(objects, program) {
  const { status, output } = await run(compiler, [...objects.values(), '-pthread', '-o', program])
  if (status !== 0) throw new Error(`${compiler} could not link ${program}:\n${output}`)
}

async function check(program, filter) {
  const failed = (output) => /^FAIL /m.test(output)
  const { status, output } = await run(program, [filter], failed)
  if (failed(output)) return 'failed'
  return status === 0 ? 'passed' : `did not finish (${output.trim().split('\n').at(-1)})`
}

/** Compiles the one source that the mutation changes against the unchanged rest, and runs the check. */
async function tryMutant({ name, file, from, to, check: configuration = 'rope-stablemax' }, folder, base, objects) {
  const text = await readFile(join(base, file), 'utf8')
  const occurrences = text.split(from).length - 1
  if (occurrences !== 1)
    throw new Error(`mutant '${name}': expected '${from}' once in ${file}, got it ${occurrences} times`)
  await mkdir(dirname(join(folder, file)), { recursive: true })
  await writeFile(
    join(folder, file),
    text.replace(from, () => to),
  )
  const source = file.endsWith('.cc') ? file : 'cpu/reference/reference_backend.cc'
  const object = join(folder, 'mutant.o')
  await compile(join(file === source ? folder : base, source), object, [folder, base])
  const program = join(folder, 'check')
  await link(new Map([...objects, [source, object]]), program)
  const outcome = await check(program, `model ${configuration}`)
  const caught = outcome === 'failed'
  console.log(`${caught ? 'caught' : 'MISSED'} ${name}${caught ? '' : `: the check ${outcome}`}`)
  return caught
}

const work = await mkdtemp(join(tmpdir(), 'hrm-mutants-'))
try {
  const base = join(work, 'base')
  const objects = await buildBase(base)
  await link(objects, join(base, 'check'))
  const unchanged = await mapParallel(['rope', 'learned'], (positions) =>
    check(join(base, 'check'), `model ${positions}`),
  )
  if (unchanged.some((outcome) => outcome !== 'passed')) {
    throw new Error(`the check of the unchanged code ${unchanged.find((outcome) => outcome !== 'passed')}`)
  }
  const chosen = mutants.filter(({ name }) => name.includes(process.argv[2] ?? ''))
  const caught = await mapParallel(chosen, (mutant, index) => tryMutant(mutant, join(work, `${index}`), base, objects))
  const count = caught.filter(Boolean).length
  console.log(`${count} of ${chosen.length} mutants caught`)
  if (count < chosen.length || count === 0) process.exitCode = 1
} finally {
  await rm(work, { recursive: true, force: true })
}
