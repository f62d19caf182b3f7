#pragma once
// The one contract between the model (core/) and what computes it (cpu/, cuda/), at the grain of fused steps.
// Core issues these calls in the paper's order; it never reads an element of a tensor except through download().
// All matrices are row-major; a linear layer's weight is [out, in] as in the official checkpoints.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "core/shapes.h"

namespace hrm {

enum class DType : uint8_t { f32, f64, i32, u8 };

inline size_t size_of(DType dtype) {
  switch (dtype) {
    case DType::f64:
      return 8;
    case DType::u8:
      return 1;
    default:
      return 4;
  }
}

/// Opaque device memory of fixed dtype and element count. Only the backend that made it looks inside.
struct Storage {
  Storage(DType dtype, size_t count) : dtype(dtype), count(count) {}
  virtual ~Storage() = default;
  const DType dtype;
  const size_t count;
};

/// A reference to device memory; empty where an optional tensor is absent.
using Tensor = std::shared_ptr<Storage>;

/// How a backend computes: in real() throughout; for inference with the linear layers of the blocks in int8; or with
/// activations and copies of the weights in bf16, accumulating in fp32 (CUDA).
enum class Precision : uint8_t { fp32, fp64, int8, bf16 };

enum class LossType : uint8_t { stablemax_cross_entropy, softmax_cross_entropy };

/// When training or adaptive inference lets a sequence halt early. `over_continue`: q_halt > q_continue (official);
/// `positive`: q_halt > 0, for models without a continue target (Tiny Recursive Models, no_ACT_continue).
enum class HaltRule : uint8_t { over_continue, positive };

/// First-moment correction of AdamATan2. `outside`: official imoneoi/adam-atan2,
///   theta -= lr/(1-b1^t) * atan2(m, sqrt(v)/sqrt(1-b2^t)).
/// `inside`: the adam-atan2-pytorch form, theta -= lr * 1.27 * atan2(m/(1-b1^t), sqrt(v/(1-b2^t))).
enum class AdamVariant : uint8_t { outside, inside };

/// Weights (or their gradients) of one transformer block.
struct BlockWeights {
  Tensor qkv;      // [3D, D]: rows of q, then k, then v, each NH x HS
  Tensor o;        // [D, D]
  Tensor gate_up;  // [2F, D]: gate rows, then up rows
  Tensor down;     // [D, F]
};

/// Weights (or their gradients) of the input embedding.
struct EmbedWeights {
  Tensor tokens;     // [V, D]
  Tensor positions;  // [S, D], empty with RoPE
};

/// Weights (or their gradients) of the two heads.
struct HeadWeights {
  Tensor lm;      // [V, D]
  Tensor q;       // [2, D]: halt row, continue row
  Tensor q_bias;  // [2]
};

/// What a block needs besides its weights.
struct BlockParams {
  Shapes shapes;
  bool rope;  // rotate q and k (else positions are learned and part of the input)
  double rope_theta;
  double norm_eps;  // RMSNorm epsilon
};

/// Activations that one block forward keeps for its backward; made by make_tape(), content private to the backend.
struct BlockTape {
  virtual ~BlockTape() = default;
};

/// A sequence of calls that a graph backend has captured, to be replayed; see Backend::record().
struct Recording {
  virtual ~Recording() = default;
};

/// Columns of `row_stats` [B, kRowStats] f64, written by loss().
enum RowStat : int {
  kLmLoss,         // mean over labelled tokens of the cross-entropy; 0 where no token is labelled
  kQHaltLoss,      // BCE(q_halt, row correct)
  kQContinueLoss,  // BCE(q_continue, target); 0 without a target
  kLabelCount,     // labelled tokens
  kCorrectCount,   // labelled tokens predicted right (argmax, lowest index on ties)
  kRowCorrect,     // 1 if kCorrectCount == kLabelCount (also when both are 0, as officially)
  kRowStats
};

/// Columns of the f64 tensor `hyper` [kHyperCount], what changes from step to step, so that a recorded step can be
/// replayed.
enum Hyper : int {
  kLearningRate,        // AdamATan2's rate at this step
  kPuzzleLearningRate,  // SignSGD's rate at this step
  kStep,                // t, from 1: of AdamATan2's bias corrections and of the exploration's draws
  kEmaDecay,            // decay of this step, 0..1
  kApply,               // 0 keeps adam_atan2(), sign_sgd() and ema() from changing anything; set by guard()
  kHyperCount
};

struct AdamParams {
  double beta1, beta2, weight_decay;
  AdamVariant variant;
};

class Backend {
 public:
  virtual ~Backend() = default;

