#include <algorithm>

#include "test/cuda/activation_rows.h"

namespace hrm::cuda::test {
namespace {

struct Size {
  int64_t rows, D;
};
constexpr Size kSizes[] = {{1, 32}, {31, 64}, {33, 96}, {82, 128}, {130, 192}, {5, 512}};

/// body(format, size, label) on fresh buffers for each.
template <typename Body>
void for_sizes(Test& test, const Body& body) {
  for (const Format format : {Format::bf16, Format::f32})
    for (const Size size : kSizes) {
      body(format, size, name_of(format) + " " + std::to_string(size.rows) + " x " + std::to_string(size.D));
      test.finish();
    }
}

size_t elements(const Size& size) { return static_cast<size_t>(size.rows * size.D); }

}  // namespace

KERNEL_TEST("normalise: pending rows are scaled, final rows kept") {
  for_sizes(test, [&](Format format, Size size, const std::string& label) {
    const ActivationRows rows(test, format, size.rows, size.D);
    void* out = test.output(format, elements(size));
    float* rstd = test.output<float>(static_cast<size_t>(size.rows));
    normalise(test.device(), format, rows.sizes(), rows.input(test, format), out, rstd);
    test.near(label, test.read(format, out), rows.normed(), test.limit(format));
    test.near(label + " rstd", test.read(rstd), doubles(rows.factors()), kFloatLimit);
  });
}

KERNEL_TEST("normalise: a row alone gives the bits it gives among others, with or without rstd") {
  for (const Format format : {Format::bf16, Format::f32}) {
    const ActivationRows all(test, format, 33, 96);
    void* together = test.output(format, all.x.size());
    normalise(test.device(), format, all.sizes(), all.input(test, format), together, nullptr);
    const std::vector<float> expected = test.read(format, together);
    std::vector<float> alone;
    for (size_t row = 0; row < 33; ++row) {
      ActivationRows one = all;
      one.rows = 1;
      one.x.assign(all.x.begin() + static_cast<ptrdiff_t>(row * 96),
                   all.x.begin() + static_cast<ptrdiff_t>(row * 96 + 96));
      one.sums.assign(all.sums.begin() + static_cast<ptrdiff_t>(row * 3),
                      all.sums.begin() + static_cast<ptrdiff_t>(row * 3 + 3));
      void* out = test.output(format, 96);
      normalise(test.device(), format, one.sizes(), one.input(test, format), out, nullptr);
      for (const float value : test.read(format, out)) alone.push_back(value);
    }
    test.equal(name_of(format), alone, expected);
    test.finish();
  }
}

KERNEL_TEST("norm_backward: into another buffer and in place") {
  for_sizes(test, [&](Format format, Size size, const std::string& label) {
    const std::vector<float> y = test.normal(format, elements(size)), grad = test.normal(format, elements(size));
    std::vector<float> rstd;
    for (int64_t row = 0; row < size.rows; ++row) rstd.push_back(static_cast<float>(0.2 + test.uniform()));
    std::vector<double> expected;
    for (int64_t row = 0; row < size.rows; ++row) {
      double sum = 0;
      for (int64_t i = row * size.D; i < (row + 1) * size.D; ++i)
        sum += double{grad[static_cast<size_t>(i)]} * y[static_cast<size_t>(i)];
      for (int64_t i = row * size.D; i < (row + 1) * size.D; ++i)
        expected.push_back(
            rstd[static_cast<size_t>(row)] *
            (grad[static_cast<size_t>(i)] - y[static_cast<size_t>(i)] * sum / static_cast<double>(size.D)));
    }
    const BlockSizes sizes{.batch = size.rows, .S = 1, .D = size.D, .heads = 1, .F = size.D, .norm_eps = 1e-5f};
    const void* y_buffer = test.input(format, y);
    const float* rstd_buffer = test.input(rstd);
    void* out = test.output(format, elements(size));
    norm_backward(test.device(), format, sizes, y_buffer, rstd_buffer, test.input(format, grad), out);
    const std::vector<float> apart = test.read(format, out);
    test.near(label, apart, expected, test.limit(format));
    void* in_place = test.in_out(format, grad);
    norm_backward(test.device(), format, sizes, y_buffer, rstd_buffer, in_place, in_place);
    test.equal(label + " in place", test.read(format, in_place), apart);
  });
}

KERNEL_TEST("inject: one or two terms, the state becomes final") {
  for_sizes(test, [&](Format format, Size size, const std::string& label) {
    const ActivationRows z(test, format, size.rows, size.D), a(test, format, size.rows, size.D),
        b(test, format, size.rows, size.D);
    for (const bool two : {true, false}) {
      const Activation state = z.in_out(test, format);
      inject(test.device(), format, z.sizes(), state, a.input(test, format),
             two ? b.input(test, format) : Activation{});
      std::vector<double> expected = z.normed();
      const std::vector<double> first = a.normed(), second = b.normed();
      for (size_t i = 0; i < expected.size(); ++i) expected[i] += two ? first[i] + second[i] : first[i];
      const std::string terms = two ? " two terms" : " one term";
      test.near(label + terms, test.read(format, state.x), expected, test.limit(format));
      test.equal(label + terms + " sums", test.read(state.sums), std::vector<float>(z.sums.size(), -1.0f));
    }
  });
}

KERNEL_TEST("inject: rounds where the official tensors are bf16") {
  const ActivationRows z(test, Format::bf16, 4, 64), a(test, Format::bf16, 4, 64), b(test, Format::bf16, 4, 64);
  const std::vector<float> z_values = z.operands(Format::bf16), a_values = a.operands(Format::bf16),
                           b_values = b.operands(Format::bf16);
  std::vector<float> expected = a_values;
  for (size_t i = 0; i < expected.size(); ++i) expected[i] += b_values[i];
  expected = Test::rounded(Format::bf16, expected);
  for (size_t i = 0; i < expected.size(); ++i) expected[i] += z_values[i];
  const Activation state = z.in_out(test, Format::bf16);
  inject(test.device(), Format::bf16, z.sizes(), state, a.input(test, Format::bf16), b.input(test, Format::bf16));
  test.equal("bits", test.read(Format::bf16, state.x), Test::rounded(Format::bf16, expected));
}

KERNEL_TEST("widen: the numbers that normalise gives") {
  for_sizes(test, [&](Format format, Size size, const std::string& label) {
    const ActivationRows rows(test, format, size.rows, size.D);
    const Activation x = rows.input(test, format);
    void* normed = test.output(format, elements(size));
    float* values = test.output<float>(elements(size));
    normalise(test.device(), format, rows.sizes(), x, normed, nullptr);
    widen(test.device(), format, rows.sizes(), x, values);
    test.equal(label, test.read(values), test.read(format, normed));
  });
}

KERNEL_TEST("narrow: whole rows become final, others keep their bits") {
  for (const Format format : {Format::bf16, Format::f32})
    for (const int64_t D : {32, 96}) {
      const ActivationRows rows(test, format, 9, D);
      const Activation x = rows.in_out(test, format);
      const std::vector<float> values = test.normal(static_cast<size_t>(3 * D));
      narrow(test.device(), format, D, test.input(values), static_cast<size_t>(4 * D), values.size(), x);
      std::vector<float> expected = rows.x, sums = rows.sums;
      const std::vector<float> stored = Test::rounded(format, values);
      std::copy(stored.begin(), stored.end(), expected.begin() + 4 * D);
      std::fill_n(sums.begin() + 4 * (D / kNormGroup), 3 * (D / kNormGroup), -1.0f);
      test.equal(name_of(format) + " values", test.read(format, x.x), expected);
      test.equal(name_of(format) + " sums", test.read(x.sums), sums);
      test.finish();
    }
}

KERNEL_TEST("narrow: any range of elements of final rows") {
  for (const Format format : {Format::bf16, Format::f32}) {
    ActivationRows rows(test, format, 4, 64);
    std::fill(rows.sums.begin(), rows.sums.end(), -1.0f);
    const Activation x = rows.in_out(test, format);
    const std::vector<float> values = test.normal(101);
    narrow(test.device(), format, 64, test.input(values), 37, values.size(), x);
    std::vector<float> expected = rows.x;
    const std::vector<float> stored = Test::rounded(format, values);
    std::copy(stored.begin(), stored.end(), expected.begin() + 37);
    test.equal(name_of(format) + " values", test.read(format, x.x), expected);
    test.equal(name_of(format) + " sums", test.read(x.sums), rows.sums);
    test.finish();
  }
}

}  // namespace hrm::cuda::test
