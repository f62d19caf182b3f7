import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { test } from 'tap'
import { PyTorchFile } from '#dist/pytorch/pytorch-file.js'
import { readOfficialConfig } from '#dist/pytorch/official-config.js'
import { damagedFiles, hrmError } from '../data/fixtures.js'
import {
  dict,
  sampleFiles,
  saved,
  storage,
  tensor,
  tensorBytes,
  text,
  torchBytes,
  zipBytes,
  type PlannedEntry,
} from './fixtures.js'

const one = dict(text('x'), tensor())
const pickle = (data: string): PlannedEntry => ({ name: 'a/data.pkl', data: Buffer.from(data, 'latin1') })
const floats: PlannedEntry = { name: 'a/data/0', data: new Uint8Array(16) }
const inner: PlannedEntry = { name: 'a/data/1', data: new Uint8Array(16) }

/** A zip64 archive whose directory says that an entry starts at `offset`. */
function zip64(offset: bigint): Buffer {
  const bytes = zipBytes([pickle(one), floats])
  const at = bytes.lastIndexOf('PK\x05\x06', undefined, 'latin1')
  const wide = Buffer.alloc(56 + 20)
  wide.write('PK\x06\x06', 'latin1')
  wide.writeBigUInt64LE(44n, 4)
  wide.writeBigUInt64LE(2n, 24)
  wide.writeBigUInt64LE(2n, 32)
  wide.writeBigUInt64LE(BigInt(bytes.readUInt32LE(at + 12)), 40)
  wide.writeBigUInt64LE(offset, 48)
  wide.write('PK\x06\x07', 56, 'latin1')
  wide.writeBigUInt64LE(BigInt(at), 64)
  wide.writeUInt32LE(1, 72)
  const end = bytes.subarray(at)
  end.writeUInt32LE(0xffffffff, 16)
  return Buffer.concat([bytes.subarray(0, at), wide, end])
}

