#pragma once
// What the launches of attention share, and its fp32 half (attention_f32.cu).

#include <cmath>
#include <string>

#include "core/error.h"
#include "cuda/kernels.h"

namespace hrm::cuda {

inline int64_t head_size_of(const BlockSizes& sizes) { return sizes.D / sizes.heads; }

/// Of q k^T, in the softmax.
inline float attention_scale(const BlockSizes& sizes) { return 1 / std::sqrt(static_cast<float>(head_size_of(sizes))); }

[[noreturn]] inline void reject_head_size(int64_t head_size) {
  throw Error("ERR_HRM_CONFIG", "[attention] expected a head size of 32, 64 or 128 in bf16, got " +
                                    std::to_string(head_size) + "; choose another number of heads or fp32");
}

/// As attention_forward(), for every head size.
void attention_forward_f32(Device& device, const BlockSizes& sizes, const float* qkv, float* out, float* log_sums);

/// As attention_backward(), for every head size.   deltas: [batch, heads, S], to work in
void attention_backward_f32(Device& device, const BlockSizes& sizes, const float* qkv, const float* out,
                            const float* log_sums, const float* grad_out, RopeTable rope, float* grad_qkv,
                            float* deltas);

}  // namespace hrm::cuda
