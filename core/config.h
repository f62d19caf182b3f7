#pragma once
#include <cstdint>
#include <string>

#include "core/backend.h"
#include "core/shapes.h"

namespace hrm {

/// Sizes and constants of one model; names as in the official configuration, defaults in lib/config.ts.
struct ModelConfig {
  int64_t vocab_size, seq_len;
  int64_t puzzle_emb_ndim;  // E; 0: no puzzle embedding
  int64_t num_puzzle_identifiers;
  int64_t h_cycles, l_cycles;  // H updates per segment, L updates per H-cycle (paper N, T)
  int64_t h_layers, l_layers;  // blocks per module
  int64_t hidden_size, num_heads;
  double expansion;  // SwiGLU inner size before rounding, in units of 2D/3
  bool rope;         // else learned positions
  double rope_theta, rms_norm_eps;
  int64_t halt_max_segments;  // paper M_max
  double halt_exploration_prob;
  LossType loss_type;
  bool halt_only = false;  // no continue target: half the work of a step, and q_halt alone decides

  /// Throws ERR_HRM_CONFIG naming the first field that is out of range.
  void validate() const;
  Shapes shapes() const;
  BlockParams block() const;
  HaltRule halt_rule() const { return halt_only ? HaltRule::positive : HaltRule::over_continue; }
};

}  // namespace hrm
