#include "cpu/simd/packed_weights.h"

#include "cpu/storage.h"
#include "cpu/thread_pool.h"

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
  const std::pair key{static_cast<const Storage*>(weight.get()), layout};
  if (!entries_.contains(key)) std::erase_if(entries_, [](const auto& entry) { return entry.second.weight.expired(); });
  Entry& entry = entries_[key];
  const uint64_t version = cpu_storage(weight).version;
  // A freed weight's address may have been given to another.
  if (entry.weight.lock() == weight && entry.version == version) return entry.panels.data();
  float* target = entry.panels.reserve(panels * depth * kernels_.panel);
  ThreadPool::shared().run(
      threads_, panels, [&](int64_t panel, int) { pack(data_of<float>(weight), out, in, panel, panel + 1, target); });
  entry.weight = weight;
  entry.version = version;
  return target;
}

}  // namespace hrm::simd
