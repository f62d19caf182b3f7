#pragma once
// The truth in plain loops, in float and double. Faster CPU backends derive from ReferenceBackend<float> and override
// what is worth it.

#include "core/backend.h"
#include "cpu/memory.h"
#include "cpu/reference/linear.h"
#include "cpu/reference/rope.h"

namespace hrm {

/// T: float or double, the type of weights, states, logits and gradients; also of every sum except where backend.h
/// says double.
template <typename T>
class ReferenceBackend : public Backend {
 public:
  std::string describe() const override;
  DType real() const override;

  int64_t bytes() const override { return *bytes_; }
  Tensor allocate(DType dtype, size_t count) override;
  Tensor view(const Tensor& tensor, size_t offset, size_t count) override;
  void upload(const Tensor& tensor, const void* source, size_t offset, size_t count) override;
  void download(const Tensor& tensor, void* target, size_t offset, size_t count) override;
  void copy(const Tensor& source, const Tensor& target, size_t count) override;
  void swap(const Tensor& a, const Tensor& b) override;
  std::unique_ptr<BlockTape> make_tape(const BlockParams& params, int64_t batch) override;
  bool observe(Observer observer) override;

  void reset_halted(const Shapes& shapes, int64_t batch, const Tensor& halted, const Tensor& init_h,
                    const Tensor& init_l, const Tensor& z_h, const Tensor& z_l, const Tensor& steps) override;
  void replace_halted(int64_t batch, int64_t width, const Tensor& halted, const Tensor& next,
                      const Tensor& current) override;
  void explore(int64_t batch, uint64_t seed, double probability, int64_t max_steps, const Tensor& hyper,
               const Tensor& min_steps) override;
  void halt(int64_t batch, int64_t max_steps, HaltRule rule, const Tensor& q, const Tensor& min_steps,
            const Tensor& steps, const Tensor& halted) override;
  void none_done(int64_t batch, HaltRule rule, const Tensor& q, const Tensor& steps, const Tensor& limits,
                 const Tensor& adaptive, const Tensor& again) override;
  void q_continue_target(int64_t batch, int64_t max_steps, const Tensor& next_q, const Tensor& steps,
                         const Tensor& target) override;
  void compact_rows(std::span<const int32_t> keep, int64_t width, const Tensor& tensor) override;

  void gather_rows(int64_t batch, int64_t width, const Tensor& table, const Tensor& ids, const Tensor& rows) override;
  void embed_forward(const Shapes& shapes, int64_t batch, const EmbedWeights& weights, const Tensor& tokens,
                     const Tensor& puzzle_rows, const Tensor& x) override;
  void inject(const Shapes& shapes, int64_t batch, const Tensor& z, const Tensor& a, const Tensor& b) override;
  void block_forward(const BlockParams& params, int64_t batch, const BlockWeights& weights, const Tensor& x,
                     BlockTape* tape) override;
  void readout_forward(const Shapes& shapes, int64_t batch, const HeadWeights& weights, const Tensor& z_h,
                       const Tensor& logits, const Tensor& q) override;
  void argmax(const Shapes& shapes, int64_t batch, const Tensor& logits, const Tensor& predictions) override;

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
  void guard(const Tensor& sums, const Tensor& row_stats, const Tensor& hyper) override;
  void adam_atan2(const AdamParams& params, const Tensor& hyper, const Tensor& weight, const Tensor& grad,
                  const Tensor& m, const Tensor& v) override;
  void sign_sgd(int64_t batch, int64_t width, double weight_decay, const Tensor& hyper, const Tensor& table,
                const Tensor& ids, const Tensor& grad_rows) override;
  void ema(const Tensor& hyper, const Tensor& average, const Tensor& weight) override;

 protected:
  /// The table for these parameters, kept until others are asked for; null without RoPE.
  const reference::RopeTable<T>* rope_table(const BlockParams& params);

  /// What the blocks compute their linear layers by.
  virtual reference::Linear<T> block_linear() const;

  const ByteCount bytes_ = new_byte_count();
  Observer observer_;

 private:
  reference::RopeTable<T> table_{bytes_};
  Buffer<double> loss_grad_{bytes_};  // [V]
  int64_t table_positions_ = 0, table_head_size_ = 0;
  double table_theta_ = 0;
};

extern template class ReferenceBackend<float>;
extern template class ReferenceBackend<double>;

}  // namespace hrm
