#pragma once
// Rows of activations between the kernels.

#include <cstdint>

#include "cpu/memory.h"

namespace hrm::simd {

/// Rows of activations. `first` is the index of the row that `data` points to, so that a task may use memory of its own
/// for the rows that it works on.
struct Rows {
  float* data = nullptr;
  int64_t row = 0;  // elements from one row to the next
  int64_t first = 0;

  float* at(int64_t index) const { return data + (index - first) * row; }
};

/// Row length for `width` columns: whole cache lines, and an odd number of them where rows are long, because rows whose
/// distance is a multiple of many lines compete for a few cache sets.
inline int64_t padded_row(int64_t width) {
  constexpr int64_t kLine = 16;  // floats
  const int64_t lines = (width + kLine - 1) / kLine;
  return (lines >= 8 && lines % 2 == 0 ? lines + 1 : lines) * kLine;
}

/// Elements for `rows` rows of `width`, with room for the vector that is read beyond the last.
inline int64_t padded_size(int64_t rows, int64_t width) { return rows * padded_row(width) + 64; }

/// A buffer of rows.
class Matrix {
 public:
  explicit Matrix(const ByteCount& bytes) : buffer_(bytes) {}
  Rows reserve(int64_t rows, int64_t width) {
    view_ = {buffer_.reserve(padded_size(rows, width)), padded_row(width), 0};
    return view_;
  }
  const Rows& view() const { return view_; }

 private:
  Buffer<float> buffer_;
  Rows view_;
};

}  // namespace hrm::simd
