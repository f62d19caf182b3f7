// Kernels for any processor: 4 lanes by the compiler's vector extension (SSE2, NEON, …).

#include <math.h>
#include <string.h>

#include "cpu/simd/kernels.h"

namespace hrm::simd {
namespace {

typedef float Vec __attribute__((vector_size(16)));
typedef int32_t IntVec __attribute__((vector_size(16)));
typedef float HalfVec __attribute__((vector_size(8)));
typedef double DoubleVec __attribute__((vector_size(16)));

constexpr int64_t kLanes = 4;
constexpr int64_t kTile = 4;  // 4 x 2 accumulators, 2 columns of B, 1 broadcast of A, 1 product: fits 16 registers
constexpr const char* kIsa = "portable";

inline Vec broadcast(float x) { return Vec{x, x, x, x}; }
inline Vec load(const float* p) {
  Vec x;
  memcpy(&x, p, sizeof x);
  return x;
}
inline void store(float* p, Vec x) { memcpy(p, &x, sizeof x); }
/// 0 < count <= kLanes; absent lanes are zero, absent elements are not touched.
inline Vec load_first(const float* p, int64_t count) {
  Vec x{};
  for (int64_t i = 0; i < count; ++i) x[i] = p[i];
  return x;
}
inline void store_first(float* p, Vec x, int64_t count) {
  for (int64_t i = 0; i < count; ++i) p[i] = x[i];
}

/// a b + c and c - a b.
inline Vec multiply_add(Vec a, Vec b, Vec c) { return a * b + c; }
inline Vec multiply_subtract(Vec a, Vec b, Vec c) { return c - a * b; }
/// b where either is NaN.
inline Vec smaller(Vec a, Vec b) { return a < b ? a : b; }
inline Vec larger(Vec a, Vec b) { return a > b ? a : b; }
inline Vec square_root(Vec x) { return Vec{sqrtf(x[0]), sqrtf(x[1]), sqrtf(x[2]), sqrtf(x[3])}; }
/// |x| < 2^22: adding 1.5 * 2^23 leaves no bits for a fraction.
inline Vec nearest(Vec x) { return (x + 12582912.0f) - 12582912.0f; }
/// x 2^n for integral n in [-126, 127].
inline Vec scale_by_power(Vec x, Vec n) { return x * (Vec)((__builtin_convertvector(n, IntVec) + 127) << 23); }
inline float sum_lanes(Vec x) { return (x[0] + x[2]) + (x[1] + x[3]); }

/// a0 b0 a1 b1 …: the lower and upper halves of a and b, interleaved.
inline Vec interleave_low(Vec a, Vec b) { return Vec{a[0], b[0], a[1], b[1]}; }
inline Vec interleave_high(Vec a, Vec b) { return Vec{a[2], b[2], a[3], b[3]}; }

}  // namespace
}  // namespace hrm::simd

#include "cpu/simd/kernels.inc"

namespace hrm::simd {
const Kernels kPortableKernels = kKernels;
}
