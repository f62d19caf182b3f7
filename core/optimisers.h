#pragma once
#include <cstdint>

#include "core/backend.h"

namespace hrm {

/// Linear warm-up, then cosine from the base rate to min_ratio of it; `step` counts from 1.
/// Source: official pretrain.py cosine_schedule_with_warmup_lr_lambda.
double learning_rate(int64_t step, double base, int64_t warmup_steps, int64_t total_steps, double min_ratio);

/// Decay of the moving average at a step: min(decay, (1 + step) / (warmup + step)), so that a short run is not held
/// by its initial weights; no warm-up when `warmup` is 0.
double ema_decay(int64_t step, double decay, double warmup);

/// Hyper-parameters of one training run.
struct TrainConfig {
  int64_t batch_size;   // B, the global batch
  int64_t micro_batch;  // rows computed at a time, a divisor of B; 0: all
  int64_t total_steps;  // length of the schedule
  double lr, lr_min_ratio;
  int64_t lr_warmup_steps;
  AdamParams adam;
  double puzzle_emb_lr, puzzle_emb_weight_decay;
  double ema, ema_warmup;  // ema 0: no average
  uint64_t seed;           // of the exploration

  /// Throws ERR_HRM_CONFIG naming the first field that is out of range.
  void validate() const;
};

}  // namespace hrm
