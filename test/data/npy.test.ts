import { execFileSync } from 'node:child_process'
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { test } from 'tap'
import { NpyArray, NpyWriter } from '#dist/npy.js'
import { damagedFiles, hrmError, npy, npyBytes } from './fixtures.js'

const data12 = new Uint8Array(12)

function header(descr: string, shape: string, fortran = 'False'): string {
  return `{'descr': '${descr}', 'fortran_order': ${fortran}, 'shape': ${shape}, }\n`
}

async function readAll(path: string): Promise<number[]> {
  const array = await NpyArray.open(path)
  const out = new Int32Array(array.length * array.rowLength)
  array.readRange(0, array.length, out)
  array.close()
  return [...out]
}

function pythonHasNumpy(): boolean {
  try {
    execFileSync('python3', ['-c', 'import numpy'], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

void test(
  'arrays of every supported dtype and version read as numpy wrote them',
  { skip: !pythonHasNumpy() && 'numpy is not installed' },
  async (t) => {
    const dir = t.testdir()
    const script = `
import numpy as np, sys
for dtype, low, high in (('u1', 0, 255), ('<i4', -2**31, 2**31 - 1), ('<i8', -2**31, 2**31 - 1)):
    for version in ((1, 0), (2, 0), (3, 0)):
        values = np.linspace(low, high, 21).astype(dtype).reshape(7, 3)
        with open(f'{sys.argv[1]}/{dtype[-2:]}-{version[0]}.npy', 'wb') as file:
            np.lib.format.write_array(file, values, version=version)
        print(' '.join(map(str, values.flatten())))
`
    const lines = execFileSync('python3', ['-c', script, dir], { encoding: 'utf8' }).trim().split('\n')
    for (const dtype of ['u1', 'i4', 'i8']) {
      for (const version of [1, 2, 3]) {
        const path = join(dir, `${dtype}-${version}.npy`)
        t.same(await readAll(path), lines.shift()!.split(' ').map(Number), `${dtype} version ${version}`)
      }
    }
    for (const descr of ['<f4', '>i4', '<i2', '|b1', '|i1', '<u8', '<c16', '|O', '|S3']) {
      execFileSync('python3', [
        '-c',
        `import numpy as np, sys; np.save(sys.argv[1], np.zeros(3, dtype='${descr}'))`,
        join(dir, 'other.npy'),
      ])
      const error = await hrmError(() => NpyArray.open(join(dir, 'other.npy')))
      t.match(error, { code: 'ERR_HRM_DATASET', message: /expected dtype .*other\.npy/ }, descr)
    }
  },
)

void test(
  'what is written reads the same here and in numpy, byte for byte as numpy writes it',
  { skip: !pythonHasNumpy() && 'numpy is not installed' },
  async (t) => {
    const dir = t.testdir()
    const rows = Array.from({ length: 300 }, (_, index) => [index % 256, (index * 7) % 256])
    const matrix = new NpyWriter(join(dir, 'a.npy'), 'u1', 2)
    for (const row of rows) matrix.append(row)
    matrix.finish()
    const vector = new NpyWriter(join(dir, 'b.npy'), 'i4')
    vector.append([0, -1, 2 ** 31 - 1])
    vector.finish()
    t.same(await readAll(join(dir, 'a.npy')), rows.flat())
    t.same(await readAll(join(dir, 'b.npy')), [0, -1, 2 ** 31 - 1])
    const script = `
import numpy as np, sys
for name in 'ab':
    values = np.load(f'{sys.argv[1]}/{name}.npy')
    np.save(f'{sys.argv[1]}/{name}2.npy', values)
    print(values.dtype.str, values.shape)
`
    t.equal(execFileSync('python3', ['-c', script, dir], { encoding: 'utf8' }), '|u1 (300, 2)\n<i4 (3,)\n')
    for (const name of ['a', 'b'])
      t.ok(readFileSync(join(dir, `${name}.npy`)).equals(readFileSync(join(dir, `${name}2.npy`))))
  },
)

void test('a write longer than the buffer keeps its order', async (t) => {
  const path = join(t.testdir(), 'long.npy')
  const writer = new NpyWriter(path, 'i4')
  const values = Int32Array.from({ length: 600_001 }, (_, index) => index)
  writer.append(values.subarray(0, 5))
  writer.append(values.subarray(5))
  writer.finish()
  const array = await NpyArray.open(path)
  let next = 0
  for (const { start, values: block } of array.blocks()) {
    t.equal(start, next)
    for (const value of block) if (value !== next++) throw new Error(`expected ${next - 1}, got ${value}`)
  }
  t.equal(next, 600_001)
  for (const index of [0, 600_000, 1023, 1024, 17, 300_000]) t.equal(array.at(index), index)
  array.close()
})

void test('rows come in the asked order, repeated ones too', async (t) => {
  const path = join(t.testdir(), 'rows.npy')
  writeFileSync(path, npy('<i8', [3, 2], [1, 2, -3, 4, 5, 6]))
  const array = await NpyArray.open(path)
  const out = new Int32Array(8)
  array.readRows([2, 0, 2, 1], out)
  t.same([...out], [5, 6, 1, 2, 5, 6, -3, 4])
  array.close()
})

void test('data that are not aligned in the file are read', async (t) => {
  const path = join(t.testdir(), 'odd.npy')
  const values = new Uint8Array(Int32Array.from([1, -2, 3]).buffer)
  for (const padding of ['', ' ', '  ', '   ']) {
    writeFileSync(path, npyBytes(padding + header('<i4', '(3,)'), values))
    t.same(await readAll(path), [1, -2, 3])
  }
})

void test('int64 values beyond int32 are named', async (t) => {
  const path = join(t.testdir(), 'big.npy')
  for (const value of [2 ** 31, -(2 ** 31) - 1, 2 ** 40]) {
    writeFileSync(path, npy('<i8', [2, 2], [0, 0, value, 0]))
    const error = await hrmError(() => readAll(path))
    t.match(error, { code: 'ERR_HRM_DATASET' })
    t.ok(error.message.includes(`${value} in row 1`), error.message)
  }
})

const malformed: Record<string, Uint8Array> = {
  'an empty file': new Uint8Array(0),
  'nine bytes': npy('|u1', [3], [1, 2, 3]).subarray(0, 9),
  'a wrong magic': Buffer.from('NUMPY is not the magic of this file'),
  'an unknown version': npyBytes(header('|u1', '(12,)'), data12, 4),
  'version 0': npyBytes(header('|u1', '(12,)'), data12, 0),
  'truncated data': npy('|u1', [3], [1, 2, 3]).subarray(0, 129),
  'a truncated header': npy('|u1', [3], [1, 2, 3]).subarray(0, 60),
  'surplus data': Buffer.concat([npy('|u1', [3], [1, 2, 3]), Buffer.from('x')]),
  'Fortran order': npyBytes(header('|u1', '(3, 4)', 'True'), data12),
  'a negative size': npyBytes(header('|u1', '(-3, -4)'), data12),
  'a size beyond 2^53': npyBytes(header('|u1', '(9007199254740993,)'), data12),
  'sizes whose product overflows': npyBytes(header('|u1', `(${2 ** 40}, ${2 ** 40})`), data12),
  'an infinite size': npyBytes(header('|u1', `(${'9'.repeat(400)}, 0)`), new Uint8Array(0)),
  'a fractional size': npyBytes(header('|u1', '(1.5, 8)'), data12),
  'a structured dtype': npyBytes("{'descr': [('a', '<i4')], 'fortran_order': False, 'shape': (3,), }", data12),
  'a dtype that is no string': npyBytes("{'descr': True, 'fortran_order': False, 'shape': (12,), }", data12),
  'a missing key': npyBytes("{'descr': '|u1', 'shape': (12,), }", data12),
  'a repeated key': npyBytes("{'descr': '|u1', 'descr': '|u1', 'fortran_order': False, 'shape': (12,), }", data12),
  'an unknown key': npyBytes("{'descr': '|u1', 'fortran_order': False, 'shape': (12,), '__proto__': (1,)}", data12),
  'code in the header': npyBytes(
    "{'descr': __import__('os').system('id'), 'fortran_order': False, 'shape': (12,), }",
    data12,
  ),
  'an unterminated header': npyBytes("{'descr': '|u1', 'fortran_order': False, 'shape': (12,", data12),
  'text after the header': npyBytes(header('|u1', '(12,)').trimEnd() + ' {}', data12),
  'a header of 20 kB': npyBytes(header('|u1', '(12,)') + ' '.repeat(20_000), data12),
  'a header longer than the file': Buffer.from([0x93, ...Buffer.from('NUMPY'), 2, 0, 0xff, 0xff, 0xff, 0x7f]),
}

for (const [what, bytes] of Object.entries(malformed)) {
  void test(`${what} is an error that names the file`, async (t) => {
    const path = join(t.testdir(), 'all__inputs.npy')
    writeFileSync(path, bytes)
    t.match(await hrmError(() => NpyArray.open(path)), {
      code: 'ERR_HRM_DATASET',
      message: /^\[npy\] expected .*, got .*all__inputs\.npy/s,
    })
  })
}

void test('a missing file and a folder are ERR_HRM_IO', async (t) => {
  const dir = t.testdir()
  t.match(await hrmError(() => NpyArray.open(join(dir, 'none.npy'))), {
    code: 'ERR_HRM_IO',
    details: { errno: 'ENOENT' },
  })
  t.match(await hrmError(() => NpyArray.open(dir)), { code: 'ERR_HRM_IO' })
})

const linux = process.platform === 'linux' ? false : 'mappings are listed on Linux alone'
void test('a loop over many files that never waits gives their mappings back', { skip: linux }, async (t) => {
  const path = join(t.testdir(), 'often.npy')
  writeFileSync(path, npy('<i4', [2], [1, 2]))
  let most = 0
  for (let opened = 1; opened <= 10_000; opened++) {
    const array = await NpyArray.open(path)
    array.close()
    if (opened % 500 === 0) most = Math.max(most, readFileSync('/proc/self/maps', 'utf8').split('often.npy').length)
  }
  t.ok(most < 5000, `${most} mappings at once`)
})

void test('no mutation of a file leads to anything but values or an HRMError', async (t) => {
  const path = join(t.testdir(), 'mutated.npy')
  const original = npy('<i4', [4, 3], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11])
  const mutation = fc.record({
    at: fc.nat(original.length - 1),
    byte: fc.nat(255),
    cut: fc.option(fc.nat(original.length), { freq: 4 }),
  })
  await fc.assert(
    fc.asyncProperty(fc.array(mutation, { minLength: 1, maxLength: 4 }), async (mutations) => {
      const bytes = original.slice()
      for (const { at, byte } of mutations) bytes[at] = byte
      const { cut } = mutations[0]!
      // A new file each time: rewriting one that is still mapped is slow.
      rmSync(path, { force: true })
      writeFileSync(path, cut === null ? bytes : bytes.subarray(0, cut))
      try {
        const values = await readAll(path)
        return values.length <= original.length
      } catch (error) {
        return (error as { code?: string }).code === 'ERR_HRM_DATASET'
      }
    }),
    { numRuns: damagedFiles },
  )
})
