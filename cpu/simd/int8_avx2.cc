// int8 products by vpmaddwd: codes widened to 16 bits, because the instruction for bytes (vpmaddubsw) saturates.
// Compiled with flags of its own (sources.cmake).

#include <immintrin.h>
#include <string.h>

#include "cpu/simd/int8_kernels.h"

namespace hrm::simd {
namespace {

#include "cpu/simd/vector_avx2.inc"

typedef int16_t Code;
typedef int16_t WeightCode;
constexpr int32_t kCodeOffset = 0;
constexpr int64_t kGroup = 2;
constexpr int64_t kTile = 6;  // 6 x 2 sums, 2 vectors of the panel, 1 broadcast group, 1 product
constexpr const char* kIsa = "avx2";

inline IntVec load_integers(const void* p) {
  IntVec x;
  memcpy(&x, p, sizeof x);
  return x;
}

inline int32_t largest_lane(IntVec x) {
  const __m128i four = _mm_max_epi32(_mm256_castsi256_si128((__m256i)x), _mm256_extracti128_si256((__m256i)x, 1));
  const __m128i two = _mm_max_epi32(four, _mm_shuffle_epi32(four, 0x4e));
  return _mm_cvtsi128_si32(_mm_max_epi32(two, _mm_shuffle_epi32(two, 0xb1)));
}

inline IntVec add_products(IntVec sum, IntVec row, IntVec columns) {
  return sum + (IntVec)_mm256_madd_epi16((__m256i)row, (__m256i)columns);
}

#include "cpu/simd/int8_groups.inc"

}  // namespace
}  // namespace hrm::simd

#include "cpu/simd/int8.inc"

namespace hrm::simd {
const Int8Kernels kAvx2Int8Kernels = kInt8Kernels;
}
