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

  /// Where it throws, the step does not count and every slot restarts; the update is applied or not.
  StepResult step(const Batch& batch, const std::optional<Draws>& draws);

  const TrainConfig& config() const { return config_; }
  /// Optimiser moments, averages and carry, with their checkpoint names.
  std::vector<NamedTensor> state_tensors() const;
  /// What the last step computed, for traces.
  std::vector<NamedTensor> trace_tensors() const;
  /// Exchanges weights and averages. Does nothing without an average.
  void swap_ema();

  // The parts of a step, public for the gradient check. Those of a micro-batch follow each other for each in turn.
  /// What comes from the host: the next examples, this step's rates, and draws that replace the seeded ones.
  void stage(const Batch& batch, const std::optional<Draws>& draws);
  /// Carry upkeep of the whole batch.
  void begin();
  /// The no-grad cycles: what the one-step gradient holds fixed.
  void think(size_t micro);
  /// The last updates with gradient tape, readout and halting decision.
  void forward(size_t micro);
  /// q_continue's target from the next segment of the new carry (paper: G_continue), without gradient. Not for models
  /// that learn q_halt alone.
  void bootstrap(size_t micro);
  /// Loss and all gradients, added to those of the micro-batches before.
  void backward(size_t micro);
  /// Norms of the gradients of the whole batch, and whether all is finite.
  void measure();
  /// Both optimisers and the averages, unless something was not finite.
  void update();

 private:
  /// Rows of the whole-batch tensors that are computed together.
  struct MicroBatch {
    States states;
    Tensor inputs, labels, puzzle_ids, steps, halted;  // of the carry
    Tensor logits, q, target, min_steps, row_stats, grad_puzzle_rows;
  };

  StepResult staged_step(const Batch& batch, const std::optional<Draws>& draws);
  StepResult summarise() const;
  std::string find_non_finite(const StepResult& result, const std::vector<double>& sums) const;

  Model& model_;
  Backend& backend_;
  TrainConfig config_;
  int64_t batch_, rows_, step_;  // B, rows of a micro-batch, updates done
  bool act_;                     // more than one segment: halting is learned
  bool bootstraps_;              // q_continue has a target, from a segment of its own

  // Of the whole batch, B.
  const std::vector<uint8_t> all_halted_;  // [B] of 1
  Carry carry_;
  Tensor q_, logits_;          // [B, 2], [B, T, V]
  Tensor target_, min_steps_;  // [B] real, [B] i32
  Tensor row_stats_;           // [B, kRowStats] f64
  Tensor grad_puzzle_rows_;    // [B, E]
  std::vector<MicroBatch> micro_batches_;

  // Of one micro-batch, M.
  OneStepTape tape_;
  States next_;             // of the bootstrap segment
  Tensor puzzle_rows_, x_;  // [M, E], [M, S, D]
  Tensor next_q_;           // [M, 2]
  Tensor grad_logits_, grad_q_, grad_;

  Weights grads_, micro_grads_, m_, v_, average_;  // micro_grads_: of the second micro-batch and on
  Tensor average_puzzle_table_;
  Tensor hyper_, grad_sums_;  // f64: [kHyperCount], one per dense weight and one for the puzzle rows
  std::vector<NamedTensor> weight_list_, grad_list_, micro_grad_list_, m_list_, v_list_, average_list_;
  std::unique_ptr<Recording> explored_step_, drawn_step_;  // a step with seeded draws, and one with given ones
};

}  // namespace hrm