const malformed: Record<string, [Uint8Array, RegExp]> = {
  'an empty file': [new Uint8Array(0), /zip archive/],
  'another file': [Buffer.from('\x93NUMPY'), /zip archive/],
  'a zip archive cut off': [zipBytes([pickle(one), floats]).subarray(0, 200), /zip archive/],
  'a zip archive without its last byte': [zipBytes([pickle(one), floats]).subarray(0, -1), /zip archive/],
  'a zip archive with a prefix cut off': [Buffer.from('PK\x03\x04', 'latin1'), /zip archive/],
  'an archive without data.pkl': [zipBytes([floats]), /one data\.pkl/],
  'an archive with two': [zipBytes([pickle(one), { name: 'b/data.pkl', data: new Uint8Array(1) }]), /one data\.pkl/],
  'an archive that says it has more entries': [zipBytes([pickle(one), floats], { count: 3 }), /zip archive/],
  'an archive with 60,000 entries': [zipBytes([pickle(one), floats], { count: 60000 }), /at most 20000 entries/],
  'an entry twice': [zipBytes([pickle(one), floats, floats]), /each entry once/],
  'two names for one entry': [
    zipBytes([pickle(one), floats, { ...floats, name: 'a/data/1', offset: 0, localName: 'a/data.pkl' }]),
    /another one/,
  ],
  'an entry inside another': [
    zipBytes([
      pickle(one),
      { name: 'a/data/0', data: zipBytes([inner]) },
      { ...inner, offset: 30 + 10 + one.length + 30 + 8 },
    ]),
    /do not overlap.*"a\/data\/0" and "a\/data\/1"/,
  ],
  'a compressed entry': [zipBytes([pickle(one), { ...floats, method: 8 }]), /stored.*method 8/s],
  'an encrypted entry': [zipBytes([pickle(one), { ...floats, flags: 0x801 }]), /encrypted/],
  'an entry with another name at its place': [
    zipBytes([pickle(one), { ...floats, localName: 'a/data/1' }]),
    /another one/,
  ],
  'an entry that leads elsewhere': [zipBytes([pickle(one), { ...floats, name: '../data/0' }]), /relative path/],
  'an entry with an absolute path': [zipBytes([pickle(one), { ...floats, name: '/data/0' }]), /absolute path/],
  'an entry beyond the end': [zipBytes([pickle(one), { ...floats, offset: 0x7fffffff }]), /zip archive/],
  'an entry larger than the file': [zipBytes([pickle(one), { ...floats, sizeBytes: 0x7fffffff }]), /zip archive/],
  'a directory beyond 2^53': [zip64(2n ** 53n + 1n), /zip archive/],
  'a directory at 2^64-1': [zip64(2n ** 64n - 1n), /zip archive/],
  'a pickle of 2 MiB': [zipBytes([pickle('\x80\x02' + 'N'.repeat(2 ** 21)), floats]), /at most 1048576 bytes/],
  'an empty pickle': [torchBytes(''), /1 bytes at byte 0.*the end of data\.pkl/],
  'a pickle without an end': [torchBytes(one.slice(0, -1)), /the end of data\.pkl/],
  'a pickle with more after its end': [torchBytes(`${one}N`), /1 more bytes/],
  'a pickle of nothing': [torchBytes('\x80\x02.'), /one object/],
  'a pickle of two objects': [torchBytes('\x80\x02NN.'), /one object/],
  'protocol 6': [torchBytes('\x80\x06N.'), /protocol/],
  'text that ends too late': [torchBytes('\x80\x02X\xff\xff\xff\xffab.'), /4294967295 bytes/],
  'text that is not UTF-8': [torchBytes('\x80\x02X\x02\0\0\0\xc3\x28.'), /UTF-8/],
  'an integer beyond 2^53': [torchBytes(dict(text('x'), tensor({ offset: '\x8a\x08\x01\0\0\0\0\0\x20\0' }))), /2\^53/],
  'an integer of 255 bytes': [torchBytes(dict(text('x'), `\x8a\xff${'\x01'.repeat(255)}`)), /255 bytes/],
  'a memo that is not there': [torchBytes('\x80\x02h\x05.'), /object 5 of the memo/],
  'an empty stack': [torchBytes('\x80\x02\x85.'), /an object/],
  'no mark': [torchBytes('\x80\x02}u.'), /a mark/],
  'a key without a value': [torchBytes(`\x80\x02}(${text('x')}u.`), /pairs/],
  'a key twice': [torchBytes(dict(text('x'), tensor(), text('x'), tensor())), /each key once.*"x"/],
  'items for something that is no dict': [torchBytes(`\x80\x02](${text('x')}Nu.`), /a dict to add to/],
  'items for something that is no list': [torchBytes('\x80\x02}Na.'), /a list to add to/],
  '60,000 nested lists': [torchBytes(`\x80\x02${'(]'.repeat(60000)}.`), /at most 50000/],
  '60,000 nested tuples': [torchBytes(`\x80\x02N${'\x85'.repeat(60000)}.`), /at most 50000/],
  'a storage that is not there': [
    torchBytes(dict(text('x'), tensor({ of: storage('K\x04', 'FloatStorage', '7') }))),
    /data\/7/,
  ],
  'a storage whose name leads elsewhere': [
    torchBytes(dict(text('x'), tensor({ of: storage('K\x04', 'FloatStorage', '../0') }))),
    /key, device and length/,
  ],
  'a storage longer than its file': [
    torchBytes(dict(text('x'), tensor({ of: storage('J\x00\xca\x9a\x3b'), shape: 'J\x00\xca\x9a\x3b' }))),
    /1000000000 elements.*16 bytes/,
  ],
  'a storage shorter than its file': [
    torchBytes(dict(text('x'), tensor({ of: storage('K\x03'), shape: 'K\x03' }))),
    /16 bytes/,
  ],
  'a storage of another type': [
    torchBytes(dict(text('x'), tensor({ of: storage('K\x04', 'DoubleStorage') }))),
    /F64.*16 bytes/,
  ],
  'a tensor beyond its storage': [torchBytes(dict(text('x'), tensor({ offset: 'K\x01' }))), /element 4/],
  'strides beyond the storage': [
    torchBytes(dict(text('x'), tensor({ shape: 'K\x02', strides: 'K\x04' }))),
    /element 4/,
  ],
  'more elements than the storage': [
    torchBytes(dict(text('x'), tensor({ shape: 'J\xff\xff\xff\x7f', strides: 'K\0' }))),
    /at most 4 elements/,
  ],
  'sizes whose product overflows': [
    torchBytes(dict(text('x'), tensor({ shape: `${'J\xff\xff\xff\x7f'.repeat(50)}K\0`, strides: 'K\0'.repeat(51) }))),
    /at most 4 elements/,
  ],
  'a negative size': [torchBytes(dict(text('x'), tensor({ shape: 'J\xff\xff\xff\xff' }))), /sizes and strides/],
  'a negative offset': [torchBytes(dict(text('x'), tensor({ offset: 'J\xff\xff\xff\xff' }))), /sizes and strides/],
  'more sizes than strides': [torchBytes(dict(text('x'), tensor({ shape: 'K\x02K\x02' }))), /sizes and strides/],
  'a size that is no integer': [
    torchBytes(dict(text('x'), tensor({ shape: 'G?\xf0\0\0\0\0\0\x01' }))),
    /sizes and strides/,
  ],
  '65 dimensions': [
    torchBytes(dict(text('x'), tensor({ shape: 'K\x01'.repeat(65), strides: 'K\x01'.repeat(65) }))),
    /sizes and strides/,
  ],
  'a tensor without a storage': [torchBytes(dict(text('x'), tensor({ of: 'N' }))), /a tensor of a storage/],
}

