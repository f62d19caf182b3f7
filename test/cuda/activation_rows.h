#pragma once
// Activations for cases, some rows with their norm pending and some final.

#include <cmath>
#include <string>
#include <vector>

#include "test/cuda/harness.h"

namespace hrm::cuda::test {

inline std::vector<double> doubles(const std::vector<float>& values) { return {values.begin(), values.end()}; }

struct ActivationRows {
  int64_t rows, D;
  float eps;
  std::vector<float> x, sums;  // [rows, D], [rows, D / kNormGroup]

  /// One row in three is final, from the second on.
  ActivationRows(Test& test, Format format, int64_t row_count, int64_t width, float norm_eps = 1e-5f)
      : rows(row_count), D(width), eps(norm_eps), x(test.normal(format, static_cast<size_t>(rows * D), 3.0)) {
    for (int64_t row = 0; row < rows; ++row)
      for (int64_t group = 0; group < D / kNormGroup; ++group) {
        float sum = 0;
        for (int64_t i = 0; i < kNormGroup; ++i) {
          const float value = x[static_cast<size_t>(row * D + group * kNormGroup + i)];
          sum += value * value;
        }
        sums.push_back(row % 3 == 1 ? -1.0f : sum);
      }
  }

  /// In float, as every kernel computes it, so that products can be judged by operands of the same bits.
  float factor(int64_t row) const {
    const float* partial = &sums[static_cast<size_t>(row * (D / kNormGroup))];
    if (partial[0] < 0) return 1;
    float sum = 0;
    for (int64_t i = 0; i < D / kNormGroup; ++i) sum += partial[i];
    return 1 / std::sqrt(sum / static_cast<float>(D) + eps);
  }

  std::vector<float> factors() const {
    std::vector<float> all;
    for (int64_t row = 0; row < rows; ++row) all.push_back(factor(row));
    return all;
  }

  /// norm(x) in double, not rounded.
  std::vector<double> normed() const {
    std::vector<double> values = doubles(x);
    for (int64_t row = 0; row < rows; ++row) {
      double sum = 0;
      for (int64_t i = 0; i < D; ++i)
        sum += values[static_cast<size_t>(row * D + i)] * values[static_cast<size_t>(row * D + i)];
      const bool final = sums[static_cast<size_t>(row * (D / kNormGroup))] < 0;
      const double scale = final ? 1 : 1 / std::sqrt(sum / static_cast<double>(D) + static_cast<double>(eps));
      for (int64_t i = 0; i < D; ++i) values[static_cast<size_t>(row * D + i)] *= scale;
    }
    return values;
  }

  /// norm(x) as kernels read it.
  std::vector<float> operands(Format format) const {
    std::vector<float> values = x;
    for (int64_t row = 0; row < rows; ++row)
      for (int64_t i = 0; i < D; ++i) values[static_cast<size_t>(row * D + i)] *= factor(row);
    return Test::rounded(format, values);
  }

  Activation input(Test& test, Format format) const { return {test.input(format, x), test.input(sums)}; }
  Activation in_out(Test& test, Format format) const { return {test.in_out(format, x), test.in_out(sums)}; }

  /// Sizes of this many sequences of one position each.
  BlockSizes sizes() const { return {.batch = rows, .S = 1, .D = D, .heads = 1, .F = D, .norm_eps = eps}; }
};

inline std::string name_of(Format format) { return format == Format::bf16 ? "bf16" : "fp32"; }

}  // namespace hrm::cuda::test
