/** Element types of tensors (TensorProto.DataType) that are used here. */
export const elementTypes = { float: 1, int32: 6, int64: 7, bool: 9 } as const

export type ElementType = keyof typeof elementTypes

/** Kinds of attributes (AttributeProto.AttributeType) that are used here. */
export const attributeTypes = { float: 1, int: 2 } as const

export interface TensorProto {
  dims: readonly number[]
  dataType: number
  name: string
  /** Elements, row-major and little-endian. */
  rawData: Uint8Array
}

export interface AttributeProto {
  name: string
  type: number
  f?: number
  i?: number
}

export interface NodeProto {
  name: string
  opType: string
  input: readonly string[]
  output: readonly string[]
  attribute: readonly AttributeProto[]
}

/** An extent is a number or the name of one that is known only when the graph runs. */
export type Extent = { dimValue: number } | { dimParam: string }

export interface ValueInfoProto {
  name: string
  docString: string
  type: { tensorType: { elemType: number; shape: { dim: readonly Extent[] } } }
}

export interface GraphProto {
  name: string
  docString: string
  node: readonly NodeProto[]
  initializer: readonly TensorProto[]
  input: readonly ValueInfoProto[]
  output: readonly ValueInfoProto[]
}

export interface ModelProto {
  irVersion: number
  opsetImport: readonly { domain: string; version: number }[]
  producerName: string
  metadataProps: readonly { key: string; value: string }[]
  graph: GraphProto
}

/** The part of the ONNX format that is written here; numbers, types and the proto2 syntax are those of onnx.proto. */
const proto = `
syntax = "proto2";

message ModelProto {
  optional int64 ir_version = 1;
  optional string producer_name = 2;
  optional GraphProto graph = 7;
  repeated OperatorSetIdProto opset_import = 8;
  repeated StringStringEntryProto metadata_props = 14;
}

message OperatorSetIdProto {
  optional string domain = 1;
  optional int64 version = 2;
}

message StringStringEntryProto {
  optional string key = 1;
  optional string value = 2;
}

message GraphProto {
  repeated NodeProto node = 1;
  optional string name = 2;
  repeated TensorProto initializer = 5;
  optional string doc_string = 10;
  repeated ValueInfoProto input = 11;
  repeated ValueInfoProto output = 12;
}

message NodeProto {
  repeated string input = 1;
  repeated string output = 2;
  optional string name = 3;
  optional string op_type = 4;
  repeated AttributeProto attribute = 5;
}

message AttributeProto {
  optional string name = 1;
  optional float f = 2;
  optional int64 i = 3;
  optional int32 type = 20;
}

message TensorProto {
  repeated int64 dims = 1;
  optional int32 data_type = 2;
  optional string name = 8;
  optional bytes raw_data = 9;
}

message ValueInfoProto {
  optional string name = 1;
  optional TypeProto type = 2;
  optional string doc_string = 3;
}

message TypeProto {
  optional Tensor tensor_type = 1;

  message Tensor {
    optional int32 elem_type = 1;
    optional TensorShapeProto shape = 2;
  }
}

message TensorShapeProto {
  repeated Dimension dim = 1;

  message Dimension {
    optional int64 dim_value = 1;
    optional string dim_param = 2;
  }
}
`

/** The bytes of a model file. */
export async function encodeModel(model: ModelProto): Promise<Uint8Array> {
  const { default: protobuf } = await import('protobufjs')
  const { root } = protobuf.parse(proto)
  return root.lookupType('ModelProto').encode(model).finish()
}
