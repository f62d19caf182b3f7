#pragma once
// SwiGLU without its linear layers: hidden = silu(gate) up, silu(x) = x sigmoid(x).
// gate_up: [rows, 2F], gate before up; hidden: [rows, F]
// Source: HRM models/layers.py SwiGLU

#include <cmath>
#include <cstdint>

namespace hrm::reference {

template <typename T>
T sigmoid(T x) {
  return T(1) / (T(1) + std::exp(-x));
}

template <typename T>
void swiglu_forward(int64_t rows, int64_t inner, const T* gate_up, T* hidden) {
  for (int64_t r = 0; r < rows; ++r) {
    const T *gate = gate_up + r * 2 * inner, *up = gate + inner;
    for (int64_t i = 0; i < inner; ++i) hidden[r * inner + i] = gate[i] * sigmoid(gate[i]) * up[i];
  }
}

/// grad_gate_up [rows, 2F] (overwritten) from grad_hidden [rows, F].
///   silu'(x) = sigmoid(x) (1 + x (1 - sigmoid(x)))
template <typename T>
void swiglu_backward(int64_t rows, int64_t inner, const T* gate_up, const T* grad_hidden, T* grad_gate_up) {
  for (int64_t r = 0; r < rows; ++r) {
    const T *gate = gate_up + r * 2 * inner, *up = gate + inner;
    T *grad_gate = grad_gate_up + r * 2 * inner, *grad_up = grad_gate + inner;
    for (int64_t i = 0; i < inner; ++i) {
      const T grad = grad_hidden[r * inner + i], gated = sigmoid(gate[i]);
      grad_gate[i] = grad * up[i] * (gated * (T(1) + gate[i] * (T(1) - gated)));
      grad_up[i] = grad * (gate[i] * gated);
    }
  }
}

}  // namespace hrm::reference
