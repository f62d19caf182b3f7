#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "cpu/reference/optimisers.h"
#include "test/cuda/activation_rows.h"

namespace hrm::cuda::test {
namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN(), kInfinity = std::numeric_limits<float>::infinity();

/// From 1 on the vectors begin at an address that is aligned to nothing but a float.
struct Size {
  size_t count, shift;
  std::string label() const { return std::to_string(count) + " from " + std::to_string(shift) + " on"; }
};
constexpr Size kSizes[] = {{1, 0}, {3, 0}, {4, 1}, {130, 0}, {4099, 0}, {4099, 1}};

std::vector<double> hyper_of(double step, double apply) {
  std::vector<double> hyper(kHyperCount);
  hyper[kLearningRate] = 0.05;
  hyper[kPuzzleLearningRate] = 0.02;
  hyper[kStep] = step;
  hyper[kEmaDecay] = 0.9;
  hyper[kApply] = apply;
  return hyper;
}

std::vector<uint16_t> bf16_bits(const std::vector<float>& values) {
  std::vector<uint16_t> bits;
  for (const float value : values) bits.push_back(to_bf16_bits(value));
  return bits;
}

/// Without the first `shift` elements.
template <typename T>
std::vector<T> rest(const std::vector<T>& values, const Size& size) {
  return {values.begin() + static_cast<ptrdiff_t>(size.shift), values.end()};
}

}  // namespace

KERNEL_TEST("adam_atan2: both variants, early and late, with and without a copy in bf16") {
  for (const AdamVariant variant : {AdamVariant::outside, AdamVariant::inside})
    for (const double step : {1.0, 1000.0})
      for (const Size& size : kSizes) {
        const AdamParams params{.beta1 = 0.9, .beta2 = 0.95, .weight_decay = 0.1, .variant = variant};
        const size_t all = size.count + size.shift;
        const std::vector<float> weight = test.normal(all), m = test.normal(all, 0.1);
        std::vector<float> grad = test.normal(all), v = test.normal(all, 0.1);
        for (float& value : v) value *= value;
        grad.back() = 0;
        const auto count = static_cast<int64_t>(size.count);
        float *weight_buffer = test.in_out(weight), *m_buffer = test.in_out(m), *v_buffer = test.in_out(v);
        uint16_t* copy = step == 1 ? test.output<uint16_t>(all) : nullptr;
        adam_atan2(test.device(), params, test.input(hyper_of(step, 1)), count, weight_buffer + size.shift,
                   test.input(grad) + size.shift, m_buffer + size.shift, v_buffer + size.shift,
                   copy ? copy + size.shift : nullptr);
        std::vector<double> w = doubles(weight), first = doubles(m), second = doubles(v), g = doubles(grad);
        reference::adam_atan2(params, hyper_of(step, 1).data(), count, w.data() + size.shift, g.data() + size.shift,
                              first.data() + size.shift, second.data() + size.shift);
        const std::vector<float> got = test.read(weight_buffer);
        test.near(size.label() + " weight", got, w, kFloatLimit);
        test.near(size.label() + " m", test.read(m_buffer), first, kFloatLimit);
        test.near(size.label() + " v", test.read(v_buffer), second, kFloatLimit);
        if (copy) test.equal(size.label() + " copy", rest(test.read(copy), size), rest(bf16_bits(got), size));
        test.finish();
      }
}

