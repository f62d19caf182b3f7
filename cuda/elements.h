#pragma once
// Elements of the two formats of activations as floats, in packets of up to 16 bytes, and what every kernel that reads
// activations needs to know of their pending norm.

#include <cstdint>
#include <type_traits>

#include "cuda/kernels.h"
#include "cuda/primitives.h"

namespace hrm::cuda {

__device__ __forceinline__ float to_float(float value) { return value; }

template <typename T>
__device__ __forceinline__ T from_float(float value) {
  if constexpr (std::is_same_v<T, bf16>) {
    return to_bf16(value);
  } else {
    return value;
  }
}

/// What is left of a value that is stored as T.
template <typename T>
__device__ __forceinline__ float rounded(float value) {
  return to_float(from_float<T>(value));
}

/// Elements of 16 bytes.
template <typename T>
inline constexpr int kPacket = 16 / static_cast<int>(sizeof(T));

template <typename Word, int n>
struct alignas(n * sizeof(Word)) Packet {
  Word words[n];
};

/// Elements 0 … n - 1 of `from`, which is aligned to all of them.
template <int n>
__device__ __forceinline__ void load(const float* from, float (&to)[n]) {
  const auto packet = *reinterpret_cast<const Packet<float, n>*>(from);
#pragma unroll
  for (int i = 0; i < n; ++i) to[i] = packet.words[i];
}

template <int n>
__device__ __forceinline__ void load(const bf16* from, float (&to)[n]) {
  if constexpr (n == 1) {
    to[0] = to_float(*from);
  } else {
    const auto packet = *reinterpret_cast<const Packet<uint32_t, n / 2>*>(from);
#pragma unroll
    for (int i = 0; i < n / 2; ++i) unpack_bf16(packet.words[i], to[2 * i], to[2 * i + 1]);
  }
}

/// The counterpart of load().
template <int n>
__device__ __forceinline__ void store(const float (&from)[n], float* to) {
  Packet<float, n> packet;
#pragma unroll
  for (int i = 0; i < n; ++i) packet.words[i] = from[i];
  *reinterpret_cast<Packet<float, n>*>(to) = packet;
}

template <int n>
__device__ __forceinline__ void store(const float (&from)[n], bf16* to) {
  if constexpr (n == 1) {
    *to = to_bf16(from[0]);
  } else {
    Packet<uint32_t, n / 2> packet;
#pragma unroll
    for (int i = 0; i < n / 2; ++i) packet.words[i] = pack_bf16(from[2 * i], from[2 * i + 1]);
    *reinterpret_cast<Packet<uint32_t, n / 2>*>(to) = packet;
  }
}

/// Activations in a kernel: rows [D] with their partial sums [D / kNormGroup].
template <typename T>
struct Rows {
  T* x;
  float* sums;
  int D;
  float eps;

  Rows(Activation activation, int64_t width, float norm_eps)
      : x(static_cast<T*>(activation.x)), sums(activation.sums), D(static_cast<int>(width)), eps(norm_eps) {}

  /// 1 / RMS where the norm is pending, else 1. The sum is in the order of columns.
  __device__ __forceinline__ float factor(int64_t row) const {
    const int groups = D / static_cast<int>(kNormGroup);
    const float* partial = sums + row * groups;
    if (partial[0] < 0.0f) return 1.0f;
    float sum = 0.0f;
    for (int i = 0; i < groups; ++i) sum += partial[i];
    return 1.0f / sqrtf(sum / static_cast<float>(D) + eps);
  }

  /// norm(x) of one packet, rounded to the format.   factor: of the row
  __device__ __forceinline__ void load_normed(int64_t row, int column, float factor, float (&to)[kPacket<T>]) const {
    load(x + row * D + column, to);
#pragma unroll
    for (float& value : to) value = rounded<T>(value * factor);
  }

  /// By a whole warp.
  __device__ __forceinline__ void make_final(int64_t row) const {
    const int groups = D / static_cast<int>(kNormGroup);
    for (int i = static_cast<int>(threadIdx.x % 32); i < groups; i += 32) sums[row * groups + i] = -1.0f;
  }
};

}  // namespace hrm::cuda
