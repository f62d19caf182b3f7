#include "core/config.h"

#include <cmath>

#include "core/error.h"

namespace hrm {

namespace {

void expect(bool holds, const char* field, const char* expected) {
  if (!holds) throw Error("ERR_HRM_CONFIG", std::string("[config] expected ") + field + " " + expected);
}

void expect_count(int64_t value, int64_t low, int64_t high, const char* field) {
  if (value < low || value > high)
    throw Error("ERR_HRM_CONFIG", std::string("[config] expected ") + field + " between " + std::to_string(low) +
                                      " and " + std::to_string(high) + ", got " + std::to_string(value));
}

}  // namespace

void ModelConfig::validate() const {
  constexpr int64_t kMax = 1 << 20;
  expect_count(vocab_size, 1, kMax, "vocab_size");
  expect_count(seq_len, 1, kMax, "seq_len");
  expect_count(puzzle_emb_ndim, 0, kMax, "puzzle_emb_ndim");
  expect_count(num_puzzle_identifiers, 1, int64_t{1} << 31, "num_puzzle_identifiers");
  expect_count(h_cycles, 1, kMax, "H_cycles");
  expect_count(l_cycles, 1, kMax, "L_cycles");
  expect_count(h_layers, 1, kMax, "H_layers");
  expect_count(l_layers, 1, kMax, "L_layers");
  expect_count(hidden_size, 1, kMax, "hidden_size");
  expect_count(num_heads, 1, hidden_size, "num_heads");
  expect(hidden_size % num_heads == 0, "hidden_size", "to be a multiple of num_heads");
  expect(!rope || hidden_size / num_heads % 2 == 0, "hidden_size / num_heads", "to be even (RoPE rotates pairs)");
  expect(std::isfinite(expansion) && expansion > 0 && expansion <= 1024, "expansion", "in (0, 1024]");
  expect(std::isfinite(rope_theta) && rope_theta > 0, "rope_theta", "> 0");
  expect(std::isfinite(rms_norm_eps) && rms_norm_eps >= 0, "rms_norm_eps", ">= 0");
  expect_count(halt_max_segments, 1, kMax, "halt_max_steps");
  expect(halt_exploration_prob >= 0 && halt_exploration_prob <= 1, "halt_exploration_prob", "in [0, 1]");
}

Shapes ModelConfig::shapes() const {
  // SwiGLU inner size: 2/3 of expansion * D, rounded half to even as Python does, then up to a multiple of 256.
  // Source: official models/layers.py SwiGLU.
  constexpr int64_t kInnerMultiple = 256;
  const auto inner = static_cast<int64_t>(std::nearbyint(expansion * static_cast<double>(hidden_size) * 2 / 3));
  return {.T = seq_len,
          .P = (puzzle_emb_ndim + hidden_size - 1) / hidden_size,
          .D = hidden_size,
          .NH = num_heads,
          .F = (inner + kInnerMultiple - 1) / kInnerMultiple * kInnerMultiple,
          .V = vocab_size,
          .E = puzzle_emb_ndim};
}

BlockParams ModelConfig::block() const {
  return {.shapes = shapes(), .rope = rope, .rope_theta = rope_theta, .norm_eps = rms_norm_eps};
}

}  // namespace hrm