KERNEL_TEST("sign_sgd: rows move once, by the sum over all that name them") {
  for (const int64_t width : {1, 32, 130, 300}) {
    const int64_t batch = 45, rows = 20;
    const std::vector<float> table = test.normal(static_cast<size_t>(rows * width));
    std::vector<int32_t> ids;
    std::vector<float> grads;
    for (int64_t b = 0; b < batch; ++b) ids.push_back(static_cast<int32_t>(test.integer(0, rows - 5)));
    for (int64_t i = 0; i < batch * width; ++i) grads.push_back(static_cast<float>(test.integer(-2, 2)));  // exact sums
    float* moved = test.in_out(table);
    const int32_t* ids_buffer = test.input(ids);
    const float* grads_buffer = test.input(grads);
    sign_sgd(test.device(), batch, width, 0.1, test.input(hyper_of(1, 1)), moved, ids_buffer, grads_buffer);
    std::vector<double> expected = doubles(table);
    reference::sign_sgd(batch, width, 0.1, hyper_of(1, 1).data(), expected.data(), ids.data(), doubles(grads).data());
    const std::vector<float> got = test.read(moved);
    test.near("width " + std::to_string(width), got, expected, 1e-6);
    const auto named = (rows - 4) * width;  // no id beyond
    test.equal("rows without a name", std::vector<float>(got.begin() + named, got.end()),
               std::vector<float>(table.begin() + named, table.end()));
    test.finish();
  }
}

KERNEL_TEST("sign_sgd: sums in the order of the batch") {
  // From the last on, 1 would be lost beside 2^25 and row 1 stay where it is.
  const std::vector<float> grads = {33554432.0f, 9.0f, -33554432.0f, 1.0f}, table = {0.5f, 0.5f};
  float* moved = test.in_out(table);
  sign_sgd(test.device(), 4, 1, 0, test.input(hyper_of(1, 1)), moved, test.input(std::vector<int32_t>{1, 0, 1, 1}),
           test.input(grads));
  test.near("rows", test.read(moved), {0.48, 0.48}, 1e-6);
}

KERNEL_TEST("ema: towards the weights, with and without a copy in bf16") {
  for (const Size& size : kSizes)
    for (const bool copied : {true, false}) {
      const size_t all = size.count + size.shift;
      const std::vector<float> average = test.normal(all), weight = test.normal(all);
      float* buffer = test.in_out(average);
      uint16_t* copy = copied ? test.output<uint16_t>(all) : nullptr;
      ema(test.device(), test.input(hyper_of(1, 1)), static_cast<int64_t>(size.count), buffer + size.shift,
          test.input(weight) + size.shift, copied ? copy + size.shift : nullptr);
      std::vector<double> expected = doubles(average);
      reference::ema(0.9, static_cast<int64_t>(size.count), expected.data() + size.shift,
                     doubles(weight).data() + size.shift);
      const std::vector<float> got = test.read(buffer);
      test.near(size.label(), got, expected, kFloatLimit);
      if (copied) test.equal(size.label() + " copy", rest(test.read(copy), size), rest(bf16_bits(got), size));
      test.finish();
    }
}

KERNEL_TEST("a step that is not to be applied changes nothing") {
  const std::vector<float> values = test.normal(516), m = test.normal(516), v(516, 1.0f);
  const std::vector<uint16_t> copy(516, 5);
  const double* hyper = test.input(hyper_of(3, 0));
  float *weight = test.in_out(values), *m_buffer = test.in_out(m), *v_buffer = test.in_out(v);
  uint16_t* copy_buffer = test.in_out(copy);
  const float* grad = test.input(std::vector<float>(516, kNaN));
  for (const AdamVariant variant : {AdamVariant::outside, AdamVariant::inside})
    adam_atan2(test.device(), {.beta1 = 0.9, .beta2 = 0.95, .weight_decay = 0.1, .variant = variant}, hyper, 516,
               weight, grad, m_buffer, v_buffer, copy_buffer);
  sign_sgd(test.device(), 3, 172, 0.1, hyper, weight, test.input(std::vector<int32_t>{0, 1, 2}), grad);
  ema(test.device(), hyper, 516, weight, grad, copy_buffer);
  test.equal("weights", test.read(weight), values);
  test.equal("m", test.read(m_buffer), m);
  test.equal("v", test.read(v_buffer), v);
  test.equal("copy", test.read(copy_buffer), copy);
}

