#include "core/optimisers.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <string>

#include "core/error.h"

namespace hrm {

double learning_rate(int64_t step, double base, int64_t warmup_steps, int64_t total_steps, double min_ratio) {
  if (step < warmup_steps)
    return base * static_cast<double>(step) / static_cast<double>(std::max<int64_t>(1, warmup_steps));
  const double progress =
      static_cast<double>(step - warmup_steps) / static_cast<double>(std::max<int64_t>(1, total_steps - warmup_steps));
  return base * (min_ratio + std::max(0.0, (1 - min_ratio) * 0.5 * (1 + std::cos(std::numbers::pi * progress))));
}

double ema_decay(int64_t step, double decay, double warmup) {
  if (warmup <= 0) return decay;
  const auto t = static_cast<double>(step);
  return std::min(decay, (1 + t) / (warmup + t));
}

void TrainConfig::validate() const {
  const auto expect = [](bool holds, const char* field, const char* range, double got) {
    if (!holds)
      throw Error("ERR_HRM_CONFIG",
                  std::string("[train] expected ") + field + " " + range + ", got " + std::to_string(got));
  };
  const auto expect_rate = [&](double value, const char* field) {
    expect(std::isfinite(value) && value >= 0, field, "finite and >= 0", value);
  };
  expect(batch_size >= 1, "global_batch_size", ">= 1", static_cast<double>(batch_size));
  expect(micro_batch >= 0 && (micro_batch == 0 || batch_size % micro_batch == 0), "micro_batch_size",
         "a divisor of global_batch_size, or 0", static_cast<double>(micro_batch));
  expect(total_steps >= 0, "total steps", ">= 0", static_cast<double>(total_steps));
  expect(lr_warmup_steps >= 0, "lr_warmup_steps", ">= 0", static_cast<double>(lr_warmup_steps));
  expect_rate(lr, "lr");
  expect_rate(lr_min_ratio, "lr_min_ratio");
  expect_rate(puzzle_emb_lr, "puzzle_emb_lr");
  expect_rate(puzzle_emb_weight_decay, "puzzle_emb_weight_decay");
  expect_rate(adam.weight_decay, "weight_decay");
  expect(adam.beta1 >= 0 && adam.beta1 < 1, "beta1", "in [0, 1)", adam.beta1);
  expect(adam.beta2 >= 0 && adam.beta2 < 1, "beta2", "in [0, 1)", adam.beta2);
  expect(ema >= 0 && ema < 1, "ema", "in [0, 1)", ema);
  expect_rate(ema_warmup, "ema_warmup");
}

}  // namespace hrm
