#include "test/native/finite_differences.h"

#include <algorithm>
#include <cmath>

#include "test/native/fixture.h"

namespace hrm::optable {
namespace {

constexpr double kStep = 4e-4;       // h^4 of truncation and 1e-16 / h of rounding are both near 1e-12
constexpr double kTolerance = 1e-8;  // of the group's gradient norm

/// d/dt value(point + t direction in one group) at 0: central differences at h and h/2, extrapolated (Richardson).
double slope(const Differentiable& function, size_t group, const std::vector<double>& direction) {
  const auto central = [&](double step) {
    double values[2];
    for (const int side : {0, 1}) {
      Groups point = function.point;
      for (size_t i = 0; i < direction.size(); ++i) point[group][i] += (side ? step : -step) * direction[i];
      values[side] = function.value(point);
    }
    return (values[1] - values[0]) / (2 * step);
  };
  return (4 * central(kStep / 2) - central(kStep)) / 3;
}

double dot(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

std::vector<std::vector<double>> random_directions(const std::string& name, size_t size, int count) {
  std::vector<std::vector<double>> directions;
  for (int row = 0; row < count; ++row) {
    std::vector<double> direction(size);
    for (size_t i = 0; i < size; ++i) direction[i] = draw("direction " + name, row, i);
    const double norm = std::sqrt(dot(direction, direction));
    for (double& value : direction) value /= norm;
    directions.push_back(std::move(direction));
  }
  return directions;
}

std::vector<std::vector<double>> single_coordinates(const std::string& name, size_t size, int count) {
  std::vector<std::vector<double>> directions;
  const size_t wanted = std::min(size, static_cast<size_t>(count));
  for (size_t row = 0; row < wanted; ++row) {
    std::vector<double> direction(size);
    const double at = (draw("coordinate " + name, static_cast<int64_t>(row), 0) + 1) / 2 * static_cast<double>(size);
    direction[wanted == size ? row : static_cast<size_t>(at)] = 1;
    directions.push_back(std::move(direction));
  }
  return directions;
}

}  // namespace

void check_gradient(const Differentiable& function, int directions, int coordinates, Report& report) {
  if (!report.selects(function.name)) return;
  const Groups gradient = function.gradient(function.point);
  for (size_t group = 0; group < function.point.size(); ++group) {
    const std::string name = function.name + " " + function.group_names[group];
    const std::vector<double>& claimed = gradient[group];
    auto tried = random_directions(name, claimed.size(), directions);
    const auto singles = single_coordinates(name, claimed.size(), coordinates);
    tried.insert(tried.end(), singles.begin(), singles.end());
    double worst = 0;
    for (const auto& direction : tried) {
      const double error = std::abs(slope(function, group, direction) - dot(claimed, direction));
      if (!(error <= worst)) worst = error;
    }
    report.check(name, worst / std::sqrt(dot(claimed, claimed)), kTolerance);
  }
}

}  // namespace hrm::optable
