import { readFile, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import protobuf from 'protobufjs'
import t from 'tap'
import { HRM } from '#dist/index.js'
import { assertFits } from '#dist/onnx/export.js'
import { readSafetensors } from '#dist/safetensors.js'
import { hrm, lastJson } from '../cli/process.js'
import { tiny } from '../facade/fixtures.js'

/** The ONNX format as onnx.proto has it, written apart from the exporter's table. */
const proto = `
syntax = "proto2";
message Model { optional int64 ir_version = 1; optional string producer_name = 2; optional Graph graph = 7;
  repeated Opset opset_import = 8; repeated Entry metadata_props = 14; }
message Opset { optional string domain = 1; optional int64 version = 2; }
message Entry { optional string key = 1; optional string value = 2; }
message Graph { repeated Node node = 1; optional string name = 2; repeated Tensor initializer = 5;
  repeated ValueInfo input = 11; repeated ValueInfo output = 12; }
message Node { repeated string input = 1; repeated string output = 2; optional string name = 3;
  optional string op_type = 4; repeated Attribute attribute = 5; }
message Attribute { optional string name = 1; optional float f = 2; optional int64 i = 3; optional int32 type = 20; }
message Tensor { repeated int64 dims = 1; optional int32 data_type = 2; optional string name = 8; optional bytes raw_data = 9; }
message ValueInfo { optional string name = 1; optional Type type = 2; }
message Type { optional TensorType tensor_type = 1; }
message TensorType { optional int32 elem_type = 1; optional Shape shape = 2; }
message Shape { repeated Dim dim = 1; }
message Dim { optional int64 dim_value = 1; optional string dim_param = 2; }
`

interface Tensor {
  dims: number[]
  data_type: number
  name: string
  raw_data: Uint8Array
}

interface ValueInfo {
  name: string
  type: { tensor_type: { elem_type: number; shape: { dim: { dim_value?: number; dim_param?: string }[] } } }
}

interface Model {
  ir_version: number
  opset_import: { domain: string; version: number }[]
  metadata_props: { key: string; value: string }[]
  graph: {
    node: { input: string[]; output: string[]; name: string; op_type: string }[]
    initializer: Tensor[]
    input: ValueInfo[]
    output: ValueInfo[]
  }
}

function decode(bytes: Uint8Array): Model {
  const type = protobuf.parse(proto, { keepCase: true }).root.lookupType('Model')
  return type.toObject(type.decode(bytes), { longs: Number, arrays: true }) as Model
}

const shapeOf = ({ type }: ValueInfo) => type.tensor_type.shape.dim.map((dim) => dim.dim_param ?? dim.dim_value)

t.test('the exported file is a whole graph: every value is made once, before it is used', async (t) => {
  const dir = t.testdir()
  const model = await HRM.create(tiny, { seed: 3 })
  await model.save(join(dir, 'checkpoint'))
  model.dispose()
  const out = join(dir, 'model.onnx')
  const { code, stdout, stderr } = await hrm(['convert', join(dir, 'checkpoint'), out, '--json'])
  t.equal(code, 0, stderr)
  const bytes = await readFile(out)
  t.match(lastJson(stdout), { type: 'result', output: out, weights: 'raw', sizeBytes: bytes.length, opset: 23 })
  t.strictSame((await readdir(dir)).sort(), ['checkpoint', 'model.onnx'], 'nothing temporary is left')

  const { graph, opset_import, ir_version, metadata_props } = decode(bytes)
  t.strictSame(opset_import, [{ domain: '', version: 23 }])
  t.equal(ir_version, 11)
  const config = JSON.parse(metadata_props.find(({ key }) => key === 'hrm_config')!.value)
  t.match(config, { arch: { hidden_size: tiny.hiddenSize } })

  const S = tiny.seqLen + 1
  const state = ['batch', S, tiny.hiddenSize]
  t.strictSame(
    graph.input.map((value) => [value.name, value.type.tensor_type.elem_type, shapeOf(value)]),
    [
      ['z_h', 1, state],
      ['z_l', 1, state],
      ['inputs', 6, ['batch', tiny.seqLen]],
      ['puzzle_identifiers', 6, ['batch']],
      ['reset', 9, ['batch']],
    ],
  )
  t.strictSame(
    graph.output.map((value) => [value.name, value.type.tensor_type.elem_type, shapeOf(value)]),
    [
      ['z_h_next', 1, state],
      ['z_l_next', 1, state],
      ['logits', 1, ['batch', tiny.seqLen, tiny.vocabSize]],
      ['q_halt_logits', 1, ['batch']],
      ['q_continue_logits', 1, ['batch']],
    ],
  )

  const made = new Set(graph.input.map(({ name }) => name))
  const make = (name: string) => {
    if (made.has(name)) t.fail(`${name} is made twice`)
    made.add(name)
  }
  const itemSizes: Record<number, number> = { 1: 4, 7: 8 }
  for (const { name, dims, data_type, raw_data } of graph.initializer) {
    t.equal(
      raw_data.length,
      dims.reduce((product, extent) => product * extent, itemSizes[data_type]!),
      name,
    )
    make(name)
  }
  const used = new Set(graph.output.map(({ name }) => name))
  for (const { input, output, name } of graph.node) {
    for (const value of input) {
      if (!made.has(value)) t.fail(`${name} uses ${value} before it is made`)
      used.add(value)
    }
    output.forEach(make)
  }
  for (const { name } of graph.output) t.ok(made.has(name), name)
  t.strictSame(
    [...made].filter((name) => !used.has(name)),
    [],
    'every value is used',
  )
  t.equal(graph.node.filter(({ op_type }) => op_type === 'Attention').length, 6, 'two cycles of two L and one H update')

  const name = 'inner.H_level.layers.0.mlp.down_proj.weight'
  const file = await readSafetensors(join(dir, 'checkpoint', 'model.safetensors'))
  const [outputs, inputs] = file.info(name).shape as [number, number]
  const stored = await file.readFloat32(name)
  await file.close()
  const constant = graph.initializer.find((tensor) => tensor.name === 'H_level.layers.0.mlp.down_proj')!
  t.strictSame(constant.dims, [inputs, outputs], 'weights are stored in the layout of MatMul')
  const values = new Float32Array(new Uint8Array(constant.raw_data).buffer)
  t.ok(values.every((value, i) => value === stored[(i % outputs) * inputs + Math.floor(i / outputs)]))
})

t.test('converting replaces an older file, and a failure leaves it', async (t) => {
  const dir = t.testdir({ 'model.onnx': 'old', 'no-checkpoint': {} })
  const out = join(dir, 'model.onnx')
  const failed = await hrm(['convert', join(dir, 'no-checkpoint'), out])
  t.match(failed, { code: 3, stdout: '', stderr: /ERR_HRM_CHECKPOINT/ })
  t.equal(await readFile(out, 'utf8'), 'old')

  const model = await HRM.create(tiny)
  await model.save(join(dir, 'checkpoint'))
  model.dispose()
  t.match(await hrm(['convert', join(dir, 'checkpoint'), out]), { code: 0 })
  t.equal(decode(await readFile(out)).graph.output.length, 5)
})

t.test('an unknown extension is a usage error that names the formats there are', async (t) => {
  const { code, stderr } = await hrm(['convert', 'checkpoint', 'model.tflite'])
  t.equal(code, 2)
  t.match(stderr, /\.onnx.*got model\.tflite \[ERR_HRM_ARGUMENT\]/)
})

t.test('tensors of 2 GiB and more are refused', async (t) => {
  t.doesNotThrow(() => assertFits('runs/a', 1.9e9))
  t.throws(() => assertFits('runs/a', 2 ** 31), {
    code: 'ERR_HRM_CHECKPOINT',
    message: /got 2147483648 in runs\/a/,
    details: { tensorBytes: 2 ** 31 },
  })
})
