import { test } from 'tap'
import { EventQueue } from '#dist/event-queue.js'

const small = (capacity = 2, onReturn = async () => {}) =>
  new EventQueue<string>(capacity, (item) => item.startsWith('step'), onReturn)

async function drain(queue: EventQueue<string>): Promise<string[]> {
  const items: string[] = []
  for await (const item of queue) items.push(item)
  return items
}

test('the oldest of the bounded items is dropped and others never are', async (t) => {
  const queue = small()
  for (const item of ['step1', 'eval1', 'step2', 'eval2', 'step3', 'step4', 'eval3']) queue.push(item)
  queue.close()
  t.same(await drain(queue), ['eval1', 'eval2', 'step3', 'step4', 'eval3'])
})

test('items that were read make room for others', async (t) => {
  const queue = small()
  queue.push('step1')
  queue.push('step2')
  await queue.next()
  queue.push('step3')
  queue.close()
  t.same(await drain(queue), ['step2', 'step3'])
})

test('a waiting consumer gets an item as soon as it is pushed', async (t) => {
  const queue = small()
  const next = queue.next()
  queue.push('step1')
  t.same(await next, { value: 'step1', done: false })
})

test('an error arrives after the items before it, once', async (t) => {
  const queue = small()
  queue.push('eval1')
  queue.close({ error: new Error('failed') })
  t.same(await queue.next(), { value: 'eval1', done: false })
  await t.rejects(queue.next(), { message: 'failed' })
  t.same(await queue.next(), { value: undefined, done: true })
})

test('an error reaches a consumer that already waits', async (t) => {
  const queue = small()
  const next = queue.next()
  const after = queue.next()
  queue.close({ error: new Error('failed') })
  await t.rejects(next, { message: 'failed' })
  t.same(await after, { value: undefined, done: true })
})

test('leaving the loop early calls back and ends the queue', async (t) => {
  let returned = 0
  const queue = small(2, async () => void returned++)
  queue.push('eval1')
  queue.push('eval2')
  for await (const item of queue) {
    t.equal(item, 'eval1')
    break
  }
  t.equal(returned, 1)
  t.same(await drain(queue), [])
})
