#pragma once
#include <cstddef>
#include <cstdint>

#include "cuda/host/lane.h"

namespace hrm::cuda::host {

/// Carries out one call for the lanes of the mask; arguments[i] is what lane i gave. Throws std::string, the broken
/// rule.
void execute(WarpCall call, uint32_t mask, void* const (&arguments)[32], const BlockView& block);

/// Throws std::string unless `bytes` bytes from `address` lie in the block's shared memory and the address is aligned.
void require_shared(const BlockView& block, const void* address, size_t bytes);

/// What memory holds that nobody has written: a NaN as bf16, float and double.
inline constexpr uint16_t kPoison = 0xffb5;
void poison(void* memory, size_t bytes);
/// Where poison was overwritten first, in bytes from `memory`, which is aligned to 2; -1: nowhere.
std::ptrdiff_t first_not_poison(const void* memory, size_t bytes);

}  // namespace hrm::cuda::host
