#pragma once
// The words of CUDA C++ that kernels use (primitives.h), for a compiler of plain C++; included before each .cu file by
// -include. Kernels become functions that run once a thread, each thread on a fiber of its own (block.h).

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <source_location>
#include <type_traits>

#include "cuda/host/lane.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(bytes) alignas(bytes)

#define threadIdx (::hrm::cuda::host::lane->thread)
#define blockIdx (::hrm::cuda::host::lane->block->index)
#define blockDim (::hrm::cuda::host::lane->block->size)
#define gridDim (::hrm::cuda::host::lane->block->grid)

struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
struct alignas(8) int2 {
  int x, y;
};
struct alignas(16) int4 {
  int x, y, z, w;
};
struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(16) double2 {
  double x, y;
};
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
inline int2 make_int2(int x, int y) { return {x, y}; }
inline int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline double2 make_double2(double x, double y) { return {x, y}; }

template <typename T>
  requires std::is_arithmetic_v<T>
inline T min(T a, T b) {
  return b < a ? b : a;
}
template <typename T>
  requires std::is_arithmetic_v<T>
inline T max(T a, T b) {
  return a < b ? b : a;
}
// As CUDA's: the number where one of the two is NaN.
inline float min(float a, float b) { return fminf(a, b); }
inline float max(float a, float b) { return fmaxf(a, b); }
inline double min(double a, double b) { return fmin(a, b); }
inline double max(double a, double b) { return fmax(a, b); }
inline float rsqrtf(float value) { return 1.0f / sqrtf(value); }
inline double rsqrt(double value) { return 1.0 / sqrt(value); }

inline float __uint_as_float(uint32_t bits) { return std::bit_cast<float>(bits); }
inline uint32_t __float_as_uint(float value) { return std::bit_cast<uint32_t>(value); }
inline float __int_as_float(int32_t bits) { return std::bit_cast<float>(bits); }
inline int32_t __float_as_int(float value) { return std::bit_cast<int32_t>(value); }
inline uint32_t __umulhi(uint32_t a, uint32_t b) { return static_cast<uint32_t>((uint64_t{a} * b) >> 32); }

inline void __syncthreads(std::source_location where = std::source_location::current()) {
  hrm::cuda::host::synchronise_block(where);
}

inline void __syncwarp(uint32_t mask = 0xffffffffu, std::source_location where = std::source_location::current()) {
  hrm::cuda::host::call_warp(hrm::cuda::host::WarpCall::synchronise, mask, nullptr, where);
}

namespace hrm::cuda::host {

/// Every lane of the mask gives `value` and takes that of lane `source`; lanes beyond a group of `width` take their
/// own.
template <typename T>
T shuffle(uint32_t mask, T value, int source, std::source_location where) {
  static_assert(std::is_arithmetic_v<T> && (sizeof(T) == 4 || sizeof(T) == 8));
  Shuffle exchange{.value = 0, .result = 0, .source = source};
  std::memcpy(&exchange.value, &value, sizeof(T));
  call_warp(WarpCall::shuffle, mask, &exchange, where);
  std::memcpy(&value, &exchange.result, sizeof(T));
  return value;
}

}  // namespace hrm::cuda::host

template <typename T>
inline T __shfl_sync(uint32_t mask, T value, int source, int width = 32,
                     std::source_location where = std::source_location::current()) {
  const int own = static_cast<int>(threadIdx.x % 32);
  return hrm::cuda::host::shuffle(mask, value, (own & -width) | (source & (width - 1)), where);
}

template <typename T>
inline T __shfl_xor_sync(uint32_t mask, T value, int bits, int width = 32,
                         std::source_location where = std::source_location::current()) {
  const int own = static_cast<int>(threadIdx.x % 32), source = own ^ bits;
  // Lower groups may be read, higher ones not (PTX ISA, shfl.sync.bfly).
  return hrm::cuda::host::shuffle(mask, value, source < (own & -width) + width ? source : own, where);
}

template <typename T>
inline T __shfl_down_sync(uint32_t mask, T value, unsigned delta, int width = 32,
                          std::source_location where = std::source_location::current()) {
  const int own = static_cast<int>(threadIdx.x % 32), source = own + static_cast<int>(delta);
  return hrm::cuda::host::shuffle(mask, value, source < (own & -width) + width ? source : own, where);
}
