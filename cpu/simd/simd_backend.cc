#include "cpu/simd/simd_backend.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "cpu/reference/embedding.h"
#include "cpu/reference/losses.h"
#include "cpu/reference/optimisers.h"
#include "cpu/storage.h"

namespace hrm::simd {
namespace {

// Elements of a task of the steps that run over flat arrays; also the unit of sum_squares' order of summation.
constexpr int64_t kChunk = 16384;

int64_t chunks_of(int64_t count) { return (count + kChunk - 1) / kChunk; }
int64_t chunk_size(int64_t count, int64_t chunk) { return std::min(kChunk, count - chunk * kChunk); }

}  // namespace

SimdBackend::SimdBackend(const Kernels& kernels, int threads)
    : kernels_(kernels), threads_(threads), pool_(ThreadPool::shared()), packed_(kernels, bytes_, threads) {
  for (int slot = 0; slot < threads; ++slot) slots_.emplace_back(bytes_);
}

std::string SimdBackend::describe() const {
  return std::string("cpu ") + kernels_.isa + ", " + std::to_string(threads_) +
         (threads_ == 1 ? " thread" : " threads");
}

bool SimdBackend::observe(Observer) { return false; }  // the sub-modules' outputs are never in memory

// --- forward --------------------------------------------------------------------------------------------------

void SimdBackend::embed_forward(const Shapes& shapes, int64_t batch, const EmbedWeights& weights, const Tensor& tokens,
                                const Tensor& puzzle_rows, const Tensor& x) {
  pool_.run(threads_, batch, [&](int64_t b, int) {
    const float* puzzle = puzzle_rows ? data_of<float>(puzzle_rows) + b * shapes.E : nullptr;
    reference::embed_forward(shapes, 1, data_of<float>(weights.tokens), data_of<float>(weights.positions),
                             data_of<int32_t>(tokens) + b * shapes.T, puzzle,
                             data_of<float>(x) + b * shapes.S() * shapes.D);
  });
}

void SimdBackend::inject(const Shapes& shapes, int64_t batch, const Tensor& z, const Tensor& a, const Tensor& b) {
  const int64_t count = batch * shapes.S() * shapes.D;
  pool_.run(threads_, chunks_of(count), [&](int64_t chunk, int) {
    const int64_t at = chunk * kChunk;
    kernels_.inject(chunk_size(count, chunk), data_of<float>(z) + at, data_of<float>(a) + at,
                    b ? data_of<float>(b) + at : nullptr);
  });
}

void SimdBackend::readout_forward(const Shapes& shapes, int64_t batch, const HeadWeights& weights, const Tensor& z_h,
                                  const Tensor& logits, const Tensor& q) {
  const int64_t S = shapes.S(), D = shapes.D, T = shapes.T, V = shapes.V;
  const float* q_panels = packed_.forward(weights.q, 2, D);
  const float* lm_panels = logits ? packed_.forward(weights.lm, V, D) : nullptr;
  const int64_t tasks = std::min<int64_t>(batch, threads_);
  pool_.run(threads_, tasks, [&](int64_t task, int) {
    const int64_t first = task * batch / tasks, last = (task + 1) * batch / tasks;
    const float* z = data_of<float>(z_h);
    kernels_.matmul({last - first, 2, D, z + first * S * D, S * D, 1, q_panels, 0, kernels_.panel,
                     data_of<float>(q) + first * 2, 2, data_of<float>(weights.q_bias), 0, false});
    for (int64_t b = first; lm_panels && b < last; ++b)
      kernels_.matmul({T, V, D, z + (b * S + shapes.P) * D, D, 1, lm_panels, D * kernels_.panel, kernels_.panel,
                       data_of<float>(logits) + b * T * V, V, nullptr, 0, false});
  });
}

// --- loss and backward ----------------------------------------------------------------------------------------

void SimdBackend::loss(const Shapes& shapes, int64_t batch, LossType type, double scale, const Tensor& logits,
                       const Tensor& q, const Tensor& labels, const Tensor& target_q_continue, const Tensor& row_stats,
                       const Tensor& grad_logits, const Tensor& grad_q) {
  const int64_t T = shapes.T, row = T * shapes.V;
  const auto at = [](const Tensor& tensor, int64_t offset) {
    return tensor ? data_of<float>(tensor) + offset : nullptr;
  };
  for (Slot& slot : slots_) slot.loss_grad.reserve(shapes.V);
  pool_.run(threads_, batch, [&](int64_t b, int slot) {
    reference::row_loss(shapes, type, scale, at(logits, b * row), at(q, b * 2), data_of<int32_t>(labels) + b * T,
                        at(target_q_continue, b), data_of<double>(row_stats) + b * kRowStats, at(grad_logits, b * row),
                        at(grad_q, b * 2), slots_[static_cast<size_t>(slot)].loss_grad.data());
  });
}

void SimdBackend::readout_backward(const Shapes& shapes, int64_t batch, const HeadWeights& weights, const Tensor& z_h,
                                   const Tensor& grad_logits, const Tensor& grad_q, const HeadWeights& grads,
                                   const Tensor& grad_z) {
  const int64_t S = shapes.S(), D = shapes.D, T = shapes.T, V = shapes.V, panel = kernels_.panel;
  const float *lm_panels = packed_.transposed(weights.lm, V, D), *z = data_of<float>(z_h);
  const float *logits_grad = data_of<float>(grad_logits), *q_grad = data_of<float>(grad_q);
  const float* q_weight = data_of<float>(weights.q);
  const Rows tokens = tokens_.reserve(batch * T, D);
  pool_.run(threads_, batch, [&](int64_t b, int) {
    float* grad = data_of<float>(grad_z) + b * S * D;
    std::fill_n(grad, shapes.P * D, 0.0f);
    kernels_.matmul({T, D, V, logits_grad + b * T * V, V, 1, lm_panels, V * panel, panel, grad + shapes.P * D, D,
                     nullptr, 0, false});
    for (int64_t i = 0; i < D; ++i) {
      grad[i] += q_grad[b * 2] * q_weight[i];
      grad[i] += q_grad[b * 2 + 1] * q_weight[D + i];
    }
    for (int64_t t = 0; t < T; ++t)
      std::memcpy(tokens.at(b * T + t), z + (b * S + shapes.P + t) * D, static_cast<size_t>(D) * sizeof(float));
  });
  pool_.run(threads_, (D + panel - 1) / panel, [&](int64_t task, int) {
    const int64_t first = task * panel, columns = std::min(panel, D - first);
    kernels_.matmul({V, columns, batch * T, logits_grad, 1, V, tokens.data + first, 0, tokens.row,
                     data_of<float>(grads.lm) + first, D, nullptr, 0, false});
    for (int64_t row = 0; row < 2; ++row) {
      float* sum = data_of<float>(grads.q) + row * D + first;
      std::fill_n(sum, columns, 0.0f);
      for (int64_t b = 0; b < batch; ++b)
        for (int64_t i = 0; i < columns; ++i) sum[i] += q_grad[b * 2 + row] * z[b * S * D + first + i];
    }
  });
  float* bias = data_of<float>(grads.q_bias);
  std::fill_n(bias, 2, 0.0f);
  for (int64_t b = 0; b < batch; ++b)
    for (int64_t i = 0; i < 2; ++i) bias[i] += q_grad[b * 2 + i];
}

void SimdBackend::embed_backward(const Shapes& shapes, int64_t batch, const Tensor& tokens, const Tensor& grad_x,
                                 const EmbedWeights& grads, const Tensor& grad_puzzle_rows) {
  const int64_t S = shapes.S(), D = shapes.D, P = shapes.P, T = shapes.T, E = shapes.E;
  const float scale = static_cast<float>(std::sqrt(double(D)) * (grads.positions ? reference::kPositionScale : 1.0));
  const int64_t width = 32;  // columns of a task: every token's row is summed in batch order
  pool_.run(threads_, (D + width - 1) / width, [&](int64_t task, int) {
    const int64_t first = task * width, columns = std::min(width, D - first);
    float *grad_tokens = data_of<float>(grads.tokens) + first, *grad_positions = data_of<float>(grads.positions);
    for (int64_t v = 0; v < shapes.V; ++v) std::fill_n(grad_tokens + v * D, columns, 0.0f);
    for (int64_t s = 0; grad_positions && s < S; ++s) std::fill_n(grad_positions + s * D + first, columns, 0.0f);
    for (int64_t b = 0; b < batch; ++b)
      for (int64_t s = 0; s < S; ++s) {
        const float* grad = data_of<float>(grad_x) + (b * S + s) * D + first;
        float* token = s < P ? nullptr : grad_tokens + data_of<int32_t>(tokens)[b * T + s - P] * D;
        float* position = grad_positions ? grad_positions + s * D + first : nullptr;
        for (int64_t i = 0; token && i < columns; ++i) token[i] += scale * grad[i];
        for (int64_t i = 0; position && i < columns; ++i) position[i] += scale * grad[i];
      }
  });
  for (int64_t b = 0; b < batch; ++b)
    for (int64_t i = 0; i < E; ++i)
      data_of<float>(grad_puzzle_rows)[b * E + i] = scale * data_of<float>(grad_x)[b * S * D + i];
}

// --- optimisers -----------------------------------------------------------------------------------------------

void SimdBackend::add(const Tensor& sum, const Tensor& term) {
  const auto count = static_cast<int64_t>(sum->count);
  pool_.run(threads_, chunks_of(count), [&](int64_t chunk, int) {
    const int64_t at = chunk * kChunk;
    kernels_.inject(chunk_size(count, chunk), data_of<float>(sum) + at, data_of<float>(term) + at, nullptr);
  });
}

void SimdBackend::sum_squares(const Tensor& tensor, const Tensor& sums, size_t index) {
  const auto count = static_cast<int64_t>(tensor->count);
  double* partials = partial_sums_.reserve(chunks_of(count));
  pool_.run(threads_, chunks_of(count), [&](int64_t chunk, int) {
    partials[chunk] = kernels_.sum_squares(chunk_size(count, chunk), data_of<float>(tensor) + chunk * kChunk);
  });
  double sum = 0;
  for (int64_t chunk = 0; chunk < chunks_of(count); ++chunk) sum += partials[chunk];
  data_of<double>(sums)[index] = sum;
}

void SimdBackend::adam_atan2(const AdamParams& params, const Tensor& hyper, const Tensor& weight, const Tensor& grad,
                             const Tensor& m, const Tensor& v) {
  if (data_of<double>(hyper)[kApply] == 0) return;
  const double rate = data_of<double>(hyper)[kLearningRate], step = data_of<double>(hyper)[kStep];
  const double correction1 = 1 - std::pow(params.beta1, step), correction2 = 1 - std::pow(params.beta2, step);
  const bool outside = params.variant == AdamVariant::outside;
  AdamAtan2 all{};
  all.decay = static_cast<float>(1 - rate * params.weight_decay);
  all.mix1 = static_cast<float>(1 - params.beta1);
  all.mix2 = static_cast<float>(1 - params.beta2);
  all.step = static_cast<float>(outside ? rate / correction1 : rate * reference::kInsideScale);
  all.m_scale = static_cast<float>(outside ? 1 : 1 / correction1);
  all.v_scale = static_cast<float>(1 / std::sqrt(correction2));
  const auto count = static_cast<int64_t>(weight->count);
  pool_.run(threads_, chunks_of(count), [&](int64_t chunk, int) {
    const int64_t at = chunk * kChunk;
    AdamAtan2 part = all;
    part.count = chunk_size(count, chunk);
    part.weight = data_of<float>(weight) + at;
    part.grad = data_of<float>(grad) + at;
    part.m = data_of<float>(m) + at;
    part.v = data_of<float>(v) + at;
    kernels_.adam_atan2(part);
  });
  ++cpu_storage(weight).version;
}

void SimdBackend::ema(const Tensor& hyper, const Tensor& average, const Tensor& weight) {
  if (data_of<double>(hyper)[kApply] == 0) return;
  const double decay = data_of<double>(hyper)[kEmaDecay];
  const auto count = static_cast<int64_t>(average->count);
  pool_.run(threads_, chunks_of(count), [&](int64_t chunk, int) {
    const int64_t at = chunk * kChunk;
    kernels_.ema(chunk_size(count, chunk), static_cast<float>(decay), static_cast<float>(1 - decay),
                 data_of<float>(average) + at, data_of<float>(weight) + at);
  });
  ++cpu_storage(average).version;
}

}  // namespace hrm::simd
