import fc from 'fast-check'
import { test } from 'tap'
import { parseStrictJson, type StrictJson } from '#dist/strict-json.js'

/** Maps back to objects whose keys are all their own. */
function plain(json: StrictJson): unknown {
  if (Array.isArray(json)) return json.map(plain)
  if (!(json instanceof Map)) return json
  return Object.fromEntries([...json].map(([key, value]) => [key, plain(value)]))
}

void test('valid JSON reads as JSON.parse reads it', async (t) => {
  fc.assert(
    fc.property(fc.json({ maxDepth: 5 }), fc.boolean(), (text, spaced) => {
      const source = spaced ? JSON.stringify(JSON.parse(text), null, 2) : text
      t.strictSame(plain(parseStrictJson(source)), JSON.parse(source))
    }),
  )
})

void test('what JSON.parse refuses is refused', async () => {
  const pieces = [
    '{',
    '}',
    '[',
    ']',
    ',',
    ':',
    '"a"',
    '"\\',
    '"',
    '1',
    '-',
    '01',
    '.5',
    'null',
    'tru',
    ' ',
    '\u0000',
    '\\u12',
    '1e',
    '"\n"',
  ]
  fc.assert(
    fc.property(fc.array(fc.constantFrom(...pieces), { maxLength: 8 }), (parts) => {
      const text = parts.join('')
      let expected: boolean
      try {
        JSON.parse(text)
        expected = true
      } catch {
        expected = false
      }
      let accepted: boolean
      try {
        parseStrictJson(text)
        accepted = true
      } catch (error) {
        if (!(error instanceof SyntaxError)) throw error
        accepted = error.message.includes('repeated')
      }
      return accepted === expected
    }),
    { numRuns: 3000 },
  )
})

void test('repeated keys, also when spelled differently, are an error that names them', async (t) => {
  t.throws(() => parseStrictJson('{"a":1,"b":2,"a":3}'), /"a" is repeated/)
  t.throws(() => parseStrictJson('{"a":1,"\\u0061":3}'), /"a" is repeated/)
})

void test('__proto__ is a key like any other', async (t) => {
  const json = parseStrictJson('{"__proto__":{"polluted":true}}') as Map<string, StrictJson>
  t.same([...json.keys()], ['__proto__'])
  t.equal(({} as Record<string, unknown>)['polluted'], undefined)
})

void test('deep nesting is an error, not a stack overflow', async (t) => {
  t.throws(() => parseStrictJson('['.repeat(1_000_000)), { name: 'SyntaxError' })
})

void test('a string of many megabytes and many escapes is read', async (t) => {
  const text = '\\"x'.repeat(1_000_000)
  t.equal((parseStrictJson(`"${text}"`) as string).length, 2_000_000)
})
