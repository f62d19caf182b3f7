#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/carry.h"
#include "core/model.h"
#include "core/optimisers.h"

namespace hrm {

/// Sums over the rows of a batch, named as officially (models/losses.py). Rows that have just halted and carry a label
/// count for the first five; losses are summed over all rows.
struct MetricSums {
  double count = 0, accuracy = 0, exact_accuracy = 0, q_halt_accuracy = 0, steps = 0;
  double lm_loss = 0, q_halt_loss = 0, q_continue_loss = 0;
};

struct StepResult {
  int64_t step;            // the step just done, from 1
  double lr;               // AdamATan2's rate in it
  double loss;             // sum over rows of lm_loss + (q_halt_loss + q_continue_loss) / 2
  double grad_norm;        // L2 norm of the dense gradients of loss / B
  std::string non_finite;  // the first non-finite tensor; then no update was applied and every slot is reset
  MetricSums metrics;
};

/// What the exploration draws return in one step, [B] each: u of rand, min_steps of randint(2, max + 1).
struct Draws {
  std::vector<float> u;
  std::vector<int32_t> min_steps;
};

/// Deep supervision with ACT (paper section 2): every step is one segment of all slots, its loss, its one-step
/// gradient and one update; states are carried on detached.
class Trainer {
 public:
  Trainer(Model& model, const TrainConfig& config, int64_t step);

  StepResult step(const Batch& batch, const std::optional<Draws>& draws);

  const TrainConfig& config() const { return config_; }
  /// Optimiser moments, averages and carry, with their checkpoint names.
  std::vector<NamedTensor> state_tensors() const;
  /// What the last step computed, for traces.
  std::vector<NamedTensor> trace_tensors() const;
  /// Exchanges weights and averages. Does nothing without an average.
  void swap_ema();

  // The parts of a step, public for the gradient check.
  /// Carry upkeep, then the no-grad cycles: what the one-step gradient holds fixed.
  void prepare(const Batch& batch);
  /// The last updates with gradient tape, readout and halting decision.
  void forward(const std::optional<Draws>& draws);
  /// q_continue's target from the next segment of the new carry (paper: G_continue), without gradient. Not for models
  /// that learn q_halt alone.
  void bootstrap();
  /// Loss and all gradients.
  void backward();
  /// Both optimisers and the averages.
  void update();

 private:
  std::vector<int32_t> min_steps(const std::optional<Draws>& draws) const;
  StepResult summarise() const;
  std::string find_non_finite(const StepResult& result, const std::vector<double>& sums) const;

  Model& model_;
  Backend& backend_;
  TrainConfig config_;
  int64_t batch_, step_;
  bool act_;         // more than one segment: halting is learned
  bool bootstraps_;  // q_continue has a target, from a segment of its own

  Carry carry_;
  OneStepTape tape_;
  States next_;                 // of the bootstrap segment
  Tensor puzzle_rows_, x_;      // [B, E], [B, S, D]
  Tensor logits_, q_, next_q_;  // [B, T, V], [B, 2], [B, 2]
  Tensor target_, min_steps_;   // [B] real, [B] i32
  Tensor row_stats_;            // [B, kRowStats] f64
  Tensor grad_logits_, grad_q_, grad_, grad_puzzle_rows_;
  Weights grads_, m_, v_, average_;
  Tensor average_puzzle_table_;
  Tensor hyper_, grad_sums_;  // f64: [kHyperCount], one per dense weight and one for the puzzle rows
  std::vector<NamedTensor> weight_list_, grad_list_, m_list_, v_list_, average_list_;
};

}  // namespace hrm
