// AVX2 and FMA kernels: 8 lanes, 16 registers. Compiled with flags of its own (sources.cmake).

#include <immintrin.h>

#include "cpu/simd/kernels.h"

namespace hrm::simd {
namespace {

typedef float Vec __attribute__((vector_size(32)));
typedef int32_t IntVec __attribute__((vector_size(32)));
typedef float HalfVec __attribute__((vector_size(16)));
typedef double DoubleVec __attribute__((vector_size(32)));

constexpr int64_t kLanes = 8;
constexpr int64_t kTile = 6;  // 6 x 2 accumulators, 2 columns of B, 1 broadcast of A
constexpr const char* kIsa = "avx2";

inline __m256i first_lanes(int64_t count) {
  const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(count)), lanes);
}

inline Vec broadcast(float x) { return (Vec)_mm256_set1_ps(x); }
inline Vec load(const float* p) { return (Vec)_mm256_loadu_ps(p); }
inline void store(float* p, Vec x) { _mm256_storeu_ps(p, (__m256)x); }
/// 0 < count <= kLanes; absent lanes are zero, absent elements are not touched.
inline Vec load_first(const float* p, int64_t count) { return (Vec)_mm256_maskload_ps(p, first_lanes(count)); }
inline void store_first(float* p, Vec x, int64_t count) { _mm256_maskstore_ps(p, first_lanes(count), (__m256)x); }

/// a b + c and c - a b, rounded once.
inline Vec multiply_add(Vec a, Vec b, Vec c) { return (Vec)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c); }
inline Vec multiply_subtract(Vec a, Vec b, Vec c) { return (Vec)_mm256_fnmadd_ps((__m256)a, (__m256)b, (__m256)c); }
/// b where either is NaN.
inline Vec smaller(Vec a, Vec b) { return (Vec)_mm256_min_ps((__m256)a, (__m256)b); }
inline Vec larger(Vec a, Vec b) { return (Vec)_mm256_max_ps((__m256)a, (__m256)b); }
inline Vec square_root(Vec x) { return (Vec)_mm256_sqrt_ps((__m256)x); }
inline Vec nearest(Vec x) { return (Vec)_mm256_round_ps((__m256)x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
/// x 2^n for integral n in [-126, 127].
inline Vec scale_by_power(Vec x, Vec n) {
  const __m256i exponent = _mm256_add_epi32(_mm256_cvtps_epi32((__m256)n), _mm256_set1_epi32(127));
  return x * (Vec)_mm256_slli_epi32(exponent, 23);
}
inline float sum_lanes(Vec x) {
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128((__m256)x), _mm256_extractf128_ps((__m256)x, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

/// a0 b0 a1 b1 …: the lower and upper halves of a and b, interleaved.
inline Vec interleave_low(Vec a, Vec b) {
  const __m256 low = _mm256_unpacklo_ps((__m256)a, (__m256)b), high = _mm256_unpackhi_ps((__m256)a, (__m256)b);
  return (Vec)_mm256_permute2f128_ps(low, high, 0x20);
}
inline Vec interleave_high(Vec a, Vec b) {
  const __m256 low = _mm256_unpacklo_ps((__m256)a, (__m256)b), high = _mm256_unpackhi_ps((__m256)a, (__m256)b);
  return (Vec)_mm256_permute2f128_ps(low, high, 0x31);
}

}  // namespace
}  // namespace hrm::simd

#include "cpu/simd/kernels.inc"

namespace hrm::simd {
const Kernels kAvx2Kernels = kKernels;
}
