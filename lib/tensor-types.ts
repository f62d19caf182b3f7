/** Element types of tensors in files, with their size in bytes; all little-endian. */
export const itemSizes = { F64: 8, F32: 4, F16: 2, BF16: 2, I64: 8, I32: 4, U8: 1, BOOL: 1 } as const

/** Floating-point types, which can be read as float32. */
export type FloatDtype = 'F64' | 'F32' | 'F16' | 'BF16'

export function isFloat(dtype: string): dtype is FloatDtype {
  return dtype === 'F64' || dtype === 'F32' || dtype === 'F16' || dtype === 'BF16'
}

/** Floating-point elements as float32: F16 and BF16 exactly, F64 rounded. `bytes` must begin at a multiple of 8. */
export function toFloat32(dtype: FloatDtype, bytes: Uint8Array): Float32Array {
  const { buffer, byteOffset, byteLength } = bytes
  const length = byteLength / itemSizes[dtype]
  if (dtype === 'F32') return new Float32Array(buffer, byteOffset, length)
  if (dtype === 'F64') return Float32Array.from(new Float64Array(buffer, byteOffset, length))
  const patterns = new Uint16Array(buffer, byteOffset, length)
  if (dtype === 'F16') return Float32Array.from(patterns, float16)
  return new Float32Array(Uint32Array.from(patterns, (pattern) => pattern << 16).buffer)
}

/** The value of an IEEE 754 binary16 bit pattern. */
function float16(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1
  const exponent = (bits >>> 10) & 0x1f
  const fraction = bits & 0x3ff
  if (exponent === 0) return sign * fraction * 2 ** -24
  if (exponent === 0x1f) return fraction === 0 ? sign * Infinity : NaN
  return sign * (1024 + fraction) * 2 ** (exponent - 25)
}

/** The bit patterns of values rounded to bfloat16, ties to even; what is too large becomes an infinity. */
export function toBfloat16(values: Float32Array): Uint16Array {
  const patterns = new Uint32Array(values.buffer, values.byteOffset, values.length)
  return Uint16Array.from(patterns, (pattern) => {
    // A NaN whose payload is in the lower half alone must stay one.
    if ((pattern & 0x7fffffff) > 0x7f800000) return (pattern >>> 16) | 0x40
    return (pattern + 0x7fff + ((pattern >>> 16) & 1)) >>> 16
  })
}
