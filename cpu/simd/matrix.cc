#include "cpu/simd/matrix.h"

#include <cstring>
#include <string>

#include "core/error.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace hrm::simd {
namespace {

constexpr size_t kLine = 64, kHugePage = size_t{2} << 20;  // bytes

}  // namespace

float* Buffer::reserve(int64_t count) {
  if (count <= capacity_) return data();
  memory_.reset();
  capacity_ = 0;
  const size_t bytes = static_cast<size_t>(count) * sizeof(float);
  const bool large = bytes >= kHugePage;
  const std::align_val_t alignment{large ? kHugePage : kLine};
  void* memory = ::operator new(bytes, alignment, std::nothrow);
  if (memory == nullptr)
    throw Error("ERR_HRM_OUT_OF_MEMORY", "[cpu] expected room for " + std::to_string(bytes) +
                                             " bytes of activations, got none; use a smaller batch or model");
#if defined(__linux__)
  if (large) madvise(memory, bytes, MADV_HUGEPAGE);
#endif
  std::memset(memory, 0, bytes);
  memory_ = {static_cast<float*>(memory), AlignedDelete{alignment}};
  capacity_ = count;
  return data();
}

}  // namespace hrm::simd
