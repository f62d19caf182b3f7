#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <numeric>

#include "test/native/backends.h"
#include "test/native/modes.h"
#include "test/native/op_table.h"

namespace hrm::optable {
namespace {

std::vector<Result> results_of(const OpCase& op, Backend& backend, std::vector<int64_t> rows) {
  Fixture fixture(backend, std::move(rows));
  op.run(fixture);
  return std::move(fixture.results);
}

std::vector<int64_t> first_rows(int64_t count) {
  std::vector<int64_t> rows(static_cast<size_t>(count));
  std::iota(rows.begin(), rows.end(), 0);
  return rows;
}

double largest_magnitude(const std::vector<double>& values) {
  double largest = 0;
  for (const double value : values) largest = std::max(largest, std::abs(value));
  return largest;
}

/// Largest |a - b|; infinite where sizes differ or one of the two is not finite alone.
double largest_difference(const std::vector<double>& a, const std::vector<double>& b) {
  double largest = a.size() == b.size() ? 0 : INFINITY;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    const double difference = std::abs(a[i] - b[i]);
    if (a[i] != b[i]) largest = std::isfinite(difference) ? std::max(largest, difference) : INFINITY;
  }
  return largest;
}

/// What an op may lose beyond twice the naive loop's error, relative to the tensor's largest magnitude: 8 float32
/// roundings (the naive loop can be lucky where sums are short); in double 1e-12 (over a million terms the reference's
/// own sum is off by 1e-13); nothing for integers.
double floor_of(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return 0x1p-21;
    case DType::f64:
      return 1e-12;
    default:
      return 0;
  }
}

/// Where a value lies between two codes, float and double may take different ones. One such code of the smallest layers
/// weighs 1 in 127; in larger ones many share the sum.
constexpr double kCodeStep = 1.0 / 127;

bool needs_tape(const OpCase& op) {
  return op.name.starts_with("block_forward-taped") || op.name.starts_with("block_backward");
}

/// Error against double at most twice that of the naive float loops plus `slack` of the tensor's largest magnitude,
/// tensor by tensor; reports the worst.
void compare(const OpCase& op, Backend& backend, Backend& naive, Backend& exact, double slack, Report& report) {
  const auto rows = first_rows(op.batch);
  const auto tested = results_of(op, backend, rows), simple = results_of(op, naive, rows);
  const auto truth = results_of(op, exact, rows);
  double worst_error = 0, worst_bound = 0;
  std::string worst;
  for (size_t i = 0; i < truth.size(); ++i) {
    const double error = largest_difference(tested[i].values, truth[i].values);
    const double bound = 2 * largest_difference(simple[i].values, truth[i].values) +
                         (floor_of(tested[i].dtype) + slack) * largest_magnitude(truth[i].values);
    if (worst.empty() || !(error * worst_bound <= worst_error * bound)) {
      worst = truth[i].name;
      worst_error = error;
      worst_bound = bound;
    }
  }
  report.check(op.name, worst_error, worst_bound, worst);
}

/// L2 norm of the distance as a part of the expected norm; infinite where sizes differ or one is not finite alone.
double relative_l2(const std::vector<double>& actual, const std::vector<double>& expected) {
  double distance = 0, size = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    if (i >= actual.size() || (std::isfinite(expected[i]) != std::isfinite(actual[i]))) return INFINITY;
    if (actual[i] == expected[i]) continue;
    distance += (actual[i] - expected[i]) * (actual[i] - expected[i]);
  }
  for (const double value : expected) size += value * value;
  return distance == 0 ? 0 : std::sqrt(distance / size);
}

/// What a GPU may lose against double, relative L2: in float 1e-5; with operands and results in bf16, rounded several
/// times on the way through a block, the square root of 5e-4, the mean square error that ggml allows its 16-bit types.
/// Decisions and copies are exact.
double gpu_bound(const std::string& backend, DType dtype) {
  if (dtype != DType::f32 && dtype != DType::f64) return 0;
  return backend == "cuda:bf16" ? std::sqrt(5e-4) : 1e-5;
}