for (const [what, [bytes, message]] of Object.entries(malformed)) {
  void test(`${what} is ERR_HRM_CORRUPT and names the file`, async (t) => {
    const path = join(t.testdir(), 'step_1')
    writeFileSync(path, bytes)
    const error = await hrmError(() => PyTorchFile.open(path))
    t.match(error, { code: 'ERR_HRM_CORRUPT', message })
    t.ok(error.message.includes(path) && Buffer.byteLength(error.message) < 2000, error.message)
  })
}

const run = (command: string) => `(${text(command)}tR`
const long = 'x'.repeat(5000)

/** Pickles that run `touch marker` in Python, or that ask for what no state dict needs. */
const unsafe: Record<string, [string, RegExp]> = {
  'os.system by GLOBAL': [`\x80\x02cos\nsystem\n${run('touch marker')}.`, /"os\.system"/],
  'os.system by STACK_GLOBAL': [`\x80\x04\x8c\x05posix\x8c\x06system\x93${run('touch marker')}.`, /"posix\.system"/],
  'os.system by INST': [`(${text('touch marker')}ios\nsystem\n.`, /"os\.system"/],
  'os.system behind a tensor': [
    dict(text('x'), tensor(), text('y'), `cos\nsystem\n${run('touch marker')}`),
    /"os\.system"/,
  ],
  'os.system as a storage': [
    `\x80\x02(${text('storage')}cos\nsystem\n${text('0')}${text('cpu')}K\x04tQ.`,
    /"os\.system"/,
  ],
  'os.system in the attributes of a dict': [
    `\x80\x02ccollections\nOrderedDict\n)R}${text('_metadata')}cos\nsystem\n${run('touch marker')}sb.`,
    /"os\.system"/,
  ],
  'builtins.eval': [`\x80\x02cbuiltins\neval\n${run('1')}.`, /"builtins\.eval"/],
  'a storage with another name': [`\x80\x02ctorch\nUntypedStorage\n.`, /"torch\.UntypedStorage"/],
  'torch.load inside': [`\x80\x02ctorch.serialization\nload\n.`, /"torch\.serialization\.load"/],
  'a name of 5,000 letters': [`\x80\x02cos\n${long}\n.`, /"os\.x+…"/],
  'a name with control characters': [`\x80\x02cos\n\x1b[2J\n.`, /"os\.\\u001b\[2J"/],
  'a known name as a value': [dict(text('x'), 'ctorch\nFloatStorage\n'), /"torch\.FloatStorage" as a value/],
  'a call of a storage type': ['\x80\x02ctorch\nFloatStorage\n)R.', /a call of "torch\.FloatStorage"/],
  'a call of a text': [`\x80\x02${text('x')})R.`, /a call of something/],
  'an OrderedDict with arguments': [`\x80\x02ccollections\nOrderedDict\n(NtR.`, /OrderedDict with arguments/],
  'an object with a state': ['\x80\x02}}b.', /a state/],
  'attributes other than _metadata': [`\x80\x02ccollections\nOrderedDict\n)R}${text('__class__')}Nsb.`, /a state/],
  'a new object of a class': ['\x80\x02)\x81.', /instruction 0x81/],
  'an extension code': ['\x80\x02\x82\x01.', /instruction 0x82/],
  'an instruction that does not exist': ['\x80\x02\xff.', /instruction 0xff/],
}

