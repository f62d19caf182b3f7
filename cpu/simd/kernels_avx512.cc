// AVX-512 kernels: 16 lanes, 32 registers, masked loads and stores. Compiled with flags of its own (sources.cmake).

#include <immintrin.h>

#include "cpu/simd/kernels.h"

namespace hrm::simd {
namespace {

#include "cpu/simd/vector_avx512.inc"

constexpr int64_t kTile = 12;  // 12 x 2 accumulators, 2 columns of B, 1 broadcast of A
constexpr int kChains = 12;    // two units times a latency of at most six cycles
constexpr const char* kIsa = "avx512";

}  // namespace
}  // namespace hrm::simd

#include "cpu/simd/kernels.inc"

namespace hrm::simd {
const Kernels kAvx512Kernels = kKernels;
}
