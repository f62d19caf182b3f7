import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { test } from 'tap'
import { native } from '#dist/native.js'
import { readSafetensors } from '#dist/safetensors.js'

const root = fileURLToPath(new URL('../../..', import.meta.url))
const shared = join(process.env.HRM_GOLDEN ?? join(root, '../shared/golden'), 'ops')
const folder = existsSync(shared) ? shared : join(root, 'test/golden/ops')

interface Facts {
  lr_schedule: {
    base_lr: number
    num_warmup_steps: number
    num_training_steps: number
    min_ratio: number
    points: [number, number][]
  }[]
  trunc_normal_init: { std: number; comp_std: number; bound: number }[]
}

const facts = JSON.parse(readFileSync(join(folder, 'ops.json'), 'utf8')) as Facts

test('the learning rate follows the official schedule', (t) => {
  t.ok(facts.lr_schedule.length >= 5)
  for (const schedule of facts.lr_schedule) {
    for (const [step, expected] of schedule.points) {
      const { base_lr, num_warmup_steps, num_training_steps, min_ratio } = schedule
      const lr = native.debug.learningRate(step, base_lr, num_warmup_steps, num_training_steps, min_ratio)
      t.ok(
        Math.abs(lr - expected) <= 1e-15 * base_lr,
        `step ${step} of ${num_training_steps}, ratio ${min_ratio}: ${lr} is ${expected}`,
      )
    }
  }
  t.end()
})

test('the truncated normal maps uniforms as the official initialiser does', async (t) => {
  const file = await readSafetensors(join(folder, 'ops.safetensors'))
  const u = (await file.read('trunc.u')) as Float64Array
  const stds = facts.trunc_normal_init.map(({ std }) => ({
    std,
    key: file.names().find((name) => name.startsWith(`trunc.x.std${Number(std.toPrecision(6))}`)),
  }))
  t.equal(stds.length, 3)
  for (const { std, key } of stds) {
    const expected = (await file.read(key ?? `trunc.x of ${std}`)) as Float64Array
    const values = native.debug.truncatedNormal(std, 0, u.length, u)
    t.equal(values.length, expected.length)
    const worst = values.reduce((most, value, i) => Math.max(most, Math.abs(value - (expected[i] ?? NaN))), 0)
    t.ok(worst <= 1e-12 * std, `standard deviation ${std}: ${worst}`)
  }
  await file.close()
})

test('the truncated normal has the standard deviation asked for and ends at the compensated bound', (t) => {
  for (const { std, bound } of facts.trunc_normal_init) {
    const values = native.debug.truncatedNormal(std, 7, 200_000)
    const variance = values.reduce((sum, value) => sum + value * value, 0) / values.length
    // The kurtosis 2.37 makes the estimate's own deviation std * sqrt(1.37 / n) / 2 = 0.0013 std.
    t.ok(Math.abs(Math.sqrt(variance) / std - 1) < 0.006, `deviation ${Math.sqrt(variance)} of ${std}`)
    const most = values.reduce((largest, value) => Math.max(largest, Math.abs(value)), 0)
    t.ok(most <= bound && most > 0.99 * bound, `largest ${most} of ${bound}`)
  }
  t.strictSame(native.debug.truncatedNormal(0, 7, 4), new Float64Array(4))
  t.end()
})
