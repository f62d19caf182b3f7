#pragma once
// Shapes of launches that many kernels share.

#include <cstdint>

#include "cuda/elements.h"

namespace hrm::cuda {

inline constexpr unsigned kBlockThreads = 256, kBlockWarps = kBlockThreads / 32;

inline int64_t divide_up(int64_t count, int64_t part) { return (count + part - 1) / part; }

/// A thread each.
inline Launch thread_each(int64_t count) {
  return {.blocks_x = static_cast<unsigned>(divide_up(count, kBlockThreads)), .threads = kBlockThreads};
}
__device__ __forceinline__ int64_t thread_index() { return int64_t{blockIdx.x} * blockDim.x + threadIdx.x; }

/// A warp each.
inline Launch warp_each(int64_t count) {
  return {.blocks_x = static_cast<unsigned>(divide_up(count, kBlockWarps)), .threads = kBlockThreads};
}
__device__ __forceinline__ int64_t warp_index() { return thread_index() / 32; }
__device__ __forceinline__ int lane_index() { return static_cast<int>(threadIdx.x % 32); }

/// Calls launch.template operator()<T>() for the type of the format.
template <typename Function>
void with_format(Format format, Function launch) {
  if (format == Format::bf16) {
    launch.template operator()<bf16>();
  } else {
    launch.template operator()<float>();
  }
}

/// Elements that the kernels on plain vectors take at once where all pointers are aligned to them.
inline constexpr int kVector = 4;

/// How `count` elements are dealt to threads: `vectors` times kVector from the first on, then one by one.
struct Division {
  int64_t vectors, count;
  int64_t parts() const { return vectors + (count - vectors * kVector); }
};

/// Pointers to floats must be aligned to 16 bytes, those to bf16 to 8, else everything goes one by one.
template <typename... Pointer>
Division divide(int64_t count, const Pointer*... pointers) {
  const bool aligned = ((reinterpret_cast<uintptr_t>(pointers) % (kVector * sizeof(Pointer)) == 0) && ...);
  return {aligned ? count / kVector : 0, count};
}

/// operation.template run<n>(i) for every n elements from i on, n being kVector or 1.
template <typename Operation>
__device__ __forceinline__ void apply_part(const Operation& operation, const Division& division, int64_t part) {
  if (part < division.vectors) {
    operation.template run<kVector>(part * kVector);
  } else {
    operation.template run<1>(division.vectors * kVector + (part - division.vectors));
  }
}

template <typename Operation>
__global__ void apply_to_elements(Operation operation, Division division) {
  const int64_t part = thread_index();
  if (part < division.vectors + (division.count - division.vectors * kVector)) apply_part(operation, division, part);
}

template <typename Operation>
void for_each_element(Device& device, const Division& division, const Operation& operation) {
  if (division.count > 0)
    device.launch(thread_each(division.parts()), apply_to_elements<Operation>, operation, division);
}

}  // namespace hrm::cuda
