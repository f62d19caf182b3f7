#pragma once
// The table of op cases: every method of Backend at sizes 1, a vector's width and its neighbours, primes and the real
// models' sizes, always with a ragged last block somewhere.

#include <functional>
#include <string>
#include <vector>

#include "test/native/fixture.h"

namespace hrm::optable {

struct OpCase {
  std::string name;
  int64_t batch;
  double flops;  // floating-point operations of one call
  bool test;     // compared with the references in test mode
  bool perf;     // timed in perf mode
  bool cuda;     // of sizes that the CUDA backend takes
  std::function<void(Fixture&)> run;
};

std::vector<OpCase> op_cases();

/// Allocated weights of deviation `gain` / sqrt(fan-in), and outputs of the same shapes.
BlockWeights block_weights(Fixture& fixture, const Shapes& shapes, double gain);
BlockWeights block_outputs(Fixture& fixture, const Shapes& shapes);

}  // namespace hrm::optable
