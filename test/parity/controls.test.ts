import { cpSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import tap, { test, type Test } from 'tap'
import { readSafetensors, writeSafetensors } from '#dist/safetensors.js'
import { parity, root } from './run-parity.js'

// Some thirty replays of a second each.
tap.setTimeout(300_000)

const odd = join(root, 'test/golden/iii_odd')

/** A copy of the committed trace directory for a test to damage. */
function copyOfOdd(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'hrm-parity-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  cpSync(odd, folder, { recursive: true })
  return folder
}

/** Multiplies one element of a tensor by a factor, in place in the file. */
function scaleElement(file: string, tensor: string, element: number, factor: number): void {
  const bytes = readFileSync(file)
  const headerBytes = Number(bytes.readBigUInt64LE())
  const header = JSON.parse(bytes.toString('utf8', 8, 8 + headerBytes)) as Record<
    string,
    { dtype: string; data_offsets: [number, number] }
  >
  const entry = header[tensor]
  if (entry?.dtype !== 'F64') throw new Error(`${tensor} is ${entry?.dtype}`)
  const position = 8 + headerBytes + entry.data_offsets[0] + 8 * element
  bytes.writeDoubleLE(bytes.readDoubleLE(position) * factor, position)
  writeFileSync(file, bytes)
}

function editManifest(folder: string, edit: (manifest: Record<string, Record<string, unknown>>) => void): void {
  const file = join(folder, 'manifest.json')
  const manifest = JSON.parse(readFileSync(file, 'utf8')) as Record<string, Record<string, unknown>>
  edit(manifest)
  writeFileSync(file, JSON.stringify(manifest))
}

async function dropTensors(file: string, unwanted: RegExp): Promise<void> {
  const source = await readSafetensors(file)
  const names = source.names().filter((name) => !unwanted.test(name))
  const entries = await Promise.all(
    names.map(async (name) => Object.assign({ name, data: await source.read(name) }, source.info(name))),
  )
  await source.close()
  rmSync(file)
  await writeSafetensors(file, entries)
}

/** Single numbers of the double trace that a replay must miss. */
const perturbations = [
  { key: 'train.0.logits', tensor: 'logits', call: 0 },
  { key: 'train.5.z_L', tensor: 'z_L', call: 5 },
  { key: 'train.3.q_continue_logits', tensor: 'q_continue_logits', call: 3 },
  { key: 'train.2.target_q_continue', tensor: 'target_q_continue', call: 2 },
  { key: 'train.4.metrics.lm_loss', tensor: 'metrics.lm_loss', call: 4 },
  { key: 'train.0.grad.model.inner.lm_head.weight', tensor: 'grad.model.inner.lm_head.weight', call: 0 },
  {
    key: 'train.5.param_sample.model.inner.lm_head.weight',
    tensor: 'param_sample.model.inner.lm_head.weight',
    call: 5,
  },
  { key: 'eval.4.logits', tensor: 'logits', call: 4 },
  { key: 'eval.final.z_H', tensor: 'z_H', call: 5 },
  { key: 'stage.055.L_level.layers.0.mlp', tensor: 'stage.055.L_level.layers.0.mlp', call: 0 },
]

for (const { key, tensor, call } of perturbations)
  test(`a double trace with one wrong number in ${key} fails, by name`, (t) => {
    const folder = copyOfOdd(t)
    scaleElement(join(folder, 'trace_f64.safetensors'), key, 0, 1 + 1e-4)
    const { status, reports } = parity('--precision', 'fp64', folder)
    t.equal(status, 1)
    t.equal(reports[0]?.ok, false)
    t.equal(reports[0]?.failures.length, 1)
    t.match(reports[0]?.failures[0], { tensor, call })
    t.end()
  })

test('a number wrong by more than the float bound fails the float runs', (t) => {
  const folder = copyOfOdd(t)
  scaleElement(join(folder, 'trace_f64.safetensors'), 'train.0.logits', 0, 1.01)
  const { status, reports } = parity('--precision', 'fp32', '--isa', 'reference', folder)
  t.equal(status, 1)
  t.match(reports[0]?.failures, [{ tensor: 'logits', call: 0 }])
  t.end()
})

const settings: [string, string, unknown, RegExp][] = [
  ['config', 'rms_norm_eps', 1e-4, /^logits$/],
  ['config', 'rope_theta', 9000, /^logits$/],
  ['config', 'halt_exploration_prob', 0, /^halted$/],
  ['config', 'loss_type', 'softmax_cross_entropy', /^metrics\.lm_loss$/],
  ['hyper', 'lr', 1.001e-3, /^param/],
  ['hyper', 'wd', 0.2, /^param/],
  ['hyper', 'betas', [0.9, 0.951], /^param/],
  ['hyper', 'emb_lr', 1.001e-2, /^param\.model\.inner\.puzzle_emb/],
  ['hyper', 'emb_wd', 0.2, /^param\.model\.inner\.puzzle_emb/],
]

for (const [section, key, value, tensor] of settings)
  test(`the manifest's ${section}.${key} reaches the engine`, (t) => {
    const folder = copyOfOdd(t)
    editManifest(folder, (manifest) => {
      manifest[section] = { ...manifest[section], [key]: value }
    })
    const { status, reports } = parity('--precision', 'fp64', folder)
    t.equal(status, 1)
    t.ok(reports[0]?.failures.some((failure) => tensor.test(failure.tensor ?? '')))
    t.end()
  })

test('a trace without optional tensors passes', async (t) => {
  const folder = copyOfOdd(t)
  const optional = /^(stage|rope)\.|^train\.[1-5]\.z_|\.current\.|\.grad\.|local_ids|^eval\.final/
  await dropTensors(join(folder, 'trace_f64.safetensors'), optional)
  const { status, reports } = parity('--precision', 'fp64', folder)
  t.equal(status, 0)
  t.strictSame(reports[0]?.failures, [])
})

for (const group of ['z_H', 'target_q_continue', 'halted', 'param', 'eval.logits'])
  test(`a trace that holds nothing of ${group} fails`, async (t) => {
    const folder = copyOfOdd(t)
    const prefix = group.startsWith('eval.') ? '' : 'train\\.\\d\\.'
    const unwanted = new RegExp(`^${prefix}${group.replace('eval.', 'eval\\.\\d\\.')}(_sample|_norm)?(\\.|$)`)
    await dropTensors(join(folder, 'trace_f64.safetensors'), unwanted)
    const { status, reports } = parity('--precision', 'fp64', folder)
    t.equal(status, 1)
    t.match(reports[0]?.failures, [{ tensor: group, reason: /nothing/ }])
    t.end()
  })

const damages: [string, (folder: string) => void | Promise<void>, RegExp][] = [
  ['a missing manifest', (folder) => rmSync(join(folder, 'manifest.json')), /manifest\.json/],
  ['a manifest that is no JSON', (folder) => truncateSync(join(folder, 'manifest.json'), 100), /manifest\.json/],
  ['a manifest without sizes', (folder) => editManifest(folder, (m) => delete m.config?.seq_len), /config\.seq_len/],
  ['a missing trace', (folder) => rmSync(join(folder, 'trace_f64.safetensors')), /trace_f64\.safetensors/],
  ['a truncated file', (folder) => truncateSync(join(folder, 'init.safetensors'), 1000), /init\.safetensors/],
  [
    'a manifest of no model',
    (folder) => editManifest(folder, (m) => Object.assign(m.config ?? {}, { halt_exploration_prob: 2 })),
    /haltExplorationProb|halt_exploration_prob/,
  ],
  [
    'a missing parameter',
    (folder) => dropTensors(join(folder, 'init.safetensors'), /lm_head/),
    /init\.safetensors.*inner\.lm_head\.weight/,
  ],
  [
    'a missing batch',
    (folder) => dropTensors(join(folder, 'batches.safetensors'), /train\.3\.labels/),
    /batches\.safetensors.*train\.3\.labels/,
  ],
]

for (const [what, damage, named] of damages)
  test(`${what} is a broken directory, named, and the others are still judged`, async (t) => {
    const folder = copyOfOdd(t)
    await damage(folder)
    const { status, reports, stderr } = parity('--precision', 'fp64', folder, odd)
    t.equal(status, 3)
    t.match(stderr, named)
    t.match(reports, [
      { ok: false, failures: [{ reason: named }] },
      { name: 'iii_odd', ok: true },
    ])
    t.end()
  })

test('parity without a directory, with an unknown option or instruction set is wrong usage', (t) => {
  for (const args of [[], ['--fast', odd], ['--isa', 'abacus', odd], ['--precision', 'fp16', odd]]) {
    const { status, stderr } = parity(...args)
    t.equal(status, 2)
    t.match(stderr, /--help/)
  }
  const { status } = parity('--help')
  t.equal(status, 0)
  t.end()
})
