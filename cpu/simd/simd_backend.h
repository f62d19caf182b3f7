#pragma once
// The fast float32 backend: the reference with its hot steps replaced by vector kernels on several threads.
//
// Threads split rows, sequences or output columns, never a sum, so results have the same bits for any number of
// threads; in the forward a row's result does not depend on the batch around it either.

#include <string>
#include <vector>

#include "cpu/reference/reference_backend.h"
#include "cpu/simd/kernels.h"
#include "cpu/simd/matrix.h"
#include "cpu/simd/packed_weights.h"
#include "cpu/thread_pool.h"

namespace hrm::simd {

/// What a block's forward keeps, for up to `capacity` sequences.
struct Tape : BlockTape {
  Tape(const ByteCount& bytes, const Shapes& shapes, int64_t panel, int64_t capacity);

  const int64_t capacity;                      // sequences, B
  Matrix input;                                // [B S, D]
  Matrix qkv;                                  // [B S, 3D], q and k after RoPE
  Matrix context;                              // [B S, D], attention before its output projection
  Matrix middle;                               // [B S, D], after the first norm
  Matrix gate_up;                              // [B S, 2F], in the order of MatmulSwiglu
  Matrix output;                               // [B S, D], after the second norm
  Buffer<float> middle_inverse_rms;            // [B S]
  Buffer<float> output_inverse_rms;            // [B S]
  Buffer<float> largest_scores, inverse_sums;  // [B NH, S rounded up to a panel]
};

class SimdBackend : public ReferenceBackend<float> {
 public:
  SimdBackend(const Kernels& kernels, int threads);

  std::string describe() const override;
  std::unique_ptr<BlockTape> make_tape(const BlockParams& params, int64_t batch) override;
  bool observe(Observer observer) override;

  void embed_forward(const Shapes& shapes, int64_t batch, const EmbedWeights& weights, const Tensor& tokens,
                     const Tensor& puzzle_rows, const Tensor& x) override;
  void inject(const Shapes& shapes, int64_t batch, const Tensor& z, const Tensor& a, const Tensor& b) override;
  void block_forward(const BlockParams& params, int64_t batch, const BlockWeights& weights, const Tensor& x,
                     BlockTape* tape) override;
  void readout_forward(const Shapes& shapes, int64_t batch, const HeadWeights& weights, const Tensor& z_h,
                       const Tensor& logits, const Tensor& q) override;

  void loss(const Shapes& shapes, int64_t batch, LossType type, double scale, const Tensor& logits, const Tensor& q,
            const Tensor& labels, const Tensor& target_q_continue, const Tensor& row_stats, const Tensor& grad_logits,
            const Tensor& grad_q) override;
  void readout_backward(const Shapes& shapes, int64_t batch, const HeadWeights& weights, const Tensor& z_h,
                        const Tensor& grad_logits, const Tensor& grad_q, const HeadWeights& grads,
                        const Tensor& grad_z) override;
  void block_backward(const BlockParams& params, int64_t batch, const BlockWeights& weights, const BlockTape& tape,
                      const Tensor& grad, const BlockWeights& grads) override;
  void embed_backward(const Shapes& shapes, int64_t batch, const Tensor& tokens, const Tensor& grad_x,
                      const EmbedWeights& grads, const Tensor& grad_puzzle_rows) override;

  void add(const Tensor& sum, const Tensor& term) override;
  void sum_squares(const Tensor& tensor, const Tensor& sums, size_t index) override;
  void adam_atan2(const AdamParams& params, const Tensor& hyper, const Tensor& weight, const Tensor& grad,
                  const Tensor& m, const Tensor& v) override;
  void ema(const Tensor& hyper, const Tensor& average, const Tensor& weight) override;

 protected:
  /// Work space of one thread.
  struct Slot {
    explicit Slot(const ByteCount& bytes)
        : qkv(bytes),
          context(bytes),
          hidden(bytes),
          grad_hidden(bytes),
          codes(bytes),
          code_scales(bytes),
          scores(bytes),
          loss_grad(bytes) {}

    Matrix qkv, context;         // of the sequences that it works on
    Matrix hidden, grad_hidden;  // of a chunk of rows
    Matrix codes;                // int8: of the rows that enter a product
    Buffer<float> code_scales;
    Buffer<float> scores;
    Buffer<double> loss_grad;  // [V]
  };

  /// How the sequences of a batch are spread over threads (block_stages.h).
  struct Spread {
    int64_t tasks;
    int64_t own_rows;  // most rows of a task that keeps its sequences' activations to itself; 0: threads meet
  };
  Spread spread_of(const Shapes& shapes, int64_t batch) const;
  Rows reserve_shared(Matrix& matrix, const Shapes& shapes, int64_t batch, int64_t width) const;

  /// Runs the three stages of a block (block_stages.h).
  template <typename Stages>
  void run_stages(const Shapes& shapes, int64_t batch, const Stages& stages);

  const Kernels& kernels_;
  const int threads_;

  // Whole-batch work space of the blocks.
  Matrix qkv_{bytes_}, context_{bytes_};  // forward, where threads meet between stages

 private:
  friend struct ForwardStages;
  friend struct BackwardStages;

  ThreadPool& pool_;
  PackedWeights packed_;
  std::vector<Slot> slots_;
  // Operands of the weight gradients.
  Matrix grad_output_{bytes_}, grad_middle_{bytes_}, hidden_{bytes_}, grad_gate_up_{bytes_}, grad_qkv_{bytes_};
  Matrix tokens_{bytes_};  // [B T, D], z_h without puzzle positions
  Buffer<double> partial_sums_{bytes_};
};

}  // namespace hrm::simd
