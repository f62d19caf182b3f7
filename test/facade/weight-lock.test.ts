import { setImmediate as turn } from 'node:timers/promises'
import { test } from 'tap'
import { WeightLock } from '#dist/engine.js'

test('readers share the weights and a change waits for them', async (t) => {
  const lock = new WeightLock()
  const first = await lock.read()
  const second = await lock.read()
  let changed = false
  const change = lock.change().then((release) => {
    changed = true
    return release
  })
  await turn()
  t.equal(changed, false)
  t.equal(lock.contended, true)
  first()
  await turn()
  t.equal(changed, false)
  second()
  ;(await change)()
  t.equal(changed, true)
  t.equal(lock.contended, false)
})

test('a reader that comes after a waiting change waits too', async (t) => {
  const lock = new WeightLock()
  const order: string[] = []
  const reader = await lock.read()
  const change = lock.change().then((release) => {
    order.push('change')
    release()
  })
  const late = lock.read().then((release) => {
    order.push('late reader')
    release()
  })
  await turn()
  t.same(order, [])
  reader()
  await Promise.all([change, late])
  t.same(order, ['change', 'late reader'])
})

test('an abort takes a waiting change out and lets those behind it go on', async (t) => {
  const lock = new WeightLock()
  const reader = await lock.read()
  const abort = new AbortController()
  const change = lock.change(abort.signal)
  const late = lock.read()
  abort.abort(new Error('enough'))
  await t.rejects(change, { message: 'enough' })
  ;(await late)()
  reader()
  ;(await lock.change())()
  await t.rejects(lock.read(AbortSignal.abort(new Error('before'))), { message: 'before' })
})

test('letting go twice counts once', async (t) => {
  const lock = new WeightLock()
  const first = await lock.read()
  const second = await lock.read()
  first()
  first()
  let changed = false
  const change = lock.change().then((release) => {
    changed = true
    release()
  })
  await turn()
  t.equal(changed, false)
  second()
  await change
  t.equal(changed, true)
})
