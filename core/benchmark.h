#pragma once
// Single steps of a backend at a model's shapes, for measuring: what `hrm bench kernels` times.

#include <cstdint>
#include <string>
#include <vector>

#include "core/config.h"

namespace hrm {

struct StepInfo {
  std::string name;
  bool batched;   // its work grows with the batch; else it is one over a block's weights
  bool training;  // taken in training only
};

/// The steps that can be timed, in the order of a training step.
const std::vector<StepInfo>& timed_steps();

struct StepTimes {
  double gflop;                      // matrix products of one run; 0 where memory sets the pace
  std::vector<double> milliseconds;  // of each run
};

/// Runs one step on made-up data over and over, for `milliseconds` and three times at least, after one run that does
/// not count. Throws ERR_HRM_ARGUMENT for an unknown name.
StepTimes time_step(const std::string& name, Backend& backend, const ModelConfig& config, int64_t batch,
                    double milliseconds);

}  // namespace hrm
