#pragma once
// AdamATan2, SignSGD for the puzzle embedding, EMA.
// Sources: imoneoi/adam-atan2 (outside), adam-atan2-pytorch (inside), HRM models/sparse_embedding.py

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "core/backend.h"

namespace hrm::reference {

/// The constant of adam-atan2-pytorch, 4/pi rounded: atan2(1, 1) then moves by about one rate.
inline constexpr double kInsideScale = 1.27;

/// weight, grad, m, v: [count]; hyper: [kHyperCount]
template <typename T>
void adam_atan2(const AdamParams& params, const double* hyper, int64_t count, T* weight, const T* grad, T* m, T* v) {
  const double rate = hyper[kLearningRate];
  const double correction1 = 1 - std::pow(params.beta1, hyper[kStep]);
  const double correction2 = 1 - std::pow(params.beta2, hyper[kStep]);
  const T decay = T(1 - rate * params.weight_decay);
  const T mix1 = T(1 - params.beta1), mix2 = T(1 - params.beta2);
  const bool outside = params.variant == AdamVariant::outside;
  const T step = T(outside ? rate / correction1 : rate * kInsideScale);
  for (int64_t i = 0; i < count; ++i) {
    weight[i] *= decay;
    m[i] += mix1 * (grad[i] - m[i]);
    v[i] += mix2 * (grad[i] * grad[i] - v[i]);
    const T direction = outside ? std::atan2(m[i], std::sqrt(v[i]) / T(std::sqrt(correction2)))
                                : std::atan2(m[i] / T(correction1), std::sqrt(v[i] / T(correction2)));
    weight[i] -= step * direction;
  }
}

/// Each row named in ids moves once, by the sign of the sum (in batch order) of the gradients given for it.
///   table: [N, width]; ids: [B]; grad_rows: [B, width]
template <typename T>
void sign_sgd(int64_t batch, int64_t width, double weight_decay, const double* hyper, T* table, const int32_t* ids,
              const T* grad_rows) {
  const T rate = T(hyper[kPuzzleLearningRate]), decay = T(1 - hyper[kPuzzleLearningRate] * weight_decay);
  std::vector<T> sum(static_cast<size_t>(width));
  for (int64_t b = 0; b < batch; ++b) {
    if (std::find(ids, ids + b, ids[b]) != ids + b) continue;
    std::fill(sum.begin(), sum.end(), T(0));
    for (int64_t other = b; other < batch; ++other)
      if (ids[other] == ids[b])
        for (int64_t i = 0; i < width; ++i) sum[i] += grad_rows[other * width + i];
    T* row = table + ids[b] * width;
    for (int64_t i = 0; i < width; ++i) row[i] = row[i] * decay - rate * T((sum[i] > 0) - (sum[i] < 0));
  }
}

/// average, weight: [count]
template <typename T>
void ema(double decay, int64_t count, T* average, const T* weight) {
  for (int64_t i = 0; i < count; ++i) average[i] = T(decay) * average[i] + T(1 - decay) * weight[i];
}

}  // namespace hrm::reference
