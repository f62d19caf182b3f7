// int8 products for any processor: each column's codes lie in a row, widened to 16 bits, and compilers know how to
// vectorise their dot product (pmaddwd, smlal, …).

#include <math.h>
#include <string.h>

#include "cpu/simd/int8_kernels.h"

namespace hrm::simd {
namespace {

#include "cpu/simd/vector_portable.inc"

typedef int16_t Code;
typedef int16_t WeightCode;
constexpr int32_t kCodeOffset = 0;
constexpr int64_t kTile = 4;
constexpr const char* kIsa = "portable";

inline IntVec load_integers(const void* p) {
  IntVec x;
  memcpy(&x, p, sizeof x);
  return x;
}

inline int32_t largest_lane(IntVec x) {
  int32_t largest = x[0];
  for (int64_t lane = 1; lane < kLanes; ++lane) largest = x[lane] > largest ? x[lane] : largest;
  return largest;
}

inline int64_t padded_depth(int64_t in) { return (in + kLanes - 1) / kLanes * kLanes; }

inline int64_t code_place(int64_t in, int64_t column, int64_t p) { return column * padded_depth(in) + p; }

/// sum += x W^T for kRows rows of x, x_row codes apart.
template <int kRows>
inline void multiply_tile(int64_t in, const Code* x, int64_t x_row, const WeightCode* codes, const WeightCode*,
                          IntVec (&sum)[kRows][2]) {
  for (int64_t column = 0; column < 2 * kLanes; ++column, codes += padded_depth(in))
    for (int i = 0; i < kRows; ++i) {
      int32_t total = 0;
      for (int64_t p = 0; p < in; ++p) total += x[i * x_row + p] * codes[p];
      sum[i][column / kLanes][column % kLanes] += total;
    }
}

}  // namespace
}  // namespace hrm::simd

#include "cpu/simd/int8.inc"

namespace hrm::simd {
const Int8Kernels kPortableInt8Kernels = kInt8Kernels;
}
