#pragma once
// Memory for weights in the order in which kernels read them, written once for each version of a weight.

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <utility>

#include "core/backend.h"
#include "cpu/memory.h"

namespace hrm::simd {

enum class Layout : uint8_t { forward, gate_up, transposed };

class PanelCache {
 public:
  PanelCache(const ByteCount& bytes, int threads) : bytes_(bytes), threads_(threads) {}

  /// The panels of `weight` in this layout, `panels` of `size` floats each; where they are missing or of an older
  /// version, pack(index, all panels) writes each of them, on several threads.
  const float* get(const Tensor& weight, Layout layout, int64_t panels, int64_t size,
                   const std::function<void(int64_t, float*)>& pack);

 private:
  struct Entry {
    explicit Entry(const ByteCount& bytes) : panels(bytes) {}
    std::weak_ptr<Storage> weight;
    uint64_t version = 0;
    Buffer<float> panels;
  };

  const ByteCount bytes_;
  const int threads_;
  std::map<std::pair<const Storage*, Layout>, Entry> entries_;
};

}  // namespace hrm::simd