KERNEL_TEST("guard: one number that is not finite keeps the step from being applied") {
  for (const int64_t sums : {1, 30, 700})
    for (const int64_t stats : {6, 301}) {
      std::vector<double> sum_values(static_cast<size_t>(sums), std::numeric_limits<float>::max()),
          stat_values(static_cast<size_t>(stats), -1.0);
      const auto applies = [&] {
        double* hyper = test.in_out(hyper_of(9, 0.5));
        guard(test.device(), sums, test.input(sum_values), stats, test.input(stat_values), hyper);
        const std::vector<double> after = test.read(hyper);
        test.equal("the rest of hyper", after, hyper_of(9, after[kApply]));
        return after[kApply];
      };
      test.check("all finite", std::abs(applies() - 1), 0);
      sum_values.back() = kInfinity;
      test.check("infinite sum", std::abs(applies()), 0);
      sum_values.back() = 1e39;
      test.check("sum that is no float", std::abs(applies()), 0);
      sum_values.back() = 0;
      stat_values.front() = kNaN;
      test.check("statistic not a number", std::abs(applies()), 0);
      stat_values.front() = 0;
      stat_values.back() = -kInfinity;
      test.check("infinite statistic", std::abs(applies()), 0);
      test.finish();
    }
}

KERNEL_TEST("sum_squares: in double, the same bits twice, not finite where an element is not") {
  for (const Size& size : {Size{1, 0}, Size{7, 1}, Size{4099, 0}, Size{100003, 0}}) {
    std::vector<float> values = test.normal(size.count + size.shift, 1e18);
    const auto sum_of = [&] {
      double* sum = test.output<double>(1);
      sum_squares(test.device(), static_cast<int64_t>(size.count), test.input(values) + size.shift, sum,
                  test.workspace(sum_squares_workspace()));
      return test.read(sum)[0];
    };
    double expected = 0;
    for (size_t i = size.shift; i < values.size(); ++i) expected += double{values[i]} * values[i];
    const double first = sum_of();
    test.check(size.label(), std::abs(first - expected) / expected, 1e-13);
    test.equal(size.label() + " again", std::vector<double>{sum_of()}, {first});
    for (const float bad : {kNaN, kInfinity}) {
      values.back() = bad;
      test.check(size.label() + " not finite", std::isfinite(sum_of()), 0);
    }
    test.finish();
  }
}

KERNEL_TEST("add, exchange, round_to_bf16: exact") {
  for (const Size& size : kSizes) {
    const size_t all = size.count + size.shift;
    const auto count = static_cast<int64_t>(size.count);
    std::vector<float> a = test.normal(all), b = test.normal(all);
    a.back() = 3.3e38f;
    b.front() = 1e-40f;                                     // a denormal number
    if (all > 2) b[2] = std::bit_cast<float>(0x3f808000u);  // a tie, to even
    float *a_buffer = test.in_out(a), *b_buffer = test.in_out(b), *sum = test.in_out(a);
    add(test.device(), count, sum + size.shift, test.input(b) + size.shift);
    exchange(test.device(), count, a_buffer + size.shift, b_buffer + size.shift);
    uint16_t* rounded = test.output<uint16_t>(all);
    round_to_bf16(test.device(), count, test.input(b) + size.shift, rounded + size.shift);
    std::vector<float> expected_sum = a, expected_a = b, expected_b = a;
    for (size_t i = size.shift; i < all; ++i) expected_sum[i] += b[i];
    for (size_t i = 0; i < size.shift; ++i) std::swap(expected_a[i], expected_b[i]);
    test.equal(size.label() + " sum", test.read(sum), expected_sum);
    test.equal(size.label() + " a", test.read(a_buffer), expected_a);
    test.equal(size.label() + " b", test.read(b_buffer), expected_b);
    test.equal(size.label() + " rounded", rest(test.read(rounded), size), rest(bf16_bits(b), size));
    test.finish();
  }
}

}  // namespace hrm::cuda::test
