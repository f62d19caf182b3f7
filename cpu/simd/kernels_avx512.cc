// AVX-512 kernels: 16 lanes, 32 registers, masked loads and stores. Compiled with flags of its own (sources.cmake).

#include <immintrin.h>

#include "cpu/simd/kernels.h"

namespace hrm::simd {
namespace {

typedef float Vec __attribute__((vector_size(64)));
typedef int32_t IntVec __attribute__((vector_size(64)));
typedef float HalfVec __attribute__((vector_size(32)));
typedef double DoubleVec __attribute__((vector_size(64)));

constexpr int64_t kLanes = 16;
constexpr int64_t kTile = 12;  // 12 x 2 accumulators, 2 columns of B, 1 broadcast of A
constexpr const char* kIsa = "avx512";

inline __mmask16 first_lanes(int64_t count) { return static_cast<__mmask16>((1u << count) - 1); }

inline Vec broadcast(float x) { return (Vec)_mm512_set1_ps(x); }
inline Vec load(const float* p) { return (Vec)_mm512_loadu_ps(p); }
inline void store(float* p, Vec x) { _mm512_storeu_ps(p, (__m512)x); }
/// 0 < count <= kLanes; absent lanes are zero, absent elements are not touched.
inline Vec load_first(const float* p, int64_t count) { return (Vec)_mm512_maskz_loadu_ps(first_lanes(count), p); }
inline void store_first(float* p, Vec x, int64_t count) { _mm512_mask_storeu_ps(p, first_lanes(count), (__m512)x); }

/// a b + c and c - a b, rounded once.
inline Vec multiply_add(Vec a, Vec b, Vec c) { return (Vec)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c); }
inline Vec multiply_subtract(Vec a, Vec b, Vec c) { return (Vec)_mm512_fnmadd_ps((__m512)a, (__m512)b, (__m512)c); }
/// b where either is NaN.
inline Vec smaller(Vec a, Vec b) { return (Vec)_mm512_min_ps((__m512)a, (__m512)b); }
inline Vec larger(Vec a, Vec b) { return (Vec)_mm512_max_ps((__m512)a, (__m512)b); }
inline Vec square_root(Vec x) { return (Vec)_mm512_sqrt_ps((__m512)x); }
inline Vec nearest(Vec x) {
  return (Vec)_mm512_roundscale_ps((__m512)x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
/// x 2^n for integral n in [-126, 127].
inline Vec scale_by_power(Vec x, Vec n) { return (Vec)_mm512_scalef_ps((__m512)x, (__m512)n); }
inline float sum_lanes(Vec x) { return _mm512_reduce_add_ps((__m512)x); }

/// a0 b0 a1 b1 …: the lower and upper halves of a and b, interleaved.
inline Vec interleave_low(Vec a, Vec b) {
  const __m512i lanes = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  return (Vec)_mm512_permutex2var_ps((__m512)a, lanes, (__m512)b);
}
inline Vec interleave_high(Vec a, Vec b) {
  const __m512i lanes = _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
  return (Vec)_mm512_permutex2var_ps((__m512)a, lanes, (__m512)b);
}

}  // namespace
}  // namespace hrm::simd

#include "cpu/simd/kernels.inc"

namespace hrm::simd {
const Kernels kAvx512Kernels = kKernels;
}
