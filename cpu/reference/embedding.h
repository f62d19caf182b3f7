#pragma once
// Input embedding: x = sqrt(D) [puzzle positions ; tokens], with learned positions sqrt(D) 0.707106781 ([...] +
// positions). Source: HRM models/hrm/hrm_act_v1.py _input_embeddings

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "core/shapes.h"

namespace hrm::reference {

/// Keeps the variance of a sum of two embeddings. The official nine-digit literal, not 1/sqrt 2.
inline constexpr double kPositionScale = 0.707106781;

/// rows[b] <- table[ids[b]].   table: [N, width]; ids: [B]; rows: [B, width]
template <typename T>
void gather_rows(int64_t batch, int64_t width, const T* table, const int32_t* ids, T* rows) {
  for (int64_t b = 0; b < batch; ++b) std::copy_n(table + ids[b] * width, width, rows + b * width);
}

/// token_table: [V, D]; positions: [S, D] or null; tokens: [B, T]; puzzle_rows: [B, E]; x: [B, S, D]
template <typename T>
void embed_forward(const Shapes& shapes, int64_t batch, const T* token_table, const T* positions, const int32_t* tokens,
                   const T* puzzle_rows, T* x) {
  const int64_t S = shapes.S(), D = shapes.D, P = shapes.P;
  for (int64_t b = 0; b < batch; ++b) {
    T* sequence = x + b * S * D;
    std::copy_n(puzzle_rows + b * shapes.E, shapes.E, sequence);
    std::fill(sequence + shapes.E, sequence + P * D, T(0));
    for (int64_t t = 0; t < shapes.T; ++t)
      std::copy_n(token_table + tokens[b * shapes.T + t] * D, D, sequence + (P + t) * D);
    if (positions)
      for (int64_t i = 0; i < S * D; ++i) sequence[i] = T(kPositionScale) * (sequence[i] + positions[i]);
    for (int64_t i = 0; i < S * D; ++i) sequence[i] *= T(std::sqrt(double(D)));
  }
}

/// grad_tokens: [V, D]; grad_positions: [S, D] or null; grad_puzzle_rows: [B, E], all overwritten; grad_x: [B, S, D]
template <typename T>
void embed_backward(const Shapes& shapes, int64_t batch, const int32_t* tokens, const T* grad_x, T* grad_tokens,
                    T* grad_positions, T* grad_puzzle_rows) {
  const int64_t S = shapes.S(), D = shapes.D, P = shapes.P;
  const T scale = T(std::sqrt(double(D)) * (grad_positions ? kPositionScale : 1.0));
  std::fill_n(grad_tokens, shapes.V * D, T(0));
  if (grad_positions) std::fill_n(grad_positions, S * D, T(0));
  for (int64_t b = 0; b < batch; ++b) {
    const T* grad = grad_x + b * S * D;
    for (int64_t i = 0; i < shapes.E; ++i) grad_puzzle_rows[b * shapes.E + i] = scale * grad[i];
    for (int64_t t = 0; t < shapes.T; ++t) {
      T* grad_token = grad_tokens + tokens[b * shapes.T + t] * D;
      for (int64_t i = 0; i < D; ++i) grad_token[i] += scale * grad[(P + t) * D + i];
    }
    if (grad_positions)
      for (int64_t i = 0; i < S * D; ++i) grad_positions[i] += scale * grad[i];
  }
}

}  // namespace hrm::reference