for (const [what, [data, message]] of Object.entries(unsafe)) {
  void test(`${what} is ERR_HRM_UNSAFE_PICKLE and runs nothing`, async (t) => {
    const path = join(t.testdir(), 'step_1')
    writeFileSync(path, torchBytes(data))
    const error = await hrmError(() => PyTorchFile.open(path))
    t.match(error, { code: 'ERR_HRM_UNSAFE_PICKLE', message })
    t.match(error.message, /at byte \d+ of data\.pkl in .*step_1/)
    t.ok(Buffer.byteLength(error.message) < 2000, error.message)
    t.notOk(existsSync('marker') || existsSync(join(t.testdirName, 'marker')))
  })
}

const good = 'arch:\n  name: hrm@HierarchicalReasoningModel_ACTV1\n  H_cycles: 2\nlr: 1.0e-05\nmore: [1, {}]\n'

const badYaml: Record<string, [string, RegExp]> = {
  'an alias': ['arch: &a {H_cycles: 2}\nlr: *a\n', /alias/i],
  'an alias bomb': [
    `arch: {}\na: &a [x,x,x,x,x,x,x,x,x]\n${[...'bcdefgh'].map((name, at) => `${name}: &${name} [${`*${'abcdefg'[at]},`.repeat(9)}]\n`).join('')}`,
    /alias/i,
  ],
  'a tag that makes a Python object': [
    'arch: !!python/object/apply:os.system ["touch marker"]\n',
    /plain YAML.*python/,
  ],
  'a tag of its own': ['arch: !mine {H_cycles: 2}\n', /plain YAML.*!mine/],
  'a key twice': ['arch: {}\narch: {}\n', /plain YAML.*unique/],
  'a merge key': ['base: &b {}\narch:\n  <<: *b\n', /alias|<</i],
  '20,000 nested lists': [`arch: ${'['.repeat(20000)}`, /at most 500 lists and maps/],
  '20,000 nested items': [`arch:\n  ${'- '.repeat(20000)}x`, /at most 500 lists and maps/],
  'nested as deeply as fits': [
    Array.from({ length: 340 }, (_, depth) => `${' '.repeat(depth)}arch:\n`).join(''),
    /arch\.arch\.arch/,
  ],
  'a value of 50,000 letters': [`arch: {hidden_size: ${'x'.repeat(50000)}}\n`, /hidden_size.*xxx\.\.\./],
  'a megabyte': [`arch: {}\nx: ${'y'.repeat(2 ** 20)}\n`, /at most 65536 bytes/],
  'two documents': [`${good}---\n${good}`, /plain YAML/],
  'no keys': ['- 1\n', /keys with values/],
  nothing: ['', /keys with values/],
  'no arch': ['lr: 1\n', /the key arch/],
  'an arch that is a list': ['arch: [1]\n', /the key arch/],
  'another architecture': ['arch: {name: trm@TinyRecursiveModel}\n', /TinyRecursiveModel/],
  'an unknown key of the architecture': ['arch: {mlp_t: true}\n', /mlp_t/],
  'a key of the architecture called __proto__': ['arch: {__proto__: {H_cycles: 2}}\n', /__proto__/],
  'a size that is no number': ['arch: {hidden_size: [1]}\n', /hidden_size/],
  'a negative size': ['arch: {hidden_size: -4}\n', /hidden_size/],
  'sizes that are none': ['arch: {}\ndataset_metadata: {batch: 3}\n', /dataset_metadata/],
}

for (const [what, [yaml, message]] of Object.entries(badYaml)) {
  void test(`${what} in all_config.yaml is ERR_HRM_CHECKPOINT and names the file`, async (t) => {
    const path = join(t.testdir(), 'all_config.yaml')
    writeFileSync(path, yaml)
    const error = await hrmError(() => readOfficialConfig(path))
    t.match(error, { code: 'ERR_HRM_CHECKPOINT', message })
    t.ok(error.message.includes(path) && Buffer.byteLength(error.message) < 2000, error.message)
    t.notOk(existsSync('marker'))
  })
}

void test('keys that mean nothing here are left out, also one called __proto__', async (t) => {
  const path = join(t.testdir(), 'all_config.yaml')
  writeFileSync(path, `${good}__proto__: {polluted: true}\n`)
  const { config, ignored } = await readOfficialConfig(path)
  t.same(ignored, ['more', '__proto__'])
  t.match(config, { model: { hCycles: 2 }, train: { lr: 1e-5 } })
  t.equal(({} as { polluted?: boolean }).polluted, undefined)
})

