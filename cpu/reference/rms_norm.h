#pragma once
// RMSNorm without weight over the last dimension.
//   y = x r,  r = (mean(x^2) + eps)^-1/2;   grad_x = r (grad_y - y mean(grad_y y))
// Source: HRM models/layers.py rms_norm

#include <cmath>
#include <cstdint>

namespace hrm::reference {

/// In place. inverse_rms: [rows], r of each row, or null where no backward follows.   x: [rows, width]
template <typename T>
void rms_norm_forward(int64_t rows, int64_t width, T eps, T* x, T* inverse_rms) {
  for (int64_t r = 0; r < rows; ++r) {
    T* row = x + r * width;
    T sum = 0;
    for (int64_t i = 0; i < width; ++i) sum += row[i] * row[i];
    const T inverse = T(1) / std::sqrt(sum / T(width) + eps);
    for (int64_t i = 0; i < width; ++i) row[i] *= inverse;
    if (inverse_rms) inverse_rms[r] = inverse;
  }
}

/// In place: grad holds grad_y on entry, grad_x on return.   y, grad: [rows, width]; inverse_rms: [rows]
template <typename T>
void rms_norm_backward(int64_t rows, int64_t width, const T* y, const T* inverse_rms, T* grad) {
  for (int64_t r = 0; r < rows; ++r) {
    const T* y_row = y + r * width;
    T* grad_row = grad + r * width;
    T sum = 0;
    for (int64_t i = 0; i < width; ++i) sum += grad_row[i] * y_row[i];
    const T mean = sum / T(width);
    for (int64_t i = 0; i < width; ++i) grad_row[i] = inverse_rms[r] * (grad_row[i] - y_row[i] * mean);
  }
}

}  // namespace hrm::reference
