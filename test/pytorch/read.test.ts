import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'tap'
import { PyTorchFile } from '#dist/pytorch/pytorch-file.js'
import { hrmError } from '../data/fixtures.js'
import { dict, saved, storage, tensor, tensorBytes, tensorValues, text, torchBytes } from './fixtures.js'

/** What `base` held in Python: `torch.arange(24).reshape(4, 6) / 8`. */
const base = Array.from({ length: 24 }, (_, at) => at / 8)

void test('tensors that PyTorch saved are read as they were: views, strides, dtypes, parameters', async (t) => {
  const file = await PyTorchFile.open(join(saved, 'state_dict.pt'))
  t.teardown(() => file.close())
  await file.verify()
  const expected: [string, string, number[], number[]][] = [
    ['whole', 'F32', [4, 6], base],
    ['transposed', 'F32', [6, 4], base.map((_, at) => base[(at % 4) * 6 + Math.floor(at / 4)]!)],
    ['column', 'F32', [4], [2, 8, 14, 20].map((at) => at / 8)],
    ['rows', 'F32', [2, 6], base.slice(6, 18)],
    ['scalar', 'F32', [], [23 / 8]],
    ['parameter', 'F32', [2], [1.5, -2.5]],
    ['bfloat16', 'BF16', [4], [0.10009765625, -3, 1.0002555517425873e30, Infinity].map(Math.fround)],
    ['half', 'F16', [3], [0.0999755859375, -3, 2 ** -24]],
    ['double', 'F64', [2], [Math.fround(0.1), -3]],
    ['empty', 'F32', [0, 5], []],
  ]
  for (const [name, dtype, shape, values] of expected) {
    t.same(file.info(name), { dtype, shape }, name)
    t.same(await tensorValues(file, name), values, name)
  }
  const integers = (name: string) => [...new Uint8Array(tensorBytes(file, name))]
  t.same(file.info('long'), { dtype: 'I64', shape: [1, 2] })
  t.same(new BigInt64Array(tensorBytes(file, 'long').buffer), [2n ** 40n, -1n])
  t.same(new Int32Array(tensorBytes(file, 'int').buffer), [7, -7])
  t.same(integers('byte'), [0, 255])
  t.same(file.info('bool'), { dtype: 'BOOL', shape: [2] })
  t.same(integers('bool'), [1, 0])
  t.same(
    file.names(),
    'whole transposed column rows scalar parameter bfloat16 half double long int byte bool empty'.split(' '),
  )
  t.match(await hrmError(() => file.info('none')), { code: 'ERR_HRM_CHECKPOINT', message: /"none"/ })
})

void test('part of a strided tensor is what the whole holds there', async (t) => {
  const file = await PyTorchFile.open(join(saved, 'state_dict.pt'))
  const whole = tensorBytes(file, 'transposed')
  t.same(file.readRange('transposed', 20, 64), whole.subarray(20, 64))
  file.close()
})

void test('pickle protocol 4 is read too', async (t) => {
  const file = await PyTorchFile.open(join(saved, 'protocol_4.pt'))
  t.same(await tensorValues(file, 'x'), [0, 1, 2])
  t.same(new BigInt64Array(tensorBytes(file, 'y').buffer), [1n, 2n])
  file.close()
})

void test('the form before PyTorch 1.6 is refused with a hint', async (t) => {
  t.match(await hrmError(() => PyTorchFile.open(join(saved, 'legacy.pt'))), {
    code: 'ERR_HRM_CHECKPOINT',
    message: /1\.6.*legacy\.pt.*do save it again/s,
  })
})

void test('a dict with more than tensors is refused by name, without being called unsafe', async (t) => {
  const path = join(t.testdir(), 'training.pt')
  const step = `${text('model')}}${text('step')}K\x05`
  writeFileSync(path, torchBytes(dict(text('x'), tensor(), step)))
  t.match(await hrmError(() => PyTorchFile.open(path)), { code: 'ERR_HRM_CHECKPOINT', message: /a tensor as "model"/ })
  writeFileSync(path, torchBytes(`\x80\x02${tensor()}.`))
  t.match(await hrmError(() => PyTorchFile.open(path)), { code: 'ERR_HRM_CHECKPOINT', message: /a dict of tensors/ })
  writeFileSync(path, torchBytes(dict('K\x01', tensor())))
  t.match(await hrmError(() => PyTorchFile.open(path)), { code: 'ERR_HRM_CHECKPOINT', message: /names as the keys/ })
})

void test('a tensor called __proto__ is a tensor', async (t) => {
  const path = join(t.testdir(), 'proto.pt')
  writeFileSync(path, torchBytes(dict(text('__proto__'), tensor())))
  const file = await PyTorchFile.open(path)
  t.same(file.names(), ['__proto__'])
  t.same(await tensorValues(file, '__proto__'), [1, 2, 3, 4])
  file.close()
})

void test('a changed byte of a storage is found', async (t) => {
  const path = join(t.testdir(), 'changed.pt')
  const bytes = readFileSync(join(saved, 'state_dict.pt'))
  const at = bytes.indexOf(Buffer.from(Float32Array.of(2.875).buffer))
  t.ok(at > 0)
  bytes[at]! ^= 1
  writeFileSync(path, bytes)
  const file = await PyTorchFile.open(path)
  t.match(await hrmError(() => file.verify()), { code: 'ERR_HRM_CORRUPT', message: /CRC-32.*data\/0/ })
  file.close()
})

void test('data of a big-endian machine are refused', async (t) => {
  const path = join(t.testdir(), 'big.pt')
  const order = { name: 'a/byteorder', data: Buffer.from('big') }
  writeFileSync(path, torchBytes(dict(text('x'), tensor({ of: storage() })), [order]))
  t.match(await hrmError(() => PyTorchFile.open(path)), { code: 'ERR_HRM_CHECKPOINT', message: /little-endian.*"big"/ })
})