  /// One line for people: "cpu avx512, 2 threads".
  virtual std::string describe() const = 0;
  /// dtype in which weights, states, logits and gradients go in and out: f32, or f64 for the reference in double.
  virtual DType real() const = 0;

  // --- memory -------------------------------------------------------------------------------------------------
  /// Bytes held now: by the tensors and tapes that it has made, by its copies of weights and by its work space. Any
  /// thread may ask.
  virtual int64_t bytes() const = 0;
  /// Zero-filled memory. Throws ERR_HRM_OUT_OF_MEMORY.
  virtual Tensor allocate(DType dtype, size_t count) = 0;
  /// Zero-filled activations [batch, S, D], real() outside and of the backend's own format inside: what states, x and
  /// their gradients are kept in.
  virtual Tensor allocate_activations(const Shapes& shapes, int64_t batch) {
    return allocate(real(), static_cast<size_t>(batch * shapes.S() * shapes.D));
  }
  /// Elements offset … offset + count - 1 of a tensor as one that shares its memory. Not for weights and not for
  /// swap().
  virtual Tensor view(const Tensor& tensor, size_t offset, size_t count) = 0;
  /// Copies `count` elements of the tensor's dtype from the host, to element `offset` on. Repacks weights lazily.
  virtual void upload(const Tensor& tensor, const void* source, size_t offset, size_t count) = 0;
  virtual void download(const Tensor& tensor, void* target, size_t offset, size_t count) = 0;
  /// target[0..count) <- source[0..count), same dtype.
  virtual void copy(const Tensor& source, const Tensor& target, size_t count) = 0;
  /// Exchanges the contents of two tensors of equal dtype and count.
  virtual void swap(const Tensor& a, const Tensor& b) = 0;
  virtual std::unique_ptr<BlockTape> make_tape(const BlockParams& params, int64_t batch) = 0;

  /// Returns once all that was issued is done.
  virtual void wait() {}

  /// Issues `body`: calls of this backend that neither allocate nor touch the host's memory, on the same tensors each
  /// time. A graph backend keeps them in `recording` (empty at first) and replays them; a CPU runs them.
  virtual void record(std::unique_ptr<Recording>& recording, const std::function<void()>& body) {
    (void)recording;
    body();
  }

  /// As record(), but issues `body`, which sets `again` [1] u8, once and then as long as it is not 0. A graph backend
  /// loops on the device.
  virtual void record_while(std::unique_ptr<Recording>& recording, const Tensor& again,
                            const std::function<void()>& body) {
    (void)recording;
    uint8_t flag = 0;
    do {
      body();
      download(again, &flag, 0, 1);
    } while (flag != 0);
  }

  /// Observer of sub-module outputs, for traces: called with "self_attn", "mlp" and "block" after each, in call order,
  /// with the [B, S, D] values as real(). Backends that fuse them away return false. An empty function ends it.
  using Observer = std::function<void(std::string_view stage, const void* values, size_t count)>;
  virtual bool observe(Observer observer) {
    (void)observer;
    return false;
  }

