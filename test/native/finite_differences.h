#pragma once
// Gradients against central differences in double.

#include <functional>
#include <string>
#include <vector>

#include "test/native/report.h"

namespace hrm::optable {

/// One flat vector of elements per group (parameter tensor or input).
using Groups = std::vector<std::vector<double>>;

/// A scalar function of several groups, and what claims to be its gradient.
struct Differentiable {
  std::string name;
  std::vector<std::string> group_names;
  Groups point;
  std::function<double(const Groups&)> value;
  std::function<Groups(const Groups&)> gradient;
};

/// Per group: `directions` random unit directions and `coordinates` random single elements (all, if it has fewer);
/// the difference quotient may be off by 1e-8 of the group's gradient norm.
void check_gradient(const Differentiable& function, int directions, int coordinates, Report& report);

}  // namespace hrm::optable
