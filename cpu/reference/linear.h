#pragma once
// Linear layers without bias. All matrices row-major; a weight is [out, in].

#include <algorithm>
#include <cstdint>
#include <vector>

namespace hrm::reference {

/// y <- x W^T.   x: [rows, in]; weight: [out, in]; y: [rows, out]
/// Every output sums over `in` in ascending order; transposing the weight only lets the inner loop run over outputs.
template <typename T>
void linear_forward(int64_t rows, int64_t in, int64_t out, const T* x, const T* weight, T* y) {
  std::vector<T> transposed(static_cast<size_t>(in * out));
  for (int64_t o = 0; o < out; ++o)
    for (int64_t i = 0; i < in; ++i) transposed[i * out + o] = weight[o * in + i];
  for (int64_t r = 0; r < rows; ++r) {
    T* y_row = y + r * out;
    std::fill_n(y_row, out, T(0));
    for (int64_t i = 0; i < in; ++i) {
      const T value = x[r * in + i];
      const T* column = transposed.data() + i * out;
      for (int64_t o = 0; o < out; ++o) y_row[o] += value * column[o];
    }
  }
}

/// A linear layer's forward, as linear_forward.
template <typename T>
using Linear = void (*)(int64_t rows, int64_t in, int64_t out, const T* x, const T* weight, T* y);

/// grad_x <- grad_y W.   grad_y: [rows, out]; grad_x: [rows, in]
template <typename T>
void linear_backward_input(int64_t rows, int64_t in, int64_t out, const T* grad_y, const T* weight, T* grad_x) {
  for (int64_t r = 0; r < rows; ++r) {
    T* grad_row = grad_x + r * in;
    std::fill_n(grad_row, in, T(0));
    for (int64_t o = 0; o < out; ++o) {
      const T value = grad_y[r * out + o];
      const T* weight_row = weight + o * in;
      for (int64_t i = 0; i < in; ++i) grad_row[i] += value * weight_row[i];
    }
  }
}

/// grad_weight <- grad_y^T x, summed over rows in ascending order.   grad_weight: [out, in]
template <typename T>
void linear_backward_weight(int64_t rows, int64_t in, int64_t out, const T* grad_y, const T* x, T* grad_weight) {
  for (int64_t o = 0; o < out; ++o) {
    T* grad_row = grad_weight + o * in;
    std::fill_n(grad_row, in, T(0));
    for (int64_t r = 0; r < rows; ++r) {
      const T value = grad_y[r * out + o];
      const T* x_row = x + r * in;
      for (int64_t i = 0; i < in; ++i) grad_row[i] += value * x_row[i];
    }
  }
}

}  // namespace hrm::reference