  // --- carry (all in place) -------------------------------------------------------------------------------------
  /// Rows with halted != 0: z_h <- init_h, z_l <- init_l (broadcast over positions), steps <- 0.
  ///   halted: [B] u8; init_h, init_l: [D]; z_h, z_l: [B, S, D]; steps: [B] i32
  virtual void reset_halted(const Shapes& shapes, int64_t batch, const Tensor& halted, const Tensor& init_h,
                            const Tensor& init_l, const Tensor& z_h, const Tensor& z_l, const Tensor& steps) = 0;
  /// Rows with halted != 0: current <- next.   next, current: [B, width] i32; halted: [B] u8
  virtual void replace_halted(int64_t batch, int64_t width, const Tensor& halted, const Tensor& next,
                              const Tensor& current) = 0;
  /// min_steps[b] <- with `probability` an integer of 2 … max_steps, else 0, drawn by Philox from (seed,
  /// PhiloxStream::exploration, b, hyper[kStep]): u = uniform_float(word 0) < probability, 2 + word 1 * (max_steps - 1)
  /// / 2^32.
  ///   min_steps: [B] i32
  virtual void explore(int64_t batch, uint64_t seed, double probability, int64_t max_steps, const Tensor& hyper,
                       const Tensor& min_steps) = 0;
  /// steps += 1; halted <- steps >= max_steps, or in training (draws given, max_steps > 1) also by the rule, but never
  /// before the drawn minimum.
  ///   q: [B, 2] real (halt, continue); min_steps: [B] i32, 0 where nothing is explored, or empty in evaluation
  ///   steps: [B] i32, halted: [B] u8, both updated
  virtual void halt(int64_t batch, int64_t max_steps, HaltRule rule, const Tensor& q, const Tensor& min_steps,
                    const Tensor& steps, const Tensor& halted) = 0;
  /// again <- 1 where no row is done: none at its limit, and none of those that may (adaptive != 0) halts by the rule.
  ///   q: [B, 2]; steps, limits: [B] i32; adaptive: [B] u8; again: [1] u8
  virtual void none_done(int64_t batch, HaltRule rule, const Tensor& q, const Tensor& steps, const Tensor& limits,
                         const Tensor& adaptive, const Tensor& again) = 0;
  /// target[b] <- sigmoid(steps[b] >= max_steps ? q_halt : max(q_halt, q_continue)), from the next segment's q.
  ///   next_q: [B, 2]; steps: [B] i32 after halt(); target: [B] real
  virtual void q_continue_target(int64_t batch, int64_t max_steps, const Tensor& next_q, const Tensor& steps,
                                 const Tensor& target) = 0;
  /// Keeps rows keep[0..n) in this order as rows 0..n of every tensor (row width in elements given). keep is ascending.
  virtual void compact_rows(std::span<const int32_t> keep, int64_t width, const Tensor& tensor) = 0;

  // --- forward -----------------------------------------------------------------------------------------------
  /// rows[b] <- table[ids[b]].   table: [N, E] real; ids: [B] i32; rows: [B, E]
  virtual void gather_rows(int64_t batch, int64_t width, const Tensor& table, const Tensor& ids,
                           const Tensor& rows) = 0;
  /// x <- sqrt(D) * [puzzle rows, zero-padded to P*D ; token embeddings], with learned positions
  /// x <- sqrt(D) * 0.707106781 * ([…] + positions).
  ///   tokens: [B, T] i32; puzzle_rows: [B, E], empty if E == 0; x: [B, S, D]
  virtual void embed_forward(const Shapes& shapes, int64_t batch, const EmbedWeights& weights, const Tensor& tokens,
                             const Tensor& puzzle_rows, const Tensor& x) = 0;
  /// z <- z + (a + b), or z + a where b is empty.   all [B, S, D]
  virtual void inject(const Shapes& shapes, int64_t batch, const Tensor& z, const Tensor& a, const Tensor& b) = 0;
  /// One post-norm block in place: x <- norm(x + attention(x)); x <- norm(x + swiglu(x)).  x: [B, S, D]
  /// With a tape (of at least this batch) keeps what block_backward() needs.
  virtual void block_forward(const BlockParams& params, int64_t batch, const BlockWeights& weights, const Tensor& x,
                             BlockTape* tape) = 0;
  /// logits <- lm_head(z_h)[:, P:], q <- q_head(z_h[:, 0]).   z_h: [B, S, D]; logits: [B, T, V], empty for q alone;
  /// q: [B, 2]
  virtual void readout_forward(const Shapes& shapes, int64_t batch, const HeadWeights& weights, const Tensor& z_h,
                               const Tensor& logits, const Tensor& q) = 0;
  /// predictions <- argmax over V, lowest index on ties.   logits: [B, T, V]; predictions: [B, T] i32
  virtual void argmax(const Shapes& shapes, int64_t batch, const Tensor& logits, const Tensor& predictions) = 0;

