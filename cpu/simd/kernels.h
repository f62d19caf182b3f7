#pragma once
// The declarations shared by the backend and the kernel files, one of which exists per instruction set. Plain types
// only: a kernel file is compiled with flags of its own, so it may not share inline code with the rest of the program.
//
// All matrices are float, row-major, with `<name>_row` elements from one row to the next.

#include <stddef.h>
#include <stdint.h>

namespace hrm::simd {

/// C <- A B, C <- A B + R, or C += A B. Every element of C is summed over k in ascending order, whatever its place.
///   A(i, p) = a[i a_row + p a_k]: m x k, one of the two strides is 1
///   B(p, j) = b[(j / panel) b_panel + p b_k + j % panel]: k x n. Readable up to the end of the last vector of a row.
struct Matmul {
  int64_t m, n, k;
  const float* a;
  int64_t a_row, a_k;
  const float* b;
  int64_t b_panel, b_k;
  float* c;  // m x n
  int64_t c_row;
  const float* residual;  // R, m x n, or null; residual_row may be 0 (a bias). May be C itself.
  int64_t residual_row;
  bool accumulate;  // C += A B; then residual is null
};

/// hidden <- silu(gate) up with [gate up] = x W^T, W packed by pack_gate_up.
struct MatmulSwiglu {
  int64_t rows, in, inner;  // D, F
  const float* x;           // rows x in
  int64_t x_row;
  const float* panels;
  float* hidden;  // rows x inner
  int64_t hidden_row;
  float* gate_up;  // rows x paired(inner), a panel's gates before its ups; null where no backward follows
  int64_t gate_up_row;
};

/// Rows [first, last) of grad_weight <- grad_y^T x over all rows, in ascending order. x is readable one vector beyond.
struct GradWeight {
  int64_t first, last;  // output features
  int64_t in, rows;
  const float* grad_y;  // rows x out
  int64_t grad_y_row;
  const float* x;  // rows x in
  int64_t x_row;
  float* grad_weight;  // out x in, contiguous
};

/// x <- x r, r = (mean(x^2) + eps)^-1/2, in place.
struct RmsNorm {
  int64_t rows, width;
  float eps;
  float* x;
  int64_t x_row;
  float* copy;  // the result once more, or null where no backward follows
  int64_t copy_row;
  float* inverse_rms;  // [rows], or null
};

/// grad_x <- r (grad_y - y mean(grad_y y)).
struct RmsNormBackward {
  int64_t rows, width;
  const float* y;
  int64_t y_row;
  const float* inverse_rms;  // [rows]
  const float* grad_y;
  int64_t grad_y_row;
  float* grad_x;  // may be grad_y
  int64_t grad_x_row;
};

/// Turns the q and k heads of rows [first, first + rows) of qkv by their positions (row % positions), in place;
/// `backward`: turns gradients back.
struct Rope {
  int64_t first, rows, positions, heads, head_size;
  const float *cos, *sin;  // [positions, head_size / 2]
  float* qkv;              // row `first`
  int64_t qkv_row;
  bool backward;
};

/// One head of one sequence. q, k, v have `row` elements from one position to the next.
/// Readable one vector beyond each row.
struct Attention {
  int64_t positions, head_size;
  const float *q, *k, *v;
  int64_t row;
  float* context;  // positions x head_size
  int64_t context_row;
  float* largest;      // [positions rounded up to a panel]: row maximum of q k^T, or null where no backward follows
  float* inverse_sum;  // likewise: 1 / sum of exp((q k^T - largest) / sqrt(head_size))
  float* scratch;      // attention_scratch(positions, head_size) elements
};

struct AttentionBackward {
  int64_t positions, head_size;
  const float *q, *k, *v;
  int64_t row;
  const float *largest, *inverse_sum;  // as written by the forward
  const float* grad_context;           // positions x head_size
  int64_t grad_context_row;
  float *grad_q, *grad_k, *grad_v;  // overwritten
  int64_t grad_row;
  float* scratch;
};

/// hidden and grad_gate_up from gate_up (as MatmulSwiglu writes it) and grad_hidden.
struct SwigluBackward {
  int64_t rows, inner;
  const float* gate_up;
  int64_t gate_up_row;
  const float* grad_hidden;  // rows x inner
  int64_t grad_hidden_row;
  float* hidden;  // rows x inner
  int64_t hidden_row;
  float* grad_gate_up;  // rows x 2 inner, gates before ups as in the weight
  int64_t grad_gate_up_row;
};

/// weight <- decay weight - step atan2(m m_scale, sqrt(v) v_scale) with
/// m += mix1 (grad - m), v += mix2 (grad^2 - v).
struct AdamAtan2 {
  int64_t count;
  float decay, mix1, mix2, step, m_scale, v_scale;
  float* weight;
  const float* grad;
  float *m, *v;
};

/// The kernels of one instruction set.
struct Kernels {
  const char* isa;
  int64_t panel;  // columns of a packed panel
  int64_t tile;   // rows of a register tile

  /// panels [out/panel rounded up][in][panel] <- weight^T [out, in], zero-padded; panel indices [first, last) only.
  void (*pack)(const float* weight, int64_t out, int64_t in, int64_t first, int64_t last, float* panels);
  /// The same for a weight [2 inner, in] with panel/2 gate rows, then the same panel/2 up rows, in each panel.
  void (*pack_gate_up)(const float* weight, int64_t inner, int64_t in, int64_t first, int64_t last, float* panels);
  /// panels [in/panel rounded up][out][panel] <- weight [out, in], zero-padded.
  void (*pack_transposed)(const float* weight, int64_t out, int64_t in, int64_t first, int64_t last, float* panels);

  void (*matmul)(const Matmul&);
  void (*matmul_swiglu)(const MatmulSwiglu&);
  void (*grad_weight)(const GradWeight&);
  void (*rms_norm)(const RmsNorm&);
  void (*rms_norm_backward)(const RmsNormBackward&);
  void (*rope)(const Rope&);
  int64_t (*attention_scratch)(int64_t positions, int64_t head_size);
  void (*attention)(const Attention&);
  void (*attention_backward)(const AttentionBackward&);
  void (*swiglu_backward)(const SwigluBackward&);
  /// z += a + b, or z += a where b is null.
  void (*inject)(int64_t count, float* z, const float* a, const float* b);
  void (*adam_atan2)(const AdamAtan2&);
  /// average <- decay average + (1 - decay) weight
  void (*ema)(int64_t count, float decay, float rest, float* average, const float* weight);
  /// Sum of squares in double, in an order fixed by count alone.
  double (*sum_squares)(int64_t count, const float* values);

  /// Enough independent chains of multiply-adds to keep the processor's units busy, `rounds` long; returns the
  /// floating-point operations done. What the matrix products are measured against.
  double (*multiply_add_peak)(int64_t rounds);
};

extern const Kernels kPortableKernels;
#if defined(__x86_64__)
extern const Kernels kAvx2Kernels;
extern const Kernels kAvx512Kernels;
#elif defined(__aarch64__)
extern const Kernels kNeonKernels;
#endif

}  // namespace hrm::simd
