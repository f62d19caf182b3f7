#pragma once
// Tensors of the CPU backends.

#include <cstdint>
#include <utility>

#include "core/backend.h"
#include "cpu/memory.h"

namespace hrm {

/// A tensor in host memory, or a view of one.
struct CpuStorage : Storage {
  CpuStorage(const ByteCount& bytes, DType dtype, size_t count)
      : Storage(dtype, count), memory_(bytes, count, size_of(dtype)), data_(memory_.data()) {}
  /// A view of elements offset … offset + count - 1.
  CpuStorage(const Tensor& whole, size_t offset, size_t count)
      : Storage(whole->dtype, count),
        whole_(whole),
        data_(static_cast<CpuStorage&>(*whole).data<unsigned char>() + offset * size_of(dtype)) {}

  template <typename T>
  T* data() const {
    return static_cast<T*>(data_);
  }

  /// Exchanges the elements with those of a storage of the same dtype and count.
  void swap_elements(CpuStorage& other) {
    memory_.swap(other.memory_);
    std::swap(data_, other.data_);
    ++version;
    ++other.version;
  }

  /// Raised by every write of a weight (upload, optimiser steps, EMA), so that packed copies know when they are stale.
  uint64_t version = 0;

 private:
  Tensor whole_;   // what a view keeps alive
  Memory memory_;  // empty in a view
  void* data_;
};

inline CpuStorage& cpu_storage(const Tensor& tensor) { return static_cast<CpuStorage&>(*tensor); }

/// The elements of a tensor made by a CPU backend; null for an absent one.
template <typename T>
T* data_of(const Tensor& tensor) {
  return tensor ? cpu_storage(tensor).data<T>() : nullptr;
}

}  // namespace hrm
