// Kernels for any processor: 4 lanes by the compiler's vector extension (SSE2, NEON, …).

#include <math.h>
#include <string.h>

#include "cpu/simd/kernels.h"

namespace hrm::simd {
namespace {

#include "cpu/simd/vector_portable.inc"

constexpr int64_t kTile = 4;  // 4 x 2 accumulators, 2 columns of B, 1 broadcast of A, 1 product: fits 16 registers
constexpr int kChains = 12;   // two units times a latency of at most six cycles
constexpr const char* kIsa = "portable";

}  // namespace
}  // namespace hrm::simd

#include "cpu/simd/kernels.inc"

namespace hrm::simd {
const Kernels kPortableKernels = kKernels;
}
