#pragma once
// Device memory of the CUDA backend.

#include <atomic>
#include <memory>
#include <utility>

#include "core/backend.h"
#include "cuda/device.h"
#include "cuda/kernels.h"

namespace hrm::cuda {

/// A device, and the bytes that are in use on it.
struct Place {
  explicit Place(int index) : device(index) {}
  Device device;
  std::atomic<int64_t> bytes = 0;
};

/// Zero-filled bytes on a device.
class Memory {
 public:
  Memory(std::shared_ptr<Place> place, size_t bytes)
      : place_(std::move(place)), bytes_(bytes), address_(place_->device.allocate(bytes)) {
    place_->bytes += static_cast<int64_t>(bytes);
  }
  ~Memory() {
    place_->device.release(address_);
    place_->bytes -= static_cast<int64_t>(bytes_);
  }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  size_t bytes() const { return bytes_; }
  template <typename T = void>
  T* as() const {
    return static_cast<T*>(address_);
  }

 private:
  std::shared_ptr<Place> place_;
  size_t bytes_;
  void* address_;
};

/// Elements of their own dtype.
struct PlainStorage : Storage {
  PlainStorage(DType dtype, size_t count, std::shared_ptr<Memory> memory, size_t offset)
      : Storage(dtype, count), memory(std::move(memory)), offset(offset) {}

  template <typename T = void>
  T* data() const {
    return reinterpret_cast<T*>(memory->as<unsigned char>() + offset * hrm::size_of(dtype));
  }

  const std::shared_ptr<Memory> memory;
  const size_t offset;  // of the first element, in elements
  /// The same in bf16 for the kernels, kept equal by every write; empty where no kernel has asked for it.
  std::shared_ptr<Memory> rounded;
};

/// [rows, D] activations: f32 to the outside, in the backend's format and with a norm that may be pending inside.
struct ActivationStorage : Storage {
  ActivationStorage(Format format, int64_t D, size_t rows, std::shared_ptr<Memory> x, std::shared_ptr<Memory> sums,
                    size_t first_row)
      : Storage(DType::f32, rows * static_cast<size_t>(D)),
        format(format),
        D(D),
        x(std::move(x)),
        sums(std::move(sums)),
        first_row(first_row) {}

  Activation rows() const {
    const size_t width = static_cast<size_t>(D);
    return {x->as<unsigned char>() + first_row * width * cuda::size_of(format),
            sums->as<float>() + first_row * (width / kNormGroup)};
  }

  const Format format;
  const int64_t D;
  const std::shared_ptr<Memory> x, sums;
  const size_t first_row;
};

}  // namespace hrm::cuda
