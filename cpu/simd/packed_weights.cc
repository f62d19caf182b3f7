#include "cpu/simd/packed_weights.h"

#include "cpu/storage.h"

namespace hrm::simd {
namespace {

int64_t panels_of(int64_t columns, int64_t panel) { return (columns + panel - 1) / panel; }

}  // namespace

const float* PackedWeights::forward(const Tensor& weight, int64_t out, int64_t in) {
  return get(weight, Layout::forward, kernels_.pack, out, in, panels_of(out, kernels_.panel), in);
}

const float* PackedWeights::gate_up(const Tensor& weight, int64_t inner, int64_t in) {
  return get(weight, Layout::gate_up, kernels_.pack_gate_up, inner, in, panels_of(inner, kernels_.panel / 2), in);
}

const float* PackedWeights::transposed(const Tensor& weight, int64_t out, int64_t in) {
  return get(weight, Layout::transposed, kernels_.pack_transposed, out, in, panels_of(in, kernels_.panel), out);
}

const float* PackedWeights::get(const Tensor& weight, Layout layout, Pack pack, int64_t out, int64_t in, int64_t panels,
                                int64_t depth) {
  return cache_.get(weight, layout, panels, depth * kernels_.panel, [&](int64_t panel, float* target) {
    pack(data_of<float>(weight), out, in, panel, panel + 1, target);
  });
}

}  // namespace hrm::simd
