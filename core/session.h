#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "core/carry.h"
#include "core/model.h"

namespace hrm {

struct SegmentRequest {
  int64_t rows;                              // n, active slots 0 … n-1
  std::vector<uint8_t> reset;                // [n], != 0: start the slot afresh with the example below
  Batch batch;                               // [n, T], read only where reset; labels empty without evaluation
  std::optional<std::vector<int32_t>> keep;  // slots of the previous segment that become slots 0 …, ascending
  std::vector<StartNoise> noise;             // [n], read only where reset; or empty: none
  bool residual = false;                     // whether to measure how far z_h moves
  /// [n], or empty: one segment. Else further segments follow until a row is done: at its limit of segments, or, where
  /// adaptive (!= 0), halting by the model's rule. Without labels and residual.
  std::vector<int32_t> limits;
  std::vector<uint8_t> adaptive;
};

struct SegmentResult {
  std::vector<int32_t> tokens;            // [n, T] argmax
  std::vector<float> q_halt, q_continue;  // [n] logits
  std::vector<int32_t> steps;             // [n] segments since reset
  std::vector<double> row_stats;          // [n, kRowStats], empty without labels
  std::vector<double> residual;           // [n] |z_h after - z_h before| / |z_h after|, empty unless asked for
};

/// Inference: up to `capacity` sequences, each with its own carry, one segment (or those until a row is done) at a
/// time. The caller decides which slots start afresh, continue or leave; a slot's result does not depend on the others.
class Session {
 public:
  Session(const Model& model, int64_t capacity);
  SegmentResult segment(const SegmentRequest& request);
  /// Carry and last logits with their trace names.
  std::vector<NamedTensor> trace_tensors() const;

 private:
  /// One segment of the rows in their slots.
  void think_once(int64_t rows, bool labelled);

  const Model& model_;
  Backend& backend_;
  Carry carry_;
  int64_t rows_ = 0;
  Tensor puzzle_rows_, x_, logits_, q_, predictions_, row_stats_;
  Tensor limits_, adaptive_, again_;                                         // [capacity] i32, [capacity] u8, [1] u8
  std::map<std::pair<int64_t, bool>, std::unique_ptr<Recording>> segments_;  // by number of rows and whether labelled
  std::map<int64_t, std::unique_ptr<Recording>> loops_;                      // by number of rows
};

}  // namespace hrm
