#pragma once
// Rotary position embedding in the rotate-half layout: element i is paired with element i + HS/2, both turned by
// the angle position * theta^(-2i/HS). Positions count from 0 and include the puzzle positions.
// Source: HRM models/layers.py RotaryEmbedding, apply_rotary_pos_emb

#include <cmath>
#include <cstdint>

#include "cpu/memory.h"

namespace hrm::reference {

template <typename T>
struct RopeTable {
  explicit RopeTable(const ByteCount& bytes) : cos(bytes), sin(bytes) {}

  /// Frequencies and angles are rounded to T, as the official tables are to float32.
  void fill(int64_t positions, int64_t head_size, double theta) {
    const int64_t half = head_size / 2;
    cos.reserve(positions * half);
    sin.reserve(positions * half);
    for (int64_t i = 0; i < half; ++i) {
      const T frequency = T(1) / std::pow(T(theta), T(2 * i) / T(head_size));
      for (int64_t s = 0; s < positions; ++s) {
        const T angle = T(s) * frequency;
        cos.data()[s * half + i] = std::cos(angle);
        sin.data()[s * half + i] = std::sin(angle);
      }
    }
  }

  Buffer<T> cos, sin;  // [S, HS/2]
};

/// Turns one head in place.   x: [HS]; cos, sin: [HS/2]
template <typename T>
void rope_forward(int64_t half, const T* cos, const T* sin, T* x) {
  for (int64_t i = 0; i < half; ++i) {
    const T first = x[i], second = x[i + half];
    x[i] = first * cos[i] - second * sin[i];
    x[i + half] = second * cos[i] + first * sin[i];
  }
}

/// The transposed turn, in place.   grad: [HS]
template <typename T>
void rope_backward(int64_t half, const T* cos, const T* sin, T* grad) {
  for (int64_t i = 0; i < half; ++i) {
    const T first = grad[i], second = grad[i + half];
    grad[i] = first * cos[i] + second * sin[i];
    grad[i + half] = second * cos[i] - first * sin[i];
  }
}

/// Applies `turn` (rope_forward or rope_backward) to the query and key heads of qkv [B, S, 3D].
template <typename T, typename Turn>
void rope_heads(int64_t batch, int64_t positions, int64_t heads, int64_t head_size, const RopeTable<T>& table, T* qkv,
                Turn turn) {
  const int64_t half = head_size / 2;
  for (int64_t row = 0; row < batch * positions; ++row) {
    const int64_t position = row % positions;
    for (int64_t head = 0; head < 2 * heads; ++head)
      turn(half, table.cos.data() + position * half, table.sin.data() + position * half,
           qkv + (row * 3 * heads + head) * head_size);
  }
}

}  // namespace hrm::reference
