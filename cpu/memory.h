#pragma once
// Host memory of the CPU backends: the one way to get it, counted for Backend::bytes().

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

namespace hrm {

/// Bytes that one backend holds, together with all that it has given out.
using ByteCount = std::shared_ptr<std::atomic<int64_t>>;
inline ByteCount new_byte_count() { return std::make_shared<std::atomic<int64_t>>(0); }

/// Zero-filled host memory, aligned to a cache line; large ones by whole pages, huge where the system has them, because
/// panels and activations are walked with strides of whole pages. Counted for as long as it is held.
class Memory {
 public:
  Memory() = default;
  /// Room for `elements` of `size` bytes. Throws ERR_HRM_OUT_OF_MEMORY.
  Memory(const ByteCount& count, size_t elements, size_t size);
  ~Memory() { release(); }
  Memory(Memory&& other) noexcept { swap(other); }
  Memory& operator=(Memory&& other) noexcept {
    Memory old(std::move(*this));
    swap(other);
    return *this;
  }

  void* data() const { return data_; }
  void swap(Memory& other) noexcept {
    std::swap(count_, other.count_);
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
  }

 private:
  void release() noexcept;

  ByteCount count_;
  void* data_ = nullptr;
  size_t bytes_ = 0;
};

/// Numbers that are kept between calls. Grows when asked for more, and then loses its content and is zero-filled.
template <typename T>
class Buffer {
 public:
  explicit Buffer(ByteCount count) : count_(std::move(count)) {}

  /// Throws ERR_HRM_OUT_OF_MEMORY.
  T* reserve(int64_t elements) {
    if (elements > capacity_) {
      memory_ = {};
      capacity_ = 0;
      memory_ = Memory(count_, static_cast<size_t>(elements), sizeof(T));
      capacity_ = elements;
    }
    return data();
  }
  T* data() const { return static_cast<T*>(memory_.data()); }

 private:
  ByteCount count_;
  Memory memory_;
  int64_t capacity_ = 0;
};

}  // namespace hrm
