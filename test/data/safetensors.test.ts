import { createHash } from 'node:crypto'
import { open } from 'node:fs/promises'
import { readFileSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { test } from 'tap'
import { crc32c } from '#dist/crc32c.js'
import { readSafetensors, type SafetensorsDtype, type SafetensorsEntry, writeSafetensors } from '#dist/safetensors.js'
import { damagedFiles, golden, hrmError, unlessGolden } from './fixtures.js'

function file(header: string | Uint8Array, data: Uint8Array = new Uint8Array(0), headerBytes?: bigint): Uint8Array {
  const text = Buffer.from(header)
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(headerBytes ?? BigInt(text.length))
  return Buffer.concat([length, text, data])
}

const arrays = {
  F64: (bytes: Uint8Array) => new Float64Array(bytes.buffer),
  F32: (bytes: Uint8Array) => new Float32Array(bytes.buffer),
  F16: (bytes: Uint8Array) => new Uint16Array(bytes.buffer),
  BF16: (bytes: Uint8Array) => new Uint16Array(bytes.buffer),
  I64: (bytes: Uint8Array) => new BigInt64Array(bytes.buffer),
  I32: (bytes: Uint8Array) => new Int32Array(bytes.buffer),
  U8: (bytes: Uint8Array) => bytes,
  BOOL: (bytes: Uint8Array) => bytes.map((byte) => byte & 1),
} satisfies Record<SafetensorsDtype, (bytes: Uint8Array) => unknown>

const itemSizes = { F64: 8, F32: 4, F16: 2, BF16: 2, I64: 8, I32: 4, U8: 1, BOOL: 1 }

const entry = fc
  .record({
    name: fc.string().filter((name) => name !== '__metadata__'),
    dtype: fc.constantFrom(...(Object.keys(arrays) as SafetensorsDtype[])),
    shape: fc.array(fc.nat(4), { maxLength: 3 }),
    seed: fc.nat(255),
  })
  .map(({ name, dtype, shape, seed }): SafetensorsEntry => {
    const size = shape.reduce((product, extent) => product * extent, itemSizes[dtype])
    const bytes = Uint8Array.from({ length: size }, (_, index) => (seed + index * 31) & 0xff)
    return { name, dtype, shape, data: arrays[dtype](bytes) }
  })

void test('what is written reads the same, in order, with hashes of what is in the file', async (t) => {
  const dir = t.testdir()
  let run = 0
  await fc.assert(
    fc.asyncProperty(
      fc.uniqueArray(entry, { selector: ({ name }) => name, maxLength: 6 }),
      fc.dictionary(fc.string(), fc.string(), { maxKeys: 3, noNullPrototype: true }),
      async (entries, metadata) => {
        const path = join(dir, `${run++}.safetensors`)
        const summary = await writeSafetensors(path, entries, metadata)
        const bytes = readFileSync(path)
        t.equal(summary.sizeBytes, bytes.length)
        t.equal(summary.sha256, createHash('sha256').update(bytes).digest('hex'))
        t.equal(bytes.readBigUInt64LE() % 8n, 0n, 'data start at a multiple of 8')
        const back = await readSafetensors(path)
        t.same(
          back.names(),
          entries.map(({ name }) => name),
        )
        t.strictSame(Object.fromEntries(back.metadata), { ...metadata })
        for (const { name, dtype, shape, data } of entries) {
          t.same(back.info(name), { dtype, shape })
          t.strictSame(await back.read(name), data)
          const raw = await back.readBytes(name)
          t.equal(summary.crc32c.get(name), crc32c(raw).toString(16).padStart(8, '0'))
        }
        await back.close()
      },
    ),
    { numRuns: 150 },
  )
})

void test('golden files of the official code are read', { skip: unlessGolden('ops/ops.safetensors') }, async (t) => {
  const found = await readSafetensors(join(golden, 'ckpt/loader_batches.safetensors'))
  t.same(found.info('test.0.inputs'), { dtype: 'I32', shape: [4, 81] })
  t.same(found.info('test.0.global_batch_size'), { dtype: 'I32', shape: [] })
  t.equal(((await found.read('test.0.global_batch_size')) as Int32Array)[0], 4)
  await found.close()
  for (const name of ['ops/ops', 'i_sudoku_rope/trace_f64', 'iii_odd/init']) {
    const other = await readSafetensors(join(golden, `${name}.safetensors`))
    for (const tensor of other.names()) {
      const { shape } = other.info(tensor)
      t.equal(
        (await other.read(tensor)).length,
        shape.reduce((product, extent) => product * extent, 1),
      )
    }
    await other.close()
  }
})

void test('half precision widens to float32 exactly', async (t) => {
  const path = join(t.testdir(), 'half.safetensors')
  const f16 = [0, 0x8000, 1, 0x3ff, 0x400, 0x3c00, 0xbc00, 0x3555, 0x7bff, 0x7c00, 0xfc00, 0x7e00]
  const expected = [0, -0, 2 ** -24, 1023 * 2 ** -24, 2 ** -14, 1, -1, 0.333251953125, 65504, Infinity, -Infinity, NaN]
  const bf16 = [0, 0x8000, 0x3f80, 0xc000, 0x7f80, 0x0001, 0x3dcd]
  const wide = [0, -0, 1, -2, Infinity, 2 ** -133, 0.10009765625]
  await writeSafetensors(path, [
    { name: 'h', dtype: 'F16', shape: [12], data: Uint16Array.from(f16) },
    { name: 'b', dtype: 'BF16', shape: [7], data: Uint16Array.from(bf16) },
    { name: 'd', dtype: 'F64', shape: [2], data: Float64Array.from([0.1, -3]) },
    { name: 'f', dtype: 'F32', shape: [2], data: Float32Array.from([0.1, -3]) },
    { name: 'i', dtype: 'I32', shape: [1], data: Int32Array.of(1) },
  ])
  const back = await readSafetensors(path)
  t.strictSame([...(await back.readFloat32('h'))], expected)
  t.strictSame([...(await back.readFloat32('b'))], wide)
  t.strictSame([...(await back.readFloat32('d'))], [Math.fround(0.1), -3])
  t.strictSame([...(await back.readFloat32('f'))], [Math.fround(0.1), -3])
  t.match(await hrmError(() => back.readFloat32('i')), { code: 'ERR_HRM_CHECKPOINT', message: /"i".*I32/s })
  t.match(await hrmError(() => back.read('none')), { code: 'ERR_HRM_CHECKPOINT', message: /"none"/ })
  await back.close()
})

void test('tensors go to an open handle at its position', async (t) => {
  const path = join(t.testdir(), 'handle.safetensors')
  const handle = await open(path, 'wx')
  const data = Uint8Array.from({ length: 3_000_000 }, (_, index) => index & 0xff)
  const entries: SafetensorsEntry[] = [{ name: 'x', dtype: 'U8', shape: [3_000_000], data }]
  const summary = await writeSafetensors(handle, entries)
  t.equal(summary.crc32c.get('x'), crc32c(data).toString(16).padStart(8, '0'), 'over all chunks')
  await handle.close()
  t.equal(summary.sha256, createHash('sha256').update(readFileSync(path)).digest('hex'))
  t.match(await hrmError(() => writeSafetensors(path, entries)), { code: 'ERR_HRM_IO', details: { errno: 'EEXIST' } })
})

void test('entries that do not fit their data are argument errors', async (t) => {
  const path = join(t.testdir(), 'wrong.safetensors')
  const data = Float32Array.of(1, 2)
  const good: SafetensorsEntry = { name: 'x', dtype: 'F32', shape: [2], data }
  for (const entries of [
    [{ ...good, shape: [3] }],
    [{ ...good, shape: [-2] }],
    [{ ...good, dtype: 'F8' as 'F32' }],
    [good, good],
    [{ ...good, name: '__metadata__' }],
  ]) {
    await t.rejects(writeSafetensors(path, entries), { name: 'TypeError', code: 'ERR_HRM_ARGUMENT' })
  }
})

const eight = new Uint8Array(8)
const tensor = (name: string, begin: number, end: number, more = ''): string =>
  `"${name}":{"dtype":"U8","shape":[${end - begin}],"data_offsets":[${begin},${end}]${more}}`

const malformed: Record<string, [Uint8Array, RegExp]> = {
  'an empty file': [new Uint8Array(0), /8 bytes/],
  'seven bytes': [new Uint8Array(7), /8 bytes/],
  'a header beyond the end': [file('{}', eight, 1000n), /header of 1000 bytes/],
  'a header of more than 100 MB': [file('{}', eight, 100_000_001n), /at most 100000000/],
  'a header length of 2^64-1': [file('{}', eight, 2n ** 64n - 1n), /at most 100000000/],
  'an empty header': [file('', eight), /JSON/],
  'a header that is no JSON': [file('{"x":', eight), /JSON/],
  'a header that is a list': [file('[]'), /object/],
  'a header after a space': [file(' {}'), /starts with/],
  'a header that is not UTF-8': [file(Uint8Array.of(0x7b, 0xc3, 0x28, 0x7d)), /UTF-8/],
  'a header with a byte order mark': [file('\ufeff{}'), /JSON/],
  'a name twice': [file(`{${tensor('x', 0, 4)},${tensor('x', 4, 8)}}`, eight), /"x" is repeated/],
  'nested beyond measure': [file(`{"x":${'['.repeat(5000)}`), /nesting/],
  'a hole': [file(`{${tensor('x', 0, 4)},${tensor('y', 5, 8)}}`, eight), /"y".*hole/s],
  'a hole at the start': [file(`{${tensor('x', 1, 8)}}`, eight), /hole/],
  'an overlap': [file(`{${tensor('x', 0, 5)},${tensor('y', 4, 8)}}`, eight), /"y".*overlap/s],
  'two tensors on the same bytes': [file(`{${tensor('x', 0, 8)},${tensor('y', 0, 8)}}`, eight), /overlap/],
  'data after the last tensor': [file(`{${tensor('x', 0, 7)}}`, eight), /bytes, as the header says/],
  'data cut off': [file(`{${tensor('x', 0, 9)}}`, eight), /bytes, as the header says/],
  'data without tensors': [file('{}', eight), /bytes, as the header says/],
  'offsets that descend': [file('{"x":{"dtype":"U8","shape":[0],"data_offsets":[8,0]}}', eight), /data_offsets/],
  'negative offsets': [file('{"x":{"dtype":"U8","shape":[8],"data_offsets":[-8,0]}}', eight), /data_offsets/],
  'fractional offsets': [file('{"x":{"dtype":"U8","shape":[8],"data_offsets":[0.5,8.5]}}', eight), /data_offsets/],
  'offsets beyond 2^53': [
    file('{"x":{"dtype":"U8","shape":[8],"data_offsets":[9007199254740993,9007199254741001]}}', eight),
    /data_offsets/,
  ],
  'three offsets': [file('{"x":{"dtype":"U8","shape":[8],"data_offsets":[0,8,8]}}', eight), /data_offsets/],
  'a negative size': [file('{"x":{"dtype":"U8","shape":[-8],"data_offsets":[0,8]}}', eight), /shape/],
  'sizes whose product overflows': [
    file(`{"x":{"dtype":"F64","shape":[${2 ** 40},${2 ** 40}],"data_offsets":[0,8]}}`, eight),
    /2\^53/,
  ],
  'a size that is no number': [file('{"x":{"dtype":"U8","shape":["8"],"data_offsets":[0,8]}}', eight), /shape/],
  'a shape that is no list': [file('{"x":{"dtype":"U8","shape":8,"data_offsets":[0,8]}}', eight), /shape/],
  'a shape that contradicts the offsets': [
    file('{"x":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}', eight),
    /12 bytes apart/,
  ],
  'a shape smaller than the offsets': [
    file('{"x":{"dtype":"U8","shape":[4],"data_offsets":[0,8]}}', eight),
    /4 bytes apart/,
  ],
  'no dtype': [file('{"x":{"shape":[8],"data_offsets":[0,8]}}', eight), /dtype/],
  'an unknown field': [file(`{${tensor('x', 0, 8, ',"more":1')}}`, eight), /"more"/],
  'a tensor that is no object': [file('{"x":[]}'), /object for tensor "x"/],
  'an entry __proto__ that is no tensor': [file('{"__proto__":{"polluted":true}}'), /__proto__/],
  'metadata that are no object': [file('{"__metadata__":"x"}'), /__metadata__/],
  'metadata that are no strings': [file('{"__metadata__":{"a":1}}'), /__metadata__ "a"/],
}

for (const [what, [bytes, message]] of Object.entries(malformed)) {
  void test(`${what} is ERR_HRM_CORRUPT and names the file`, async (t) => {
    const path = join(t.testdir(), 'model.safetensors')
    writeFileSync(path, bytes)
    const error = await hrmError(() => readSafetensors(path))
    t.match(error, { code: 'ERR_HRM_CORRUPT', message })
    t.ok(error.message.includes(path) && error.message.length < 2000, error.message)
  })
}

void test('a tensor called __proto__ is a tensor', async (t) => {
  const path = join(t.testdir(), 'proto.safetensors')
  writeFileSync(path, file(`{${tensor('__proto__', 0, 8)}}`, eight))
  const back = await readSafetensors(path)
  t.same(back.names(), ['__proto__'])
  t.equal((await back.read('__proto__')).length, 8)
  await back.close()
})

void test('an unsupported dtype is named', async (t) => {
  const path = join(t.testdir(), 'f8.safetensors')
  for (const dtype of ['F8_E4M3', 'toString']) {
    writeFileSync(path, file(`{"x":{"dtype":"${dtype}","shape":[8],"data_offsets":[0,8]}}`, eight))
    t.match(await hrmError(() => readSafetensors(path)), { code: 'ERR_HRM_CHECKPOINT', message: new RegExp(dtype) })
  }
})

void test('a boolean that is neither 0 nor 1 is an error', async (t) => {
  const path = join(t.testdir(), 'bool.safetensors')
  writeFileSync(path, file('{"x":{"dtype":"BOOL","shape":[2],"data_offsets":[0,2]}}', Uint8Array.of(1, 2)))
  const back = await readSafetensors(path)
  t.match(await hrmError(() => back.read('x')), { code: 'ERR_HRM_CORRUPT', message: /"x"/ })
  await back.close()
})

void test('a missing file, a folder and a file cut while open are errors', async (t) => {
  const dir = t.testdir()
  const path = join(dir, 'cut.safetensors')
  t.match(await hrmError(() => readSafetensors(path)), { code: 'ERR_HRM_IO', details: { errno: 'ENOENT' } })
  t.match(await hrmError(() => readSafetensors(dir)), { code: /ERR_HRM_(CORRUPT|IO)/ })
  await writeSafetensors(path, [{ name: 'x', dtype: 'U8', shape: [100], data: new Uint8Array(100) }])
  const back = await readSafetensors(path)
  truncateSync(path, 150)
  t.match(await hrmError(() => back.read('x')), { code: 'ERR_HRM_CORRUPT', message: /truncated/ })
  await back.close()
})

void test('no mutation of a file leads to anything but tensors or an HRMError', async (t) => {
  const path = join(t.testdir(), 'mutated.safetensors')
  const original = file(
    `{"__metadata__":{"a":"b"},${tensor('x', 0, 4)},"y":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}`,
    eight,
  )
  const mutation = fc.record({
    at: fc.nat(original.length - 1),
    byte: fc.oneof(fc.nat(255), fc.constantFrom(...Buffer.from('0123456789{}[]",:-'))),
  })
  await fc.assert(
    fc.asyncProperty(
      fc.array(mutation, { minLength: 1, maxLength: 4 }),
      fc.option(fc.nat(original.length), { freq: 5 }),
      async (mutations, cut) => {
        const bytes = original.slice()
        for (const { at, byte } of mutations) bytes[at] = byte
        writeFileSync(path, cut === null ? bytes : bytes.subarray(0, cut))
        try {
          const back = await readSafetensors(path)
          for (const name of back.names()) await back.read(name)
          await back.close()
          return true
        } catch (error) {
          return ['ERR_HRM_CORRUPT', 'ERR_HRM_CHECKPOINT'].includes((error as { code: string }).code)
        }
      },
    ),
    { numRuns: damagedFiles },
  )
})
