#pragma once
// Runs the blocks of a launch one after another, each thread of a block on a fiber of its own. Fibers change where
// threads wait for each other, in an order drawn from a seed.

#include <cstddef>
#include <cstdint>
#include <functional>

#include "cuda/device.h"
#include "cuda/host/lane.h"

namespace hrm::cuda::host {

/// Calls `thread` once for every thread of every block. Throws hrm::Error ERR_HRM_CUDA, naming block and thread, where
/// the threads break a rule of the programming model: a barrier or a call of a warp that not all of them reach, an
/// access of a primitive beyond the block's shared memory or not aligned, a write beside the shared memory.
void run_grid(const Launch& launch, uint64_t seed, const std::function<void()>& thread);

}  // namespace hrm::cuda::host
