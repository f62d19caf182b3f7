#include "cpu/reference/reference_backend.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <type_traits>

#include "cpu/reference/block.h"
#include "cpu/reference/embedding.h"
#include "cpu/reference/halting.h"
#include "cpu/reference/losses.h"
#include "cpu/reference/optimisers.h"
#include "cpu/reference/readout.h"
#include "cpu/storage.h"

namespace hrm {
namespace {

template <typename T>
reference::BlockPointers<T> pointers(const BlockWeights& weights) {
  return {data_of<T>(weights.qkv), data_of<T>(weights.o), data_of<T>(weights.gate_up), data_of<T>(weights.down)};
}

template <typename T>
reference::HeadPointers<T> pointers(const HeadWeights& weights) {
  return {data_of<T>(weights.lm), data_of<T>(weights.q), data_of<T>(weights.q_bias)};
}

unsigned char* bytes_at(const Tensor& tensor, size_t offset) {
  return data_of<unsigned char>(tensor) + offset * size_of(tensor->dtype);
}

}  // namespace

template <typename T>
std::string ReferenceBackend<T>::describe() const {
  return std::is_same_v<T, double> ? "cpu reference f64" : "cpu reference f32";
}

template <typename T>
DType ReferenceBackend<T>::real() const {
  return std::is_same_v<T, double> ? DType::f64 : DType::f32;
}

// --- memory ---------------------------------------------------------------------------------------------------

template <typename T>
Tensor ReferenceBackend<T>::allocate(DType dtype, size_t count) {
  return std::make_shared<CpuStorage>(bytes_, dtype, count);
}

template <typename T>
Tensor ReferenceBackend<T>::view(const Tensor& tensor, size_t offset, size_t count) {
  return std::make_shared<CpuStorage>(tensor, offset, count);
}

template <typename T>
void ReferenceBackend<T>::upload(const Tensor& tensor, const void* source, size_t offset, size_t count) {
  std::memcpy(bytes_at(tensor, offset), source, count * size_of(tensor->dtype));
  ++cpu_storage(tensor).version;
}

template <typename T>
void ReferenceBackend<T>::download(const Tensor& tensor, void* target, size_t offset, size_t count) {
  std::memcpy(target, bytes_at(tensor, offset), count * size_of(tensor->dtype));
}

template <typename T>
void ReferenceBackend<T>::copy(const Tensor& source, const Tensor& target, size_t count) {
  std::memcpy(bytes_at(target, 0), bytes_at(source, 0), count * size_of(source->dtype));
  ++cpu_storage(target).version;
}

template <typename T>
void ReferenceBackend<T>::swap(const Tensor& a, const Tensor& b) {
  cpu_storage(a).swap_elements(cpu_storage(b));
}

template <typename T>
std::unique_ptr<BlockTape> ReferenceBackend<T>::make_tape(const BlockParams& params, int64_t batch) {
  return std::make_unique<reference::Tape<T>>(bytes_, params.shapes, batch);
}

template <typename T>
bool ReferenceBackend<T>::observe(Observer observer) {
  observer_ = std::move(observer);
  return true;
}

// --- carry ----------------------------------------------------------------------------------------------------

template <typename T>
void ReferenceBackend<T>::reset_halted(const Shapes& shapes, int64_t batch, const Tensor& halted, const Tensor& init_h,
                                       const Tensor& init_l, const Tensor& z_h, const Tensor& z_l,
                                       const Tensor& steps) {
  const auto* flags = data_of<uint8_t>(halted);
  reference::reset_state(batch, shapes.S(), shapes.D, flags, data_of<T>(init_h), data_of<T>(z_h));
  reference::reset_state(batch, shapes.S(), shapes.D, flags, data_of<T>(init_l), data_of<T>(z_l));
  for (int64_t b = 0; b < batch; ++b)
    if (flags[b]) data_of<int32_t>(steps)[b] = 0;
}

template <typename T>
void ReferenceBackend<T>::replace_halted(int64_t batch, int64_t width, const Tensor& halted, const Tensor& next,
                                         const Tensor& current) {
  for (int64_t b = 0; b < batch; ++b)
    if (data_of<uint8_t>(halted)[b])
      std::copy_n(data_of<int32_t>(next) + b * width, width, data_of<int32_t>(current) + b * width);
}

template <typename T>
void ReferenceBackend<T>::explore(int64_t batch, uint64_t seed, double probability, int64_t max_steps,
                                  const Tensor& hyper, const Tensor& min_steps) {
  reference::explore(batch, seed, probability, max_steps, static_cast<uint64_t>(data_of<double>(hyper)[kStep]),
                     data_of<int32_t>(min_steps));
}

template <typename T>
void ReferenceBackend<T>::halt(int64_t batch, int64_t max_steps, HaltRule rule, const Tensor& q,
                               const Tensor& min_steps, const Tensor& steps, const Tensor& halted) {
  reference::halt(batch, max_steps, rule, data_of<T>(q), data_of<int32_t>(min_steps), data_of<int32_t>(steps),
                  data_of<uint8_t>(halted));
}

template <typename T>
void ReferenceBackend<T>::none_done(int64_t batch, HaltRule rule, const Tensor& q, const Tensor& steps,
                                    const Tensor& limits, const Tensor& adaptive, const Tensor& again) {
  *data_of<uint8_t>(again) = reference::none_done(batch, rule, data_of<T>(q), data_of<int32_t>(steps),
                                                  data_of<int32_t>(limits), data_of<uint8_t>(adaptive));
}

template <typename T>
void ReferenceBackend<T>::q_continue_target(int64_t batch, int64_t max_steps, const Tensor& next_q, const Tensor& steps,
                                            const Tensor& target) {
  reference::q_continue_target(batch, max_steps, data_of<T>(next_q), data_of<int32_t>(steps), data_of<T>(target));
}

template <typename T>
void ReferenceBackend<T>::compact_rows(std::span<const int32_t> keep, int64_t width, const Tensor& tensor) {
  reference::compact_rows(keep, static_cast<size_t>(width) * size_of(tensor->dtype), bytes_at(tensor, 0));
}

// --- forward --------------------------------------------------------------------------------------------------

template <typename T>
void ReferenceBackend<T>::gather_rows(int64_t batch, int64_t width, const Tensor& table, const Tensor& ids,
                                      const Tensor& rows) {
  reference::gather_rows(batch, width, data_of<T>(table), data_of<int32_t>(ids), data_of<T>(rows));
}

template <typename T>
void ReferenceBackend<T>::embed_forward(const Shapes& shapes, int64_t batch, const EmbedWeights& weights,
                                        const Tensor& tokens, const Tensor& puzzle_rows, const Tensor& x) {
  reference::embed_forward(shapes, batch, data_of<T>(weights.tokens), data_of<T>(weights.positions),
                           data_of<int32_t>(tokens), data_of<T>(puzzle_rows), data_of<T>(x));
}

template <typename T>
void ReferenceBackend<T>::inject(const Shapes& shapes, int64_t batch, const Tensor& z, const Tensor& a,
                                 const Tensor& b) {
  T* state = data_of<T>(z);
  const T *first = data_of<T>(a), *second = data_of<T>(b);
  for (int64_t i = 0; i < batch * shapes.S() * shapes.D; ++i) state[i] += second ? first[i] + second[i] : first[i];
}

template <typename T>
void ReferenceBackend<T>::block_forward(const BlockParams& params, int64_t batch, const BlockWeights& weights,
                                        const Tensor& x, BlockTape* tape) {
  std::unique_ptr<BlockTape> scratch;
  if (!tape) scratch = ReferenceBackend<T>::make_tape(params, batch);
  const auto count = static_cast<size_t>(batch * params.shapes.S() * params.shapes.D);
  reference::block_forward(params, batch, pointers<T>(weights), rope_table(params), block_linear(), data_of<T>(x),
                           static_cast<reference::Tape<T>&>(tape ? *tape : *scratch),
                           [&](std::string_view stage, const T* values) {
                             if (observer_) observer_(stage, values, count);
                           });
}

template <typename T>
reference::Linear<T> ReferenceBackend<T>::block_linear() const {
  return reference::linear_forward<T>;
}

template <typename T>
void ReferenceBackend<T>::readout_forward(const Shapes& shapes, int64_t batch, const HeadWeights& weights,
                                          const Tensor& z_h, const Tensor& logits, const Tensor& q) {
  reference::readout_forward(shapes, batch, pointers<T>(weights), data_of<T>(z_h), data_of<T>(logits), data_of<T>(q));
}

template <typename T>
void ReferenceBackend<T>::argmax(const Shapes& shapes, int64_t batch, const Tensor& logits, const Tensor& predictions) {
  reference::argmax(batch * shapes.T, shapes.V, data_of<T>(logits), data_of<int32_t>(predictions));
}

// --- loss and backward ----------------------------------------------------------------------------------------

template <typename T>
void ReferenceBackend<T>::loss(const Shapes& shapes, int64_t batch, LossType type, double scale, const Tensor& logits,
                               const Tensor& q, const Tensor& labels, const Tensor& target_q_continue,
                               const Tensor& row_stats, const Tensor& grad_logits, const Tensor& grad_q) {
  const int64_t tokens = shapes.T, row = tokens * shapes.V;
  double* token_grad = loss_grad_.reserve(shapes.V);
  const auto at = [](T* data, int64_t offset) { return data ? data + offset : nullptr; };
  for (int64_t b = 0; b < batch; ++b)
    reference::row_loss(shapes, type, scale, data_of<T>(logits) + b * row, data_of<T>(q) + b * 2,
                        data_of<int32_t>(labels) + b * tokens, at(data_of<T>(target_q_continue), b),
                        data_of<double>(row_stats) + b * kRowStats, at(data_of<T>(grad_logits), b * row),
                        at(data_of<T>(grad_q), b * 2), token_grad);
}

template <typename T>
void ReferenceBackend<T>::readout_backward(const Shapes& shapes, int64_t batch, const HeadWeights& weights,
                                           const Tensor& z_h, const Tensor& grad_logits, const Tensor& grad_q,
                                           const HeadWeights& grads, const Tensor& grad_z) {
  reference::readout_backward(shapes, batch, pointers<T>(weights), data_of<T>(z_h), data_of<T>(grad_logits),
                              data_of<T>(grad_q), pointers<T>(grads), data_of<T>(grad_z));
}

template <typename T>
void ReferenceBackend<T>::block_backward(const BlockParams& params, int64_t batch, const BlockWeights& weights,
                                         const BlockTape& tape, const Tensor& grad, const BlockWeights& grads) {
  reference::block_backward(params, batch, pointers<T>(weights), rope_table(params),
                            static_cast<const reference::Tape<T>&>(tape), data_of<T>(grad), pointers<T>(grads));
}

template <typename T>
void ReferenceBackend<T>::embed_backward(const Shapes& shapes, int64_t batch, const Tensor& tokens,
                                         const Tensor& grad_x, const EmbedWeights& grads,
                                         const Tensor& grad_puzzle_rows) {
  reference::embed_backward(shapes, batch, data_of<int32_t>(tokens), data_of<T>(grad_x), data_of<T>(grads.tokens),
                            data_of<T>(grads.positions), data_of<T>(grad_puzzle_rows));
}

// --- optimisers -----------------------------------------------------------------------------------------------

template <typename T>
void ReferenceBackend<T>::add(const Tensor& sum, const Tensor& term) {
  for (size_t i = 0; i < sum->count; ++i) data_of<T>(sum)[i] += data_of<T>(term)[i];
}

template <typename T>
void ReferenceBackend<T>::sum_squares(const Tensor& tensor, const Tensor& sums, size_t index) {
  double sum = 0;
  for (size_t i = 0; i < tensor->count; ++i) {
    const double value = data_of<T>(tensor)[i];
    sum += value * value;
  }
  data_of<double>(sums)[index] = sum;
}

template <typename T>
void ReferenceBackend<T>::guard(const Tensor& sums, const Tensor& row_stats, const Tensor& hyper) {
  const auto finite = [](const Tensor& tensor) {
    return std::all_of(data_of<double>(tensor), data_of<double>(tensor) + tensor->count,
                       [](double value) { return std::isfinite(static_cast<T>(value)); });
  };
  data_of<double>(hyper)[kApply] = finite(sums) && finite(row_stats) ? 1 : 0;
}

template <typename T>
void ReferenceBackend<T>::adam_atan2(const AdamParams& params, const Tensor& hyper, const Tensor& weight,
                                     const Tensor& grad, const Tensor& m, const Tensor& v) {
  if (data_of<double>(hyper)[kApply] == 0) return;
  reference::adam_atan2(params, data_of<double>(hyper), static_cast<int64_t>(weight->count), data_of<T>(weight),
                        data_of<T>(grad), data_of<T>(m), data_of<T>(v));
  ++cpu_storage(weight).version;
}

template <typename T>
void ReferenceBackend<T>::sign_sgd(int64_t batch, int64_t width, double weight_decay, const Tensor& hyper,
                                   const Tensor& table, const Tensor& ids, const Tensor& grad_rows) {
  if (data_of<double>(hyper)[kApply] == 0) return;
  reference::sign_sgd(batch, width, weight_decay, data_of<double>(hyper), data_of<T>(table), data_of<int32_t>(ids),
                      data_of<T>(grad_rows));
  ++cpu_storage(table).version;
}

template <typename T>
void ReferenceBackend<T>::ema(const Tensor& hyper, const Tensor& average, const Tensor& weight) {
  if (data_of<double>(hyper)[kApply] == 0) return;
  reference::ema(data_of<double>(hyper)[kEmaDecay], static_cast<int64_t>(average->count), data_of<T>(average),
                 data_of<T>(weight));
  ++cpu_storage(average).version;
}

// --- RoPE -----------------------------------------------------------------------------------------------------

template <typename T>
const reference::RopeTable<T>* ReferenceBackend<T>::rope_table(const BlockParams& params) {
  if (!params.rope) return nullptr;
  const int64_t positions = params.shapes.S(), head_size = params.shapes.HS();
  if (positions != table_positions_ || head_size != table_head_size_ || params.rope_theta != table_theta_) {
    table_positions_ = 0;  // none, should there be no room
    table_.fill(positions, head_size, params.rope_theta);
    table_positions_ = positions;
    table_head_size_ = head_size;
    table_theta_ = params.rope_theta;
  }
  return &table_;
}

template class ReferenceBackend<float>;
template class ReferenceBackend<double>;

}  // namespace hrm
