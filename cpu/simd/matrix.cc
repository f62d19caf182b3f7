#include "cpu/simd/matrix.h"

#include <cstring>
#include <new>
#include <string>

#include "core/error.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace hrm::simd {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;  // bytes

}  // namespace

void Buffer::Free::operator()(float* memory) const { ::operator delete(memory, std::align_val_t(kHugePage)); }

float* Buffer::reserve(int64_t count) {
  if (count <= capacity_) return data();
  memory_.reset();
  capacity_ = 0;
  const size_t bytes = static_cast<size_t>(count) * sizeof(float);
  void* memory = ::operator new(bytes, std::align_val_t(kHugePage), std::nothrow);
  if (memory == nullptr)
    throw Error("ERR_HRM_OUT_OF_MEMORY", "[cpu] expected room for " + std::to_string(bytes) +
                                             " bytes of activations, got none; use a smaller batch or model");
#if defined(__linux__)
  if (bytes >= kHugePage) madvise(memory, bytes, MADV_HUGEPAGE);
#endif
  std::memset(memory, 0, bytes);
  memory_.reset(static_cast<float*>(memory));
  capacity_ = count;
  return data();
}

}  // namespace hrm::simd