/// Reports the worst tensor of a GPU's results; twice the error of the naive float loops is allowed as well.
void compare_gpu(const OpCase& op, const std::string& name, Backend& backend, Backend& naive, Backend& exact,
                 Report& report) {
  const auto rows = first_rows(op.batch);
  const auto tested = results_of(op, backend, rows), simple = results_of(op, naive, rows);
  const auto truth = results_of(op, exact, rows);
  double worst_error = 0, worst_bound = 0;
  std::string worst;
  for (size_t i = 0; i < truth.size(); ++i) {
    const double error = relative_l2(tested[i].values, truth[i].values);
    const double bound = std::max(gpu_bound(name, tested[i].dtype), 2 * relative_l2(simple[i].values, truth[i].values));
    if (worst.empty() || !(error * worst_bound <= worst_error * bound)) {
      worst = truth[i].name;
      worst_error = error;
      worst_bound = bound;
    }
  }
  report.check(op.name, worst_error, worst_bound, worst);
}

/// Elements of `part` that are not the same bits as row_of(i) of `whole`; both hold doubles converted from the dtype.
size_t different_bits(const std::vector<double>& whole, const std::vector<double>& part, size_t width,
                      const std::vector<int64_t>& rows) {
  size_t different = 0;
  for (size_t i = 0; i < rows.size(); ++i) {
    const double* expected = whole.data() + static_cast<size_t>(rows[i]) * width;
    for (size_t j = 0; j < width; ++j)
      different += std::memcmp(expected + j, &part[i * width + j], sizeof(double)) != 0;
  }
  return different;
}

/// A row's result is the same bits alone, and in another place of another batch.
void compare_rows(const OpCase& op, Backend& backend, Report& report) {
  const auto whole = results_of(op, backend, first_rows(op.batch + 1));
  if (std::none_of(whole.begin(), whole.end(), [](const Result& result) { return result.per_row; })) return;
  size_t different = 0;
  std::vector<int64_t> reversed = first_rows(op.batch);
  std::reverse(reversed.begin(), reversed.end());
  for (const auto& rows : {std::vector<int64_t>{op.batch - 1}, reversed}) {
    const auto part = results_of(op, backend, rows);
    for (size_t i = 0; i < whole.size(); ++i)
      if (whole[i].per_row)
        different += different_bits(whole[i].values, part[i].values, part[i].values.size() / rows.size(), rows);
  }
  report.check(op.name + " rows", static_cast<double>(different), 0);
}

/// The same bits whatever the number of threads.
void compare_threads(const OpCase& op, Backend& one_thread, const std::vector<std::unique_ptr<Backend>>& more_threads,
                     Report& report) {
  const auto expected = results_of(op, one_thread, first_rows(op.batch));
  size_t different = 0;
  for (const auto& backend : more_threads) {
    const auto actual = results_of(op, *backend, first_rows(op.batch));
    for (size_t i = 0; i < expected.size(); ++i)
      different += different_bits(expected[i].values, actual[i].values, expected[i].values.size(), {0});
  }
  report.check(op.name + " threads", static_cast<double>(different), 0);
}

/// On a GPU: against double, row by row, and twice.
void run_gpu_test(const Options& options, Report& report) {
  const auto backend = make_backend(options.backend, 1);
  const auto naive = make_backend("reference-f32", 1), exact = make_backend("reference-f64", 1);
  std::vector<std::unique_ptr<Backend>> again;
  again.push_back(make_backend(options.backend, 1));
  for (const OpCase& op : op_cases()) {
    if (!op.cuda || !report.selects(op.name)) continue;
    compare_gpu(op, options.backend, *backend, *naive, *exact, report);
    compare_rows(op, *backend, report);
    compare_threads(op, *backend, again, report);
  }
}

}  // namespace

void run_test(const Options& options, Report& report) {
  if (is_cuda(options.backend)) return run_gpu_test(options, report);
  const auto backend = make_backend(options.backend, options.threads);
  const bool int8 = is_int8(options.backend);
  const std::string reference = int8 ? "int8-reference-f" : "reference-f";
  const auto naive = make_backend(reference + "32", 1), exact = make_backend(reference + "64", 1);
  const auto one_thread = make_backend(options.backend, 1);
  std::vector<std::unique_ptr<Backend>> more_threads;
  for (const int threads : {2, 3, 4}) more_threads.push_back(make_backend(options.backend, threads));
  for (const OpCase& op : op_cases()) {
    if (!op.test || !report.selects(op.name) || (int8 && needs_tape(op))) continue;
    const bool quantised = int8 && op.name.starts_with("block_forward");
    compare(op, *backend, *naive, *exact, quantised ? kCodeStep : 0, report);
    compare_rows(op, *backend, report);
    compare_threads(op, *one_thread, more_threads, report);
  }
}

}  // namespace hrm::optable