  // --- loss and backward -----------------------------------------------------------------------------------------
  /// Per-row losses and statistics; where grad_logits is given also the gradients of
  ///   scale * sum_b [ lm_loss + (q_halt_loss + q_continue_loss) / 2 ].
  /// Cross-entropy is evaluated in double. Labels < 0 are ignored.
  ///   labels: [B, T] i32; target_q_continue: [B] real or empty; row_stats: [B, kRowStats] f64
  ///   grad_logits: [B, T, V], grad_q: [B, 2], overwritten, or both empty
  virtual void loss(const Shapes& shapes, int64_t batch, LossType type, double scale, const Tensor& logits,
                    const Tensor& q, const Tensor& labels, const Tensor& target_q_continue, const Tensor& row_stats,
                    const Tensor& grad_logits, const Tensor& grad_q) = 0;
  /// Gradients of both heads (overwritten) and grad_z <- gradient of z_h [B, S, D] (overwritten).
  virtual void readout_backward(const Shapes& shapes, int64_t batch, const HeadWeights& weights, const Tensor& z_h,
                                const Tensor& grad_logits, const Tensor& grad_q, const HeadWeights& grads,
                                const Tensor& grad_z) = 0;
  /// grad: gradient of the block's output on entry, of its input on return, [B, S, D]. Weight gradients overwritten.
  virtual void block_backward(const BlockParams& params, int64_t batch, const BlockWeights& weights,
                              const BlockTape& tape, const Tensor& grad, const BlockWeights& grads) = 0;
  /// Gradients of the embedding weights (overwritten) and of the gathered puzzle rows [B, E].   grad_x: [B, S, D]
  virtual void embed_backward(const Shapes& shapes, int64_t batch, const Tensor& tokens, const Tensor& grad_x,
                              const EmbedWeights& grads, const Tensor& grad_puzzle_rows) = 0;

  /// sum <- sum + term, gradients of micro-batches in turn.   both [n] real
  virtual void add(const Tensor& sum, const Tensor& term) = 0;

  // --- optimisers --------------------------------------------------------------------------------------------
  /// sums[index] <- sum of squares of `tensor` in double, in a fixed order. Non-finite elements make it non-finite.
  ///   sums: f64
  virtual void sum_squares(const Tensor& tensor, const Tensor& sums, size_t index) = 0;
  /// hyper[kApply] <- 1 where every element of both is finite as real(), in which the optimisers square, else 0.
  ///   sums, row_stats: f64
  virtual void guard(const Tensor& sums, const Tensor& row_stats, const Tensor& hyper) = 0;
  /// weight <- (1 - lr*wd)*weight, then the AdamATan2 step; m, v updated.   all [n] real; hyper: [kHyperCount] f64
  virtual void adam_atan2(const AdamParams& params, const Tensor& hyper, const Tensor& weight, const Tensor& grad,
                          const Tensor& m, const Tensor& v) = 0;
  /// Rows named in ids, each once: p <- (1 - lr*wd)*p - lr*sign(sum of the gradients of equal ids).
  ///   table: [N, E]; ids: [B] i32; grad_rows: [B, E]
  virtual void sign_sgd(int64_t batch, int64_t width, double weight_decay, const Tensor& hyper, const Tensor& table,
                        const Tensor& ids, const Tensor& grad_rows) = 0;
  /// average <- decay*average + (1 - decay)*weight, decay from hyper.
  virtual void ema(const Tensor& hyper, const Tensor& average, const Tensor& weight) = 0;
};

}  // namespace hrm
