#include "test/native/fixture.h"

#include <algorithm>
#include <chrono>

namespace hrm::optable {
namespace {

/// The finaliser of SplitMix64 (Steele, Lea, Flood 2014).
uint64_t mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

template <typename T>
void upload_as(Backend& backend, const Tensor& tensor, const std::vector<double>& values) {
  const std::vector<T> converted(values.begin(), values.end());
  backend.upload(tensor, converted.data(), 0, converted.size());
}

template <typename T>
std::vector<double> download_as(Backend& backend, const Tensor& tensor) {
  std::vector<T> values(tensor->count);
  backend.download(tensor, values.data(), 0, values.size());
  return {values.begin(), values.end()};
}

constexpr double kUnitDeviation = 1.7320508075688772;  // a uniform draw in (-1, 1) has deviation 1/sqrt(3)

}  // namespace

void upload_doubles(Backend& backend, const Tensor& tensor, const std::vector<double>& values) {
  switch (tensor->dtype) {
    case DType::f32:
      return upload_as<float>(backend, tensor, values);
    case DType::f64:
      return upload_as<double>(backend, tensor, values);
    case DType::i32:
      return upload_as<int32_t>(backend, tensor, values);
    case DType::u8:
      return upload_as<uint8_t>(backend, tensor, values);
  }
}

std::vector<double> download_doubles(Backend& backend, const Tensor& tensor) {
  switch (tensor->dtype) {
    case DType::f32:
      return download_as<float>(backend, tensor);
    case DType::f64:
      return download_as<double>(backend, tensor);
    case DType::i32:
      return download_as<int32_t>(backend, tensor);
    default:
      return download_as<uint8_t>(backend, tensor);
  }
}

double draw(std::string_view name, int64_t row, size_t index) {
  uint64_t stream = 0;
  for (const char letter : name) stream = mix(stream ^ static_cast<unsigned char>(letter));
  const uint64_t bits = mix(mix(stream ^ static_cast<uint64_t>(row)) ^ index);
  return (static_cast<double>(bits >> 11) + 0.5) * 0x1p-52 - 1;
}

Tensor Fixture::filled(const Tensor& tensor, const std::vector<double>& values) {
  const std::vector<float> rounded(values.begin(), values.end());
  upload_doubles(backend, tensor, {rounded.begin(), rounded.end()});
  return tensor;
}

Tensor Fixture::reals(const std::vector<double>& values) {
  return filled(backend.allocate(backend.real(), values.size()), values);
}

Tensor Fixture::shared(std::string_view name, int64_t count, double scale) {
  std::vector<double> values(static_cast<size_t>(count));
  for (size_t i = 0; i < values.size(); ++i) values[i] = scale * kUnitDeviation * draw(name, -1, i);
  return reals(values);
}

Tensor Fixture::per_row(std::string_view name, int64_t width, double scale) {
  return per_row(width, [&](int64_t row, size_t i) { return scale * kUnitDeviation * draw(name, row, i); });
}

Tensor Fixture::per_row(int64_t width, const std::function<double(int64_t, size_t)>& value) {
  return reals(row_values(width, value));
}

std::vector<double> Fixture::row_values(int64_t width, const std::function<double(int64_t, size_t)>& value) const {
  std::vector<double> values;
  for (const int64_t row : rows_)
    for (size_t i = 0; i < static_cast<size_t>(width); ++i) values.push_back(value(row, i));
  return values;
}

Tensor Fixture::activations(std::string_view name, const Shapes& shapes) {
  return filled(
      backend.allocate_activations(shapes, batch()),
      row_values(shapes.S() * shapes.D, [&](int64_t row, size_t i) { return kUnitDeviation * draw(name, row, i); }));
}

Tensor Fixture::integers(DType dtype, int64_t width, const std::function<int(int64_t, size_t)>& value) {
  const std::vector<double> values = row_values(width, [&](int64_t row, size_t i) { return value(row, i); });
  const Tensor tensor = backend.allocate(dtype, values.size());
  upload_doubles(backend, tensor, values);
  return tensor;
}

Tensor Fixture::indices(std::string_view name, int64_t width, int64_t limit) {
  return integers(DType::i32, width, [&](int64_t row, size_t i) {
    return static_cast<int>((draw(name, row, i) + 1) / 2 * static_cast<double>(limit));
  });
}

Tensor Fixture::doubles(const std::vector<double>& values) {
  const Tensor tensor = backend.allocate(DType::f64, values.size());
  upload_doubles(backend, tensor, values);
  return tensor;
}

Tensor Fixture::hyper(double learning_rate, double puzzle_learning_rate, double step, double ema_decay) {
  std::vector<double> values(kHyperCount);
  values[kLearningRate] = learning_rate;
  values[kPuzzleLearningRate] = puzzle_learning_rate;
  values[kStep] = step;
  values[kEmaDecay] = ema_decay;
  values[kApply] = 1;
  return doubles(values);
}

Tensor Fixture::output(DType dtype, int64_t count) {
  return garbage(backend.allocate(dtype, static_cast<size_t>(count)));
}

Tensor Fixture::activation_output(const Shapes& shapes) {
  return garbage(backend.allocate_activations(shapes, batch()));
}

Tensor Fixture::garbage(const Tensor& tensor) {
  const std::vector<unsigned char> bytes(tensor->count * size_of(tensor->dtype), 0xff);
  backend.upload(tensor, bytes.data(), 0, tensor->count);
  return tensor;
}

void Fixture::measure(const std::function<void()>& op, const std::function<void()>& prepare) {
  prepare();
  op();
  if (!timed) return;
  using Clock = std::chrono::steady_clock;
  const auto seconds_since = [](Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
  };
  constexpr double kBudget = 0.3;  // seconds per case
  const auto begin = Clock::now();
  seconds = std::numeric_limits<double>::infinity();
  while (seconds_since(begin) < kBudget) {
    prepare();
    const auto start = Clock::now();
    op();
    seconds = std::min(seconds, seconds_since(start));
  }
}

void Fixture::add(const std::string& name, const Tensor& tensor, bool per_row, size_t count) {
  std::vector<double> values = download_doubles(backend, tensor);
  values.resize(count);
  results.push_back({name, tensor->dtype, per_row, std::move(values)});
}

}  // namespace hrm::optable
