#include "cpu/memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <string>

#include "core/error.h"

namespace hrm {
namespace {

constexpr size_t kLine = 64;                   // bytes: a cache line, and an AVX-512 register
constexpr size_t kMapped = size_t{256} << 10;  // bytes; what is at least as large goes back to the system when freed
constexpr size_t kHugePage = size_t{2} << 20;  // bytes

uintptr_t round_up(uintptr_t value, uintptr_t unit) { return (value + unit - 1) / unit * unit; }

/// Whole pages, where they fill a huge one from the beginning of one; null where there are none. The system zeroes them
/// at their first touch.
void* map_pages(size_t bytes) {
  const size_t mapped = bytes < kHugePage ? bytes : bytes + kHugePage;
  void* whole = ::mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (whole == MAP_FAILED) return nullptr;
  if (bytes < kHugePage) return whole;
  const auto start = reinterpret_cast<uintptr_t>(whole), first = round_up(start, kHugePage);
  auto* data = reinterpret_cast<char*>(first);
  if (first > start) ::munmap(whole, first - start);
  ::munmap(data + bytes, start + mapped - first - bytes);
#if defined(__linux__)
  ::madvise(data, bytes, MADV_HUGEPAGE);
#endif
  return data;
}

}  // namespace

Memory::Memory(const ByteCount& count, size_t elements, size_t size) {
  const bool fits = elements <= (std::numeric_limits<size_t>::max() - 2 * kHugePage) / size;
  if (fits) {
    static const auto page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
    bytes_ = elements * size;
    bytes_ = std::max(kLine, round_up(bytes_, bytes_ < kMapped ? kLine : page));
    data_ = bytes_ < kMapped ? std::aligned_alloc(kLine, bytes_) : map_pages(bytes_);
  }
  if (data_ == nullptr)
    throw Error("ERR_HRM_OUT_OF_MEMORY", "[allocate] expected room for " + std::to_string(elements) + " elements of " +
                                             std::to_string(size) + " bytes, got none; use a smaller batch or model");
  if (bytes_ < kMapped) std::memset(data_, 0, bytes_);
  count_ = count;
  count_->fetch_add(static_cast<int64_t>(bytes_), std::memory_order_relaxed);
}

void Memory::release() noexcept {
  if (data_ == nullptr) return;
  if (bytes_ < kMapped)
    std::free(data_);
  else
    ::munmap(data_, bytes_);
  count_->fetch_sub(static_cast<int64_t>(bytes_), std::memory_order_relaxed);
}

}  // namespace hrm
