import {
  attributeTypes,
  type ElementType,
  elementTypes,
  type GraphProto,
  type NodeProto,
  type TensorProto,
  type ValueInfoProto,
} from './schema.js'

/** A constant of the graph with its shape. */
export interface Constant {
  shape: readonly number[]
  data: Float32Array | BigInt64Array
}

/** `batch` stands for the number of rows of a run. */
export type Shape = readonly (number | 'batch')[]

/** Integers stay integers, so a float attribute is given as `{ float: x }`. */
type Attributes = Readonly<Record<string, number | { float: number }>>

/** Builds an ONNX graph: each method adds something and returns the name of the value it makes. */
export class GraphBuilder {
  readonly #nodes: NodeProto[] = []
  readonly #constants = new Map<string, TensorProto>()
  readonly #inputs: ValueInfoProto[] = []
  readonly #outputs: ValueInfoProto[] = []

  /** A node with one output, which bears its name. */
  node(name: string, opType: string, input: readonly string[], attributes: Attributes = {}): string {
    this.#add(name, opType, input, [name], attributes)
    return name
  }

  /** Equal parts along an axis, named `<name>.<part>`. */
  split(name: string, input: string, axis: number, parts: readonly string[]): string[] {
    const outputs = parts.map((part) => `${name}.${part}`)
    this.#add(name, 'Split', [input], outputs, { axis, num_outputs: parts.length })
    return outputs
  }

  #add(
    name: string,
    opType: string,
    input: readonly string[],
    output: readonly string[],
    attributes: Attributes,
  ): void {
    const attribute = Object.entries(attributes).map(([key, value]) =>
      typeof value === 'number'
        ? { name: key, type: attributeTypes.int, i: value }
        : { name: key, type: attributeTypes.float, f: value.float },
    )
    this.#nodes.push({ name, opType, input, output, attribute })
  }

  /** A constant; each name is given once. */
  constant(name: string, { shape, data }: Constant): string {
    const dataType = data instanceof Float32Array ? elementTypes.float : elementTypes.int64
    const rawData = new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
    this.#constants.set(name, { name, dims: shape, dataType, rawData })
    return name
  }

  /** A constant list of integers. */
  integers(name: string, values: readonly number[]): string {
    return this.constant(name, { shape: [values.length], data: BigInt64Array.from(values, BigInt) })
  }

  input(name: string, type: ElementType, shape: Shape, docString: string): string {
    this.#inputs.push(valueInfo(name, type, shape, docString))
    return name
  }

  /** Makes a node's output an output of the graph. */
  output(name: string, type: ElementType, shape: Shape, docString: string): void {
    this.#outputs.push(valueInfo(name, type, shape, docString))
  }

  build(name: string, docString: string): GraphProto {
    const initializer = [...this.#constants.values()]
    return { name, docString, node: this.#nodes, initializer, input: this.#inputs, output: this.#outputs }
  }
}

function valueInfo(name: string, type: ElementType, shape: Shape, docString: string): ValueInfoProto {
  const dim = shape.map((extent) => (extent === 'batch' ? { dimParam: extent } : { dimValue: extent }))
  return { name, docString, type: { tensorType: { elemType: elementTypes[type], shape: { dim } } } }
}
