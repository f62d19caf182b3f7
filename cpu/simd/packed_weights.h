#pragma once
// Weights in the order in which the kernels read them, made once for each version of a weight.

#include <cstdint>

#include "cpu/simd/kernels.h"
#include "cpu/simd/panel_cache.h"

namespace hrm::simd {

class PackedWeights {
 public:
  PackedWeights(const Kernels& kernels, const ByteCount& bytes, int threads)
      : kernels_(kernels), cache_(bytes, threads) {}

  /// For y = x W^T.   weight: [out, in]
  const float* forward(const Tensor& weight, int64_t out, int64_t in);
  /// For hidden = silu(x Wgate^T) (x Wup^T).   weight: [2 inner, in]
  const float* gate_up(const Tensor& weight, int64_t inner, int64_t in);
  /// For grad_x = grad_y W.   weight: [out, in]
  const float* transposed(const Tensor& weight, int64_t out, int64_t in);

 private:
  using Pack = void (*)(const float*, int64_t, int64_t, int64_t, int64_t, float*);

  /// panels: how many, each of `depth` rows of a panel.
  const float* get(const Tensor& weight, Layout layout, Pack pack, int64_t out, int64_t in, int64_t panels,
                   int64_t depth);

  const Kernels& kernels_;
  PanelCache cache_;
};

}  // namespace hrm::simd
