#pragma once
// What a thread of a kernel can ask of the machinery that runs it on the CPU (block.cc).

#include <cstddef>
#include <cstdint>
#include <source_location>

namespace hrm::cuda::host {

struct Index {
  unsigned x, y, z;
};

/// A block as its threads see it.
struct BlockView {
  Index index, size, grid;
  unsigned char* shared;
  size_t shared_size;
};

/// A thread as it sees itself.
struct LaneView {
  Index thread;
  const BlockView* block;
};

/// The thread of a kernel that runs now on this thread of the CPU.
extern thread_local LaneView* lane __attribute__((tls_model("initial-exec")));

/// What all lanes of a warp do together.
enum class WarpCall : uint8_t { synchronise, shuffle, load_matrices, load_matrices_transposed, multiply_add };

struct Shuffle {
  uint64_t value, result;
  int source;  // lane
};
struct LoadMatrices {
  uint32_t* registers;  // [4]
  const void* row;
};
struct MultiplyAdd {
  float* d;           // [4]
  const uint32_t* a;  // [4]
  const uint32_t* b;  // [2]
};

/// Returns when all lanes of the mask have made the same call at the same place, and it was carried out for all of
/// them.
void call_warp(WarpCall call, uint32_t mask, void* arguments, std::source_location where);
/// Returns when all threads of the block have come to this place.
void synchronise_block(std::source_location where);

/// As copy_async() and its companions of primitives.h. From its issue to its arrival the target holds poison.
void copy_async(void* shared, const void* global, bool valid, std::source_location where);
void copy_async_commit();
/// All but the latest `pending` groups of this thread arrive.
void copy_async_wait(size_t pending);

}  // namespace hrm::cuda::host
