// AVX2 and FMA kernels: 8 lanes, 16 registers. Compiled with flags of its own (sources.cmake).

#include <immintrin.h>

#include "cpu/simd/kernels.h"

namespace hrm::simd {
namespace {

#include "cpu/simd/vector_avx2.inc"

constexpr int64_t kTile = 6;  // 6 x 2 accumulators, 2 columns of B, 1 broadcast of A
constexpr int kChains = 12;   // two units times a latency of at most six cycles
constexpr const char* kIsa = "avx2";

}  // namespace
}  // namespace hrm::simd

#include "cpu/simd/kernels.inc"

namespace hrm::simd {
const Kernels kAvx2Kernels = kKernels;
}
