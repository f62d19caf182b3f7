// int8 products by vpdpbusd: 64 a time, unsigned by signed. Activations are held as code + 128, and the sum starts at
// -128 times the sum of the weight's codes. Compiled with flags of its own (sources.cmake).

#include <immintrin.h>
#include <string.h>

#include "cpu/simd/int8_kernels.h"

namespace hrm::simd {
namespace {

#include "cpu/simd/vector_avx512.inc"

typedef uint8_t Code;
typedef int8_t WeightCode;
constexpr int32_t kCodeOffset = 128;
constexpr int64_t kGroup = 4;
constexpr int64_t kTile = 12;  // 12 x 2 sums, 2 vectors of the panel, 1 broadcast group
constexpr const char* kIsa = "avx512vnni";

inline IntVec load_integers(const void* p) {
  IntVec x;
  memcpy(&x, p, sizeof x);
  return x;
}

inline int32_t largest_lane(IntVec x) { return _mm512_reduce_max_epi32((__m512i)x); }

inline IntVec add_products(IntVec sum, IntVec row, IntVec columns) {
  return (IntVec)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)row, (__m512i)columns);
}

#include "cpu/simd/int8_groups.inc"

}  // namespace
}  // namespace hrm::simd

#include "cpu/simd/int8.inc"

namespace hrm::simd {
const Int8Kernels kAvx512VnniInt8Kernels = kInt8Kernels;
}
