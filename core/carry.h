#pragma once
#include <cstdint>
#include <vector>

#include "core/model.h"

namespace hrm {

/// One batch from the host: inputs, labels [B, T] (labels < 0 are ignored; empty where there are none), puzzle_ids [B].
struct Batch {
  std::vector<int32_t> inputs, labels, puzzle_ids;
};

/// Gaussian noise on the start states of a slot: z_h, z_l <- start + sigma * N(0, 1), drawn from (seed, run) alone.
struct StartNoise {
  double sigma;  // 0: none; the start states have a root mean square of 1
  uint64_t seed;
  uint32_t run;
};

/// What lives from segment to segment in each of B slots: detached states, segment count, halted flag and the example
/// being worked on (official "carry"). A halted slot is reset and given the next example before the next segment.
class Carry {
 public:
  /// All slots start halted.
  Carry(const Model& model, int64_t batch, bool labelled);

  /// Hands over the examples that wait for slots to halt.
  void stage(const Batch& next);
  /// Halted slots: states <- start states, steps <- 0, example <- the one that waits.
  void replace_halted(int64_t batch, bool labelled);
  /// Marks every slot (or those flagged) halted, so that the next example starts there.
  void set_halted(const std::vector<uint8_t>& flags);
  /// Adds noise to the states of a slot that was just reset.
  void add_noise(int64_t slot, const StartNoise& noise);
  /// Keeps these slots, ascending, as slots 0…
  void compact(std::span<const int32_t> keep);

  /// The carry with its checkpoint names.
  std::vector<NamedTensor> tensors() const;

  int64_t capacity() const { return capacity_; }
  const States& states() const { return states_; }
  const Tensor& steps() const { return steps_; }            // [B] i32
  const Tensor& halted() const { return halted_; }          // [B] u8
  const Tensor& inputs() const { return inputs_; }          // [B, T] i32
  const Tensor& labels() const { return labels_; }          // [B, T] i32
  const Tensor& puzzle_ids() const { return puzzle_ids_; }  // [B] i32

 private:
  const Model& model_;
  int64_t capacity_;
  States states_;
  Tensor steps_, halted_, inputs_, labels_, puzzle_ids_;
  Tensor next_inputs_, next_labels_, next_puzzle_ids_;  // where incoming examples wait
};

/// Checks shapes and ranges of a batch against the model. Throws ERR_HRM_SHAPE or ERR_HRM_ARGUMENT naming row and
/// value.
void check_batch(const Model& model, const Batch& batch, int64_t rows, bool labelled);

}  // namespace hrm
