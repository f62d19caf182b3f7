#pragma once
// Fibers: stacks and the switch between them.

#include <cstddef>
#include <memory>

namespace hrm::cuda::host {

/// Stacks of `count` fibers; pages are taken when first touched, and an overflow ends in a page without access.
class FiberStacks {
 public:
  FiberStacks() = default;
  ~FiberStacks();
  FiberStacks(const FiberStacks&) = delete;
  FiberStacks& operator=(const FiberStacks&) = delete;

  void reserve(size_t count);
  /// The stack pointer with which a switch to fiber `index` starts `entry`, which never returns.
  void* start(size_t index, void (*entry)()) const;

 private:
  unsigned char* memory_ = nullptr;
  size_t count_ = 0;
};

}  // namespace hrm::cuda::host

/// Keeps the caller's stack pointer in *own and goes on where `other` was left.
extern "C" void hrm_cuda_switch_fiber(void** own, void* other);
