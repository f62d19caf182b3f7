#include "cpu/simd/panel_cache.h"

#include "cpu/storage.h"
#include "cpu/thread_pool.h"

namespace hrm::simd {

const float* PanelCache::get(const Tensor& weight, Layout layout, int64_t panels, int64_t size,
                             const std::function<void(int64_t, float*)>& pack) {
  const std::pair key{static_cast<const Storage*>(weight.get()), layout};
  if (!entries_.contains(key)) std::erase_if(entries_, [](const auto& entry) { return entry.second.weight.expired(); });
  Entry& entry = entries_.try_emplace(key, bytes_).first->second;
  const uint64_t version = cpu_storage(weight).version;
  // A freed weight's address may have been given to another.
  if (entry.weight.lock() == weight && entry.version == version) return entry.panels.data();
  float* target = entry.panels.reserve(panels * size);
  ThreadPool::shared().run(threads_, panels, [&](int64_t panel, int) { pack(panel, target); });
  entry.weight = weight;
  entry.version = version;
  return target;
}

}  // namespace hrm::simd
