#pragma once
// Inputs and results of one op on one backend. Inputs depend only on their name, and per-row inputs on the row's id, so
// that any backend, and any choice of rows, sees the same numbers. Reals are rounded to float: f32 and f64 backends
// start from identical values.

#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "core/backend.h"

namespace hrm::optable {

struct Result {
  std::string name;
  DType dtype;
  bool per_row;  // [B, ...]: row b depends on row b of the inputs alone
  std::vector<double> values;
};

/// One draw: uniform in (-1, 1), a function of the stream's name, the row and the index.
double draw(std::string_view name, int64_t row, size_t index);

class Fixture {
 public:
  Fixture(Backend& backend, std::vector<int64_t> rows) : backend(backend), rows_(std::move(rows)) {}

  Backend& backend;
  std::vector<Result> results;
  double seconds = 0;  // of one call of the measured op, the fastest of several; 0 unless timed
  bool timed = false;

  int64_t batch() const { return static_cast<int64_t>(rows_.size()); }

  /// [count] reals of standard deviation `scale`, the same for all rows.
  Tensor shared(std::string_view name, int64_t count, double scale = 1);
  /// [B, width] reals of standard deviation `scale`.
  Tensor per_row(std::string_view name, int64_t width, double scale = 1);
  /// [B, width] reals value(row id, index).
  Tensor per_row(int64_t width, const std::function<double(int64_t, size_t)>& value);
  /// [B, S, D] activations of standard deviation 1.
  Tensor activations(std::string_view name, const Shapes& shapes);
  /// [B, width] integers value(row id, index), as i32 or u8.
  Tensor integers(DType dtype, int64_t width, const std::function<int(int64_t, size_t)>& value);
  /// [B, width] i32 in 0..limit-1.
  Tensor indices(std::string_view name, int64_t width, int64_t limit);
  /// f64 values given by the case.
  Tensor doubles(const std::vector<double>& values);
  /// What an optimiser step reads, to be applied.
  Tensor hyper(double learning_rate, double puzzle_learning_rate, double step, double ema_decay);
  /// Memory for an output, filled with NaN (or -1 bytes): an op must overwrite all of it.
  Tensor output(int64_t count) { return output(backend.real(), count); }
  Tensor output(DType dtype, int64_t count);
  /// [B, S, D]
  Tensor activation_output(const Shapes& shapes);

  /// Runs the op under test once, or when timed several times, each after `prepare`.
  void measure(
      const std::function<void()>& op, const std::function<void()>& prepare = [] {});

  void row_result(const std::string& name, const Tensor& tensor) { add(name, tensor, true, tensor->count); }
  void shared_result(const std::string& name, const Tensor& tensor) { add(name, tensor, false, tensor->count); }
  /// Only the first `count` elements are defined.
  void shared_result(const std::string& name, const Tensor& tensor, size_t count) { add(name, tensor, false, count); }

 private:
  std::vector<double> row_values(int64_t width, const std::function<double(int64_t, size_t)>& value) const;
  Tensor filled(const Tensor& tensor, const std::vector<double>& values);
  Tensor reals(const std::vector<double>& values);
  Tensor garbage(const Tensor& tensor);
  void add(const std::string& name, const Tensor& tensor, bool per_row, size_t count);

  std::vector<int64_t> rows_;
};

/// Copies between host doubles and a tensor of any dtype, rounding as needed.
void upload_doubles(Backend& backend, const Tensor& tensor, const std::vector<double>& values);
std::vector<double> download_doubles(Backend& backend, const Tensor& tensor);

}  // namespace hrm::optable
