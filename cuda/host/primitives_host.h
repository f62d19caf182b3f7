#pragma once
// The primitives of primitives.h on the CPU. Each is carried out once a warp, when its last lane arrives (warp.cc).

#include <bit>
#include <cstdint>
#include <source_location>

#include "cuda/host/lane.h"

namespace hrm::cuda {

struct bf16 {
  uint16_t bits;
};

inline float to_float(bf16 value) { return std::bit_cast<float>(uint32_t{value.bits} << 16); }

inline bf16 to_bf16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return {0x7fff};  // the one NaN of cvt.rn.bf16.f32
  return {static_cast<uint16_t>((bits + 0x7fffu + (bits >> 16 & 1)) >> 16)};
}

inline uint32_t pack_bf16(float low, float high) { return to_bf16(low).bits | uint32_t{to_bf16(high).bits} << 16; }

inline void unpack_bf16(uint32_t packed, float& low, float& high) {
  low = std::bit_cast<float>(packed << 16);
  high = std::bit_cast<float>(packed & 0xffff0000u);
}

template <typename T>
T* shared_memory() {
  return reinterpret_cast<T*>(host::lane->block->shared);
}

inline void load_matrices(uint32_t (&r)[4], const void* row,
                          std::source_location where = std::source_location::current()) {
  host::LoadMatrices arguments{r, row};
  host::call_warp(host::WarpCall::load_matrices, 0xffffffffu, &arguments, where);
}

inline void load_matrices_transposed(uint32_t (&r)[4], const void* row,
                                     std::source_location where = std::source_location::current()) {
  host::LoadMatrices arguments{r, row};
  host::call_warp(host::WarpCall::load_matrices_transposed, 0xffffffffu, &arguments, where);
}

inline void multiply_add(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
                         std::source_location where = std::source_location::current()) {
  host::MultiplyAdd arguments{d, a, b};
  host::call_warp(host::WarpCall::multiply_add, 0xffffffffu, &arguments, where);
}

inline void copy_async(void* shared, const void* global, bool valid,
                       std::source_location where = std::source_location::current()) {
  host::copy_async(shared, global, valid, where);
}

inline void copy_async_commit() { host::copy_async_commit(); }

template <int n>
void copy_async_wait() {
  host::copy_async_wait(n);
}

}  // namespace hrm::cuda
