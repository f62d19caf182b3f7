#pragma once
// The two heads: logits = lm_head(z_h) at the token positions, q = q_head(z_h) at position 0.
// Source: HRM models/hrm/hrm_act_v1.py Inner.forward

#include <algorithm>
#include <cstdint>

#include "core/shapes.h"
#include "cpu/reference/linear.h"

namespace hrm::reference {

template <typename T>
struct HeadPointers {
  T* lm;      // [V, D]
  T* q;       // [2, D]
  T* q_bias;  // [2]
};

/// z_h: [B, S, D]; logits: [B, T, V] or null; q: [B, 2]
template <typename T>
void readout_forward(const Shapes& shapes, int64_t batch, const HeadPointers<T>& weights, const T* z_h, T* logits,
                     T* q) {
  const int64_t D = shapes.D;
  for (int64_t b = 0; b < batch; ++b) {
    const T* sequence = z_h + b * shapes.S() * D;
    if (logits)
      linear_forward(shapes.T, D, shapes.V, sequence + shapes.P * D, weights.lm, logits + b * shapes.T * shapes.V);
    linear_forward(1, D, 2, sequence, weights.q, q + b * 2);
    for (int64_t i = 0; i < 2; ++i) q[b * 2 + i] += weights.q_bias[i];
  }
}

/// All gradients overwritten.   grad_logits: [B, T, V]; grad_q: [B, 2]; grad_z: [B, S, D]
template <typename T>
void readout_backward(const Shapes& shapes, int64_t batch, const HeadPointers<T>& weights, const T* z_h,
                      const T* grad_logits, const T* grad_q, const HeadPointers<T>& grads, T* grad_z) {
  const int64_t D = shapes.D, V = shapes.V, S = shapes.S();
  std::fill_n(grads.lm, V * D, T(0));
  std::fill_n(grads.q, 2 * D, T(0));
  std::fill_n(grads.q_bias, 2, T(0));
  std::fill_n(grad_z, batch * S * D, T(0));
  // One output row of a head at one position: grad_weight += grad z, grad_z += grad weight.
  const auto accumulate = [D](T grad, const T* z, const T* weight, T* grad_weight, T* grad_position) {
    for (int64_t i = 0; i < D; ++i) {
      grad_weight[i] += grad * z[i];
      grad_position[i] += grad * weight[i];
    }
  };
  for (int64_t b = 0; b < batch; ++b) {
    for (int64_t t = 0; t < shapes.T; ++t) {
      const int64_t at = (b * S + shapes.P + t) * D;
      for (int64_t v = 0; v < V; ++v)
        accumulate(grad_logits[(b * shapes.T + t) * V + v], z_h + at, weights.lm + v * D, grads.lm + v * D,
                   grad_z + at);
    }
    const int64_t first = b * S * D;
    for (int64_t i = 0; i < 2; ++i) {
      accumulate(grad_q[b * 2 + i], z_h + first, weights.q + i * D, grads.q + i * D, grad_z + first);
      grads.q_bias[i] += grad_q[b * 2 + i];
    }
  }
}

/// predictions <- argmax over V, the lowest index on ties.   logits: [rows, V]
template <typename T>
void argmax(int64_t rows, int64_t vocab, const T* logits, int32_t* predictions) {
  for (int64_t r = 0; r < rows; ++r) {
    const T* row = logits + r * vocab;
    predictions[r] = static_cast<int32_t>(std::max_element(row, row + vocab) - row);
  }
}

}  // namespace hrm::reference
