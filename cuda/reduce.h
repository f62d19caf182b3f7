#pragma once
// Sums over the threads of a warp and of a block, in one order.

#include <type_traits>

#include "cuda/primitives.h"

namespace hrm::cuda {

inline constexpr uint32_t kAllLanes = 0xffffffffu;

/// The sum over a warp, the same bits in all of its lanes.
template <typename T>
__device__ __forceinline__ T warp_sum(T value) {
#pragma unroll
  for (int bits = 16; bits > 0; bits /= 2) value += __shfl_xor_sync(kAllLanes, value, bits);
  return value;
}

__device__ __forceinline__ double warp_max(double value) {
#pragma unroll
  for (int bits = 16; bits > 0; bits /= 2) value = fmax(value, __shfl_xor_sync(kAllLanes, value, bits));
  return value;
}

/// The sum over a block, in all of its threads: of warps, then over warps in their order.   shared: [warps], free again
/// on return
template <typename T>
__device__ __forceinline__ T block_sum(T value, T* shared) {
  const T own = warp_sum(value);
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = own;
  __syncthreads();
  T sum = 0;
  for (unsigned warp = 0; warp < blockDim.x / 32; ++warp) sum += shared[warp];
  __syncthreads();
  return sum;
}

/// Index of the largest value, the lowest on ties; 0 where the first is NaN, others that are NaN never count (as
/// std::max_element). By a whole warp.   values: [count]
__device__ __forceinline__ int32_t warp_argmax(int64_t count, const float* values) {
  constexpr int32_t kNone = 0x7fffffff;
  const int lane = static_cast<int>(threadIdx.x % 32);
  float best = lane == 0 ? values[0] : -INFINITY;
  int32_t index = lane == 0 ? 0 : kNone;
  for (int64_t i = lane == 0 ? 32 : lane; i < count; i += 32) {
    const float value = values[i];
    if (value > best) {
      best = value;
      index = static_cast<int32_t>(i);
    }
  }
#pragma unroll
  for (int bits = 16; bits > 0; bits /= 2) {
    const float other = __shfl_xor_sync(kAllLanes, best, bits);
    const int32_t other_index = __shfl_xor_sync(kAllLanes, index, bits);
    if (other > best || (other == best && other_index < index)) {
      best = other;
      index = other_index;
    }
  }
  return __shfl_sync(kAllLanes, index, 0);
}

}  // namespace hrm::cuda
