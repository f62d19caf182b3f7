#pragma once
// What each .cu file offers to cuda_backend.cc: one function an op, which chooses tiles and launches. All matrices are
// row-major; `rows` = batch * S unless said otherwise; D, F (SwiGLU width) and the head size are multiples of 32.
// Kernels are written for two formats of activations and weights: bf16 with fp32 accumulation on tensor cores, and
// float with plain multiply-adds. No atomics on floats: every sum has one order.

#include <cstdint>

#include "core/backend.h"
#include "cuda/device.h"

namespace hrm::cuda {

/// The format of activations and of the weights that kernels read.
enum class Format : uint8_t { bf16, f32 };

inline size_t size_of(Format format) { return format == Format::bf16 ? 2 : 4; }

/// Columns of a row that share a partial sum of squares.
inline constexpr int64_t kNormGroup = 32;

/// Activations whose RMSNorm may be pending ("deferred norm"): HRM's norm has no gain, so norm(x) W^T = rstd (x W^T),
/// and the reader multiplies by rstd = 1 / sqrt(sum of the row's partial sums / D + eps). A row whose first partial sum
/// is negative is final: its rstd is 1.
struct Activation {
  void* x;      // [rows, D]
  float* sums;  // [rows, D / kNormGroup]: of the squares of x as stored
};

/// Cosines and sines of RoPE, [S, head size / 2] each; null without RoPE.
struct RopeTable {
  const float *cosines, *sines;
};

struct BlockSizes {
  int64_t batch, S, D, heads, F;
  float norm_eps;
  int64_t rows() const { return batch * S; }
};

// --- matmul_forward.cu: linear layers with their epilogues. Weights [out, in] in `format`.
// ------------------------------
/// qkv [rows, 3D] <- round(norm(x) W^T), then rotated q and k.   weight: [3D, D]
void qkv_forward(Device& device, Format format, const BlockSizes& sizes, Activation x, const void* weight,
                 RopeTable rope, void* qkv);
/// out <- norm(residual) + round(a W^T), with its partial sums. out.x may be residual.x; out.sums may not be
/// residual.sums, which all blocks of a row read.   a: [rows, K]; weight: [D, K]
void residual_forward(Device& device, Format format, const BlockSizes& sizes, int64_t K, const void* a,
                      const void* weight, Activation residual, Activation out);
/// hidden [rows, F] <- silu(gate) * up of norm(x) W^T.   weight: [2F, D]; gate_up: [rows, 2F] or null: not kept
void swiglu_forward(Device& device, Format format, const BlockSizes& sizes, Activation x, const void* weight,
                    void* gate_up, void* hidden);

// --- matmul_backward.cu
// -------------------------------------------------------------------------------------------------
/// grad_in [rows, N] <- grad_out W, plus `addend` [rows, N] where given (may be grad_in).   grad_out: [rows, K];
/// weight: [K, N]
void input_gradient(Device& device, Format format, int64_t rows, int64_t K, int64_t N, const void* grad_out,
                    const void* weight, const void* addend, void* grad_in);
/// Through down and SwiGLU: with dh = grad_out W, grad_gate_up [rows, 2F] and hidden [rows, F] <- silu(gate) * up anew.
///   grad_out: [rows, D]; weight: [D, F]; gate_up: [rows, 2F], may be grad_gate_up
void swiglu_input_gradient(Device& device, Format format, const BlockSizes& sizes, const void* grad_out,
                           const void* weight, const void* gate_up, void* grad_gate_up, void* hidden);
/// Bytes that weight_gradient() needs to work in.
size_t weight_gradient_workspace(const Device& device, Format format, int64_t rows, int64_t N, int64_t K);
/// grad [N, K] fp32 <- grad_out^T in, summed over rows in an order that depends on the sizes alone.
///   grad_out: [rows, N]; in: [rows, K]
void weight_gradient(Device& device, Format format, int64_t rows, int64_t N, int64_t K, const void* grad_out,
                     const void* in, float* grad, void* workspace);

// --- attention_forward.cu, attention_backward.cu
// ------------------------------------------------------------------------
/// out [rows, D] <- softmax(q k^T / sqrt(head size)) v per sequence and head, not causal.
///   qkv: [rows, 3D], rotated; log_sums: [batch, heads, S] log of the sum of exponentials, or null
void attention_forward(Device& device, Format format, const BlockSizes& sizes, const void* qkv, void* out,
                       float* log_sums);
/// Bytes that attention_backward() needs to work in.
size_t attention_backward_workspace(const Device& device, Format format, const BlockSizes& sizes);
/// grad_qkv [rows, 3D]: gradients of q and k before their rotation, and of v.
void attention_backward(Device& device, Format format, const BlockSizes& sizes, const void* qkv, const void* out,
                        const float* log_sums, const void* grad_out, RopeTable rope, void* grad_qkv, void* workspace);

// --- norm.cu
// ------------------------------------------------------------------------------------------------------------
/// out [rows, D] <- norm(x), rounded to the format; rstd [rows] <- its factors, where given.
void normalise(Device& device, Format format, const BlockSizes& sizes, Activation x, void* out, float* rstd);
/// grad_in <- rstd (grad_out - y mean(grad_out y)), all [rows, D]; y = norm(x), grad_in may be grad_out.
void norm_backward(Device& device, Format format, const BlockSizes& sizes, const void* y, const float* rstd,
                   const void* grad_out, void* grad_in);
/// z <- norm(z) + (norm(a) + norm(b)), final; without b (b.x null) norm(z) + norm(a).
void inject(Device& device, Format format, const BlockSizes& sizes, Activation z, Activation a, Activation b);
/// values [rows, D] float <- norm(x), for the host.
void widen(Device& device, Format format, const BlockSizes& sizes, Activation x, float* values);
/// Rows first .. first + count / D of x, final <- values.   count a multiple of D, or any range of elements of final
/// rows
void narrow(Device& device, Format format, int64_t D, const float* values, size_t first_element, size_t count,
            Activation x);

// --- peak.cu
// ------------------------------------------------------------------------------------------------------------
/// Multiply-adds in registers, on tensor cores for bf16: the best GFLOP/s seen within about that time.
double multiply_add_gflops(Device& device, Format format, double milliseconds);

// --- carry.cu, embedding.cu, readout.cu, loss.cu, optimisers.cu: as the ops of core/backend.h of the same name; reals
// are float unless they are activations or weights in `format`
// ---------------------------------------------------------------
void reset_halted(Device& device, Format format, const BlockSizes& sizes, const uint8_t* halted, const float* init_h,
                  const float* init_l, Activation z_h, Activation z_l, int32_t* steps);
void replace_halted(Device& device, int64_t batch, int64_t width, const uint8_t* halted, const int32_t* next,
                    int32_t* current);
void explore(Device& device, int64_t batch, uint64_t seed, float probability, int64_t max_steps, const double* hyper,
             int32_t* min_steps);
void halt(Device& device, int64_t batch, int64_t max_steps, HaltRule rule, const float* q, const int32_t* min_steps,
          int32_t* steps, uint8_t* halted);
void none_done(Device& device, int64_t batch, HaltRule rule, const float* q, const int32_t* steps,
               const int32_t* limits, const uint8_t* adaptive, uint8_t* again);
void q_continue_target(Device& device, int64_t batch, int64_t max_steps, const float* next_q, const int32_t* steps,
                       float* target);
/// rows of `bytes` each: row i of target <- row keep[i] of source, for i < count. Source and target do not overlap.
void gather_bytes(Device& device, int64_t count, int64_t bytes, const int32_t* keep, const void* source, void* target);

void gather_rows(Device& device, int64_t batch, int64_t width, const float* table, const int32_t* ids, float* rows);
/// x <- embeddings, final. tokens_weight: [V, D] float masters, rounded to the format as officially (cast_to).
void embed_forward(Device& device, Format format, const Shapes& shapes, int64_t batch, const float* token_weights,
                   const float* positions, const int32_t* tokens, const float* puzzle_rows, Activation x);
size_t embed_backward_workspace(const Device& device, const Shapes& shapes, int64_t batch);
void embed_backward(Device& device, Format format, const Shapes& shapes, int64_t batch, const int32_t* tokens,
                    const void* grad_x, float* grad_tokens, float* grad_positions, float* grad_puzzle_rows,
                    void* workspace);

/// logits may be null. lm, q in `format`; q_bias float.
void readout_forward(Device& device, Format format, const Shapes& shapes, int64_t batch, float norm_eps, const void* lm,
                     const void* q_weight, const float* q_bias, Activation z_h, float* logits, float* q);
void argmax(Device& device, int64_t tokens, int64_t vocab, const float* logits, int32_t* predictions);
size_t readout_backward_workspace(const Device& device, const Shapes& shapes, int64_t batch);
/// grad_z: [rows, D] in `format`, of the normed z_h.
void readout_backward(Device& device, Format format, const Shapes& shapes, int64_t batch, float norm_eps,
                      const void* lm, const void* q_weight, Activation z_h, const float* grad_logits,
                      const float* grad_q, float* grad_lm, float* grad_q_weight, float* grad_q_bias, void* grad_z,
                      void* workspace);
void loss(Device& device, const Shapes& shapes, int64_t batch, LossType type, double scale, const float* logits,
          const float* q, const int32_t* labels, const float* target_q_continue, double* row_stats, float* grad_logits,
          float* grad_q);

void add(Device& device, int64_t count, float* sum, const float* term);
/// Bytes that sum_squares() needs to work in, for any count.
size_t sum_squares_workspace();
void sum_squares(Device& device, int64_t count, const float* values, double* sum, void* workspace);
void guard(Device& device, int64_t sums, const double* sum_values, int64_t stats, const double* stat_values,
           double* hyper);
/// copy: bf16 of the weights in `format` for the kernels, or null.
void adam_atan2(Device& device, const AdamParams& params, const double* hyper, int64_t count, float* weight,
                const float* grad, float* m, float* v, void* bf16_copy);
void sign_sgd(Device& device, int64_t batch, int64_t width, double weight_decay, const double* hyper, float* table,
              const int32_t* ids, const float* grad_rows);
void ema(Device& device, const double* hyper, int64_t count, float* average, const float* weight, void* bf16_copy);
void exchange(Device& device, int64_t count, float* a, float* b);
/// bf16 <- round(values).
void round_to_bf16(Device& device, int64_t count, const float* values, void* bf16);

}  // namespace hrm::cuda