void test('no mutation of all_config.yaml leads to anything but a configuration or an HRMError', async (t) => {
  const path = join(t.testdir(), 'all_config.yaml')
  const official =
    'arch:\n  name: hrm.hrm_act_v1@HierarchicalReasoningModel_ACTV1\n  loss: {name: losses@ACTLossHead, loss_type: softmax_cross_entropy}\n' +
    '  H_cycles: 2\n  hidden_size: 512\n  puzzle_emb_ndim: &d 512\nlr: 1.0e-05\nseed: 0\ndata_path: "data/x"\nepochs: *d\neval_interval: null\n'
  const piece = fc.oneof(
    fc.string({ unit: 'binary', maxLength: 6 }),
    fc.constantFrom(
      '&a',
      '*a',
      '*d',
      '!!js/function ',
      '!!binary ',
      '<<: ',
      '[',
      ']',
      '{',
      '}',
      ': ',
      '- ',
      '\n',
      '\t',
      '|',
      '>',
      '?',
      '%',
      '"',
      "'",
      '#',
      '1e999',
      '.nan',
      '~',
      '__proto__: {a: 1}\n',
      '\u0000',
      '---\n',
    ),
  )
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(fc.nat(), fc.nat(8), piece), { minLength: 1, maxLength: 4 }),
      async (changes) => {
        let yaml = official
        for (const [at, removed, added] of changes) {
          const start = at % yaml.length
          yaml = yaml.slice(0, start) + added + yaml.slice(start + removed)
        }
        writeFileSync(path, yaml)
        try {
          await readOfficialConfig(path)
          return true
        } catch (error) {
          const { code, message } = error as { code: string; message: string }
          return ['ERR_HRM_CHECKPOINT', 'ERR_HRM_CONFIG'].includes(code) && Buffer.byteLength(message) < 2000
        }
      },
    ),
    { numRuns: damagedFiles },
  )
  t.equal(({} as { a?: number }).a, undefined)
})

void test('no mutation of a file leads to anything but tensors or an HRMError', async (t) => {
  const path = join(t.testdir(), 'mutated.pt')
  const files = sampleFiles()
  const codes = ['ERR_HRM_CORRUPT', 'ERR_HRM_CHECKPOINT', 'ERR_HRM_UNSAFE_PICKLE']
  const opcodes = fc.constantFrom(
    ...Buffer.from('.(}])tRubQqrhjcXKJMN\x80\x85\x86\x87\x88\x89\x8a\x93\x94\x95', 'latin1'),
  )
  const mutation = fc.record({
    at: fc.nat(),
    byte: fc.oneof(fc.nat(255), opcodes, fc.constantFrom(0, 1, 0x7f, 0x80, 0xff)),
  })
  const before = process.memoryUsage().rss
  await fc.assert(
    fc.asyncProperty(
      fc.nat(files.length - 1),
      fc.array(mutation, { minLength: 1, maxLength: 4 }),
      fc.option(fc.nat(), { freq: 10 }),
      async (which, mutations, cut) => {
        const bytes = Buffer.from(files[which]!)
        for (const { at, byte } of mutations) bytes[at % bytes.length] = byte
        writeFileSync(path, cut === null ? bytes : bytes.subarray(0, cut % bytes.length))
        try {
          const file = await PyTorchFile.open(path)
          for (const name of file.names()) tensorBytes(file, name)
          file.close()
          return true
        } catch (error) {
          const { code, message } = error as { code: string; message: string }
          return codes.includes(code) && Buffer.byteLength(message) < 2000
        }
      },
    ),
    { numRuns: damagedFiles },
  )
  t.ok(process.memoryUsage().rss - before < 300 * 2 ** 20, 'memory stays bounded')
})

void test('mutations of the samples reach the refusals of the archive and of the pickle', async (t) => {
  const path = join(t.testdir(), 'mutated.pt')
  const bytes = readFileSync(join(saved, 'state_dict.pt'))
  const codes = new Set<string>()
  for (let at = 0; at < bytes.length; at += 3) {
    const changed = Buffer.from(bytes)
    changed[at]! ^= 0x41
    writeFileSync(path, changed)
    try {
      const file = await PyTorchFile.open(path)
      file.close()
    } catch (error) {
      codes.add((error as { code: string }).code)
    }
  }
  t.same([...codes].sort(), ['ERR_HRM_CORRUPT', 'ERR_HRM_UNSAFE_PICKLE'])
})
