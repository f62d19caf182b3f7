import { test } from 'tap'
import { crc32c } from '#dist/crc32c.js'

void test('CRC-32C gives the known answers of RFC 3720', async (t) => {
  t.equal(crc32c(Buffer.from('123456789')), 0xe3069283)
  t.equal(crc32c(new Uint8Array(32)), 0x8a9136aa)
  t.equal(crc32c(new Uint8Array(32).fill(0xff)), 0x62a8ab43)
  t.equal(crc32c(Uint8Array.from({ length: 32 }, (_, index) => index)), 0x46dd794e)
  t.equal(crc32c(new Uint8Array(0)), 0)
})

void test('a CRC can be continued at any byte', async (t) => {
  const bytes = Uint8Array.from({ length: 41 }, (_, index) => (index * 37 + 11) & 0xff)
  const whole = crc32c(bytes)
  for (let at = 0; at <= bytes.length; at++) t.equal(crc32c(bytes.subarray(at), crc32c(bytes.subarray(0, at))), whole)
})

void test('every single flipped bit changes the CRC', async (t) => {
  const bytes = Uint8Array.from({ length: 19 }, (_, index) => (index * 73) & 0xff)
  const seen = new Set([crc32c(bytes)])
  for (let bit = 0; bit < bytes.length * 8; bit++) {
    bytes[bit >> 3]! ^= 1 << (bit & 7)
    seen.add(crc32c(bytes))
    bytes[bit >> 3]! ^= 1 << (bit & 7)
  }
  t.equal(seen.size, 1 + bytes.length * 8)
})
