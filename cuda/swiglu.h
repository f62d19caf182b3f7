#pragma once
// The gate of SwiGLU: hidden = silu(gate) * up (models/layers.py, SwiGLU).

#include "cuda/primitives.h"

namespace hrm::cuda {

__device__ __forceinline__ float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

__device__ __forceinline__ float silu(float x) { return x / (1.0f + expf(-x)); }

/// d silu(x) / dx
__device__ __forceinline__ float silu_slope(float x) {
  const float s = sigmoid(x);
  return s * fmaf(x, 1.0f - s, 1.0f);
}

}  // namespace hrm::cuda
