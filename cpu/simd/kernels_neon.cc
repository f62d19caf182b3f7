// NEON kernels. Part of every 64-bit ARM processor, so that they need no flags.

#include <arm_neon.h>

#include "cpu/simd/kernels.h"

namespace hrm::simd {
namespace {

#include "cpu/simd/vector_neon.inc"

constexpr int64_t kTile = 10;  // 10 x 2 accumulators, 2 columns of B, 10 elements of A
constexpr int kChains = 24;    // four units times a latency of at most six cycles
constexpr const char* kIsa = "neon";

}  // namespace
}  // namespace hrm::simd

#include "cpu/simd/kernels.inc"

namespace hrm::simd {
const Kernels kNeonKernels = kKernels;
}
