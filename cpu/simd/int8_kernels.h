#pragma once
// The declarations of the int8 matrix products, one set of which exists per instruction set; rules as in kernels.h.
//
// A row x of activations, or a row of a weight (an output channel), is held as x ~ scale code with codes in -127..127
// and scale = max |x| / 127. Codes are multiplied and summed as integers, exactly, so that every instruction set gets
// the same sums; y = float(sum) weight_scale row_scale (+ residual) is rounded in this order by all of them.

#include <stddef.h>
#include <stdint.h>

namespace hrm::simd {

/// Codes of activations, in the form that one instruction set multiplies.
struct CodeRows {
  void* codes;    // rows x width, readable and writable up to the next multiple of 64 bytes of each row
  int64_t row;    // bytes from one row to the next, a multiple of 64
  float* scales;  // [rows]; NaN where a row holds a value that is not finite
};

struct Quantise {
  int64_t rows, width;
  const float* x;
  int64_t x_row;
  CodeRows to;
};

/// y <- x W^T or x W^T + residual, W packed by pack.
struct Int8Matmul {
  int64_t rows, in, out;
  CodeRows x;
  const float* panels;
  float* y;  // rows x out
  int64_t y_row;
  const float* residual;  // rows x out with y's row length, or null. May be y itself.
};

/// hidden <- silu(gate) up with [gate up] = x W^T, W packed by pack_gate_up.
struct Int8Swiglu {
  int64_t rows, in, inner;
  CodeRows x;
  const float* panels;
  float* hidden;  // rows x inner
  int64_t hidden_row;
};

/// The int8 kernels of one instruction set.
struct Int8Kernels {
  const char* isa;
  int64_t panel;       // columns of a packed panel
  int64_t code_bytes;  // of an activation
  /// Floats of memory that a panel takes.
  int64_t (*panel_size)(int64_t in);

  /// panels [out/panel rounded up] <- weight [out, in] quantised by rows; panel indices [first, last) only.
  void (*pack)(const float* weight, int64_t out, int64_t in, int64_t first, int64_t last, float* panels);
  /// The same for a weight [2 inner, in] with panel/2 gate rows, then the same panel/2 up rows, in each panel.
  void (*pack_gate_up)(const float* weight, int64_t inner, int64_t in, int64_t first, int64_t last, float* panels);

  void (*quantise)(const Quantise&);
  void (*matmul)(const Int8Matmul&);
  void (*matmul_swiglu)(const Int8Swiglu&);
};

extern const Int8Kernels kPortableInt8Kernels;
#if defined(__x86_64__)
extern const Int8Kernels kAvx2Int8Kernels;
extern const Int8Kernels kAvx512VnniInt8Kernels;
#endif

}  // namespace hrm::simd
