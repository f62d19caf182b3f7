#pragma once
// Host memory of the CPU backends.

#include <cstdint>
#include <cstdlib>
#include <limits>
#include <string>
#include <utility>

#include "core/backend.h"
#include "core/error.h"

namespace hrm {

/// Zero-filled host memory, aligned to a cache line.
struct CpuStorage : Storage {
  static constexpr size_t kAlignment = 64;  // bytes: a cache line, and an AVX-512 register

  CpuStorage(DType dtype, size_t count) : Storage(dtype, count), block_(allocate(dtype, count)) {
    const auto address = reinterpret_cast<uintptr_t>(block_);
    bytes_ = reinterpret_cast<void*>((address + kAlignment - 1) / kAlignment * kAlignment);
  }
  /// A view of elements offset … offset + count - 1.
  CpuStorage(const Tensor& whole, size_t offset, size_t count)
      : Storage(whole->dtype, count),
        whole_(whole),
        block_(nullptr),
        bytes_(static_cast<CpuStorage&>(*whole).data<unsigned char>() + offset * size_of(dtype)) {}
  ~CpuStorage() override { std::free(block_); }
  CpuStorage(const CpuStorage&) = delete;
  CpuStorage& operator=(const CpuStorage&) = delete;

  template <typename T>
  T* data() const {
    return static_cast<T*>(bytes_);
  }

  /// Exchanges the elements with those of a storage of the same dtype and count.
  void swap_elements(CpuStorage& other) {
    std::swap(block_, other.block_);
    std::swap(bytes_, other.bytes_);
    ++version;
    ++other.version;
  }

  /// Raised by every write of a weight (upload, optimiser steps, EMA), so that packed copies know when they are stale.
  uint64_t version = 0;

 private:
  static void* allocate(DType dtype, size_t count) {
    const bool fits = count <= (std::numeric_limits<size_t>::max() - kAlignment) / size_of(dtype);
    const size_t bytes = fits ? count * size_of(dtype) : 0;
    // The system zeroes fresh pages at their first touch, so a model of gigabytes is made in no time.
    void* memory = fits ? std::calloc(1, bytes + kAlignment) : nullptr;
    if (memory == nullptr) {
      const std::string wanted = std::to_string(count) + " elements of " + std::to_string(size_of(dtype)) + " bytes";
      throw Error("ERR_HRM_OUT_OF_MEMORY", "[allocate] expected room for " + wanted +
                                               (fits ? " (" + std::to_string(bytes) + " bytes)" : "") +
                                               ", got none; use a smaller batch or model");
    }
    return memory;
  }

  Tensor whole_;  // what a view keeps alive
  void* block_;   // as allocated; null for a view
  void* bytes_;   // its first aligned byte
};

inline CpuStorage& cpu_storage(const Tensor& tensor) { return static_cast<CpuStorage&>(*tensor); }

/// The elements of a tensor made by a CPU backend; null for an absent one.
template <typename T>
T* data_of(const Tensor& tensor) {
  return tensor ? cpu_storage(tensor).data<T>() : nullptr;
}

}  // namespace hrm
