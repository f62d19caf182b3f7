// Attention and its gradients against plain sums in double (layers.py Attention.forward, apply_rotary_pos_emb).

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "test/cuda/harness.h"

using namespace hrm::cuda;
using hrm::cuda::test::Test;

namespace {

struct Case {
  Format format;
  int64_t batch, S, heads, head_size;
  BlockSizes sizes() const { return {batch, S, heads * head_size, heads, 0, 0}; }
  size_t elements(int64_t width) const { return static_cast<size_t>(batch * S * heads * head_size * width); }
  std::string name() const {
    return std::string(format == Format::bf16 ? "bf16" : "f32") + " " + std::to_string(batch) + " x " +
           std::to_string(S) + ", " + std::to_string(heads) + " x " + std::to_string(head_size);
  }
};

struct Attended {
  std::vector<double> out, log_sums, probabilities;  // [rows, D], [batch, heads, S], [batch, heads, S, S]
};

/// Row `row` of q (part 0), k (1) or v (2), of one head of one sequence.
template <typename T>
T* head_of(std::vector<T>& qkv, const Case& c, int64_t b, int64_t h, int64_t row, int64_t part) {
  return qkv.data() + (((b * c.S + row) * 3 + part) * c.heads + h) * c.head_size;
}
const float* head_of(const std::vector<float>& qkv, const Case& c, int64_t b, int64_t h, int64_t row, int64_t part) {
  return qkv.data() + (((b * c.S + row) * 3 + part) * c.heads + h) * c.head_size;
}

double dot(const float* a, const float* b, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += double{a[i]} * b[i];
  return sum;
}

Attended attend(const Case& c, const std::vector<float>& qkv) {
  const double scale = 1 / std::sqrt(static_cast<double>(c.head_size));
  Attended result{std::vector<double>(c.elements(1)), {}, {}};
  std::vector<double> scores(static_cast<size_t>(c.S));
  for (int64_t b = 0; b < c.batch; ++b) {
    for (int64_t h = 0; h < c.heads; ++h) {
      for (int64_t i = 0; i < c.S; ++i) {
        double largest = -std::numeric_limits<double>::infinity(), sum = 0;
        for (int64_t j = 0; j < c.S; ++j) {
          scores[j] = scale * dot(head_of(qkv, c, b, h, i, 0), head_of(qkv, c, b, h, j, 1), c.head_size);
          largest = std::fmax(largest, scores[j]);
        }
        for (const double score : scores) sum += std::exp(score - largest);
        result.log_sums.push_back(largest + std::log(sum));
        double* out = result.out.data() + ((b * c.S + i) * c.heads + h) * c.head_size;
        for (int64_t j = 0; j < c.S; ++j) {
          const double p = std::exp(scores[j] - result.log_sums.back());
          result.probabilities.push_back(p);
          const float* v = head_of(qkv, c, b, h, j, 2);
          for (int64_t d = 0; d < c.head_size; ++d) out[d] += p * v[d];
        }
      }
    }
  }
  return result;
}

/// Gradients [rows, 3D], those of q and k before the rotation by `angles` [S, head size / 2], where there are any.
std::vector<double> attend_backward(const Case& c, const std::vector<float>& qkv, const Attended& attended,
                                    const std::vector<float>& grad_out, const std::vector<float>& cosines,
                                    const std::vector<float>& sines) {
  const double scale = 1 / std::sqrt(static_cast<double>(c.head_size));
  const int64_t n = c.head_size, half = n / 2;
  std::vector<double> grad(c.elements(3));
  for (int64_t b = 0; b < c.batch; ++b) {
    for (int64_t h = 0; h < c.heads; ++h) {
      for (int64_t i = 0; i < c.S; ++i) {
        const size_t row = static_cast<size_t>(((b * c.S + i) * c.heads + h) * n);
        double delta = 0;
        for (int64_t d = 0; d < n; ++d) delta += grad_out[row + d] * attended.out[row + d];
        for (int64_t j = 0; j < c.S; ++j) {
          const double p = attended.probabilities[((b * c.heads + h) * c.S + i) * c.S + j];
          const double ds = scale * p * (dot(&grad_out[row], head_of(qkv, c, b, h, j, 2), n) - delta);
          const float *q = head_of(qkv, c, b, h, i, 0), *k = head_of(qkv, c, b, h, j, 1);
          double* const grad_q = head_of(grad, c, b, h, i, 0);
          double* const grad_k = head_of(grad, c, b, h, j, 1);
          double* const grad_v = head_of(grad, c, b, h, j, 2);
          for (int64_t d = 0; d < n; ++d) {
            grad_q[d] += ds * k[d];
            grad_k[d] += ds * q[d];
            grad_v[d] += p * grad_out[row + d];
          }
        }
      }
      if (cosines.empty()) continue;
      for (int64_t i = 0; i < c.S; ++i) {
        for (int64_t part = 0; part < 2; ++part) {
          double* const g = head_of(grad, c, b, h, i, part);
          for (int64_t d = 0; d < half; ++d) {
            const double cosine = cosines[i * half + d], sine = sines[i * half + d], first = g[d], second = g[half + d];
            g[d] = first * cosine + second * sine;
            g[half + d] = second * cosine - first * sine;
          }
        }
      }
    }
  }
  return grad;
}

/// Columns of q (part 0), k (1) or v (2) of [rows, 3D].
template <typename T>
std::vector<T> part_of(const Case& c, const std::vector<T>& qkv, int64_t part) {
  const int64_t D = c.heads * c.head_size;
  std::vector<T> columns;
  for (int64_t row = 0; row < c.batch * c.S; ++row) {
    const auto first = qkv.begin() + (row * 3 + part) * D;
    columns.insert(columns.end(), first, first + D);
  }
  return columns;
}

/// Cosines and sines of RoPE with theta 10,000, [S, head size / 2].
void rotations(const Case& c, std::vector<float>& cosines, std::vector<float>& sines) {
  for (int64_t i = 0; i < c.S; ++i) {
    for (int64_t d = 0; d < c.head_size; d += 2) {
      const double angle = static_cast<double>(i) * std::pow(1e4, -static_cast<double>(d) / c.head_size);
      cosines.push_back(static_cast<float>(std::cos(angle)));
      sines.push_back(static_cast<float>(std::sin(angle)));
    }
  }
}

void check_forward(Test& test, const Case& c, double deviation) {
  const std::vector<float> qkv = test.normal(c.format, c.elements(3), deviation);
  const Attended expected = attend(c, qkv);
  const void* const in = test.input(c.format, qkv);
  void* const out = test.output(c.format, c.elements(1));
  float* const log_sums = test.output<float>(expected.log_sums.size());
  attention_forward(test.device(), c.format, c.sizes(), in, out, log_sums);
  test.near(c.name() + ": out", test.read(c.format, out), expected.out, Test::limit(c.format));
  test.near(c.name() + ": log_sums", test.read(log_sums), expected.log_sums, test::kFloatLimit);
  void* const again = test.output(c.format, c.elements(1));
  attention_forward(test.device(), c.format, c.sizes(), in, again, nullptr);
  test.equal(c.name() + ": again, without log_sums", test.read(c.format, again), test.read(c.format, out));
  test.finish();
}

/// attention_backward() on what the forward pass would have left.
std::vector<float> run_backward(Test& test, const Case& c, const std::vector<float>& qkv, const Attended& attended,
                                const std::vector<float>& grad_out, RopeTable rope) {
  const std::vector<float> out(attended.out.begin(), attended.out.end());
  const std::vector<float> log_sums(attended.log_sums.begin(), attended.log_sums.end());
  void* const grad_qkv = test.output(c.format, c.elements(3));
  attention_backward(test.device(), c.format, c.sizes(), test.input(c.format, qkv),
                     test.input(c.format, Test::rounded(c.format, out)), test.input(log_sums),
                     test.input(c.format, grad_out), rope, grad_qkv,
                     test.workspace(attention_backward_workspace(test.device(), c.format, c.sizes())));
  return test.read(c.format, grad_qkv);
}

void check_backward(Test& test, const Case& c, bool rotated) {
  const std::vector<float> qkv = test.normal(c.format, c.elements(3));
  const std::vector<float> grad_out = test.normal(c.format, c.elements(1));
  const Attended attended = attend(c, qkv);
  std::vector<float> cosines, sines;
  if (rotated) rotations(c, cosines, sines);
  const std::vector<double> expected = attend_backward(c, qkv, attended, grad_out, cosines, sines);

  const RopeTable rope = rotated ? RopeTable{test.input(cosines), test.input(sines)} : RopeTable{nullptr, nullptr};
  const std::vector<float> got = run_backward(test, c, qkv, attended, grad_out, rope);
  const char* const names[] = {": grad q", ": grad k", ": grad v"};
  for (int64_t part = 0; part < 3; ++part) {
    const std::vector<float> result = part_of(c, got, part);
    if (c.S == 1 && part < 2) {  // zero, but for the order of two equal sums
      double largest = 0;
      for (const float value : result) largest = std::fmax(largest, std::isfinite(value) ? std::fabs(value) : INFINITY);
      test.check(c.name() + names[part], largest, test::kFloatLimit);
    } else {
      test.near(c.name() + names[part], result, part_of(c, expected, part), Test::limit(c.format));
    }
  }
  test.equal(c.name() + ": again", run_backward(test, c, qkv, attended, grad_out, rope), got);
  test.finish();
}

bool all_finite(const std::vector<float>& values) {
  return std::all_of(values.begin(), values.end(), [](float value) { return std::isfinite(value); });
}

/// Scores about -120: what is computed for the rows of zeros behind the last key of a tile overflows.
void check_low_scores(Test& test, const Case& c) {
  std::vector<float> qkv = test.normal(c.elements(3));
  const int64_t D = c.heads * c.head_size;
  const float shift = static_cast<float>(std::sqrt(120 / std::sqrt(static_cast<double>(c.head_size))));
  for (size_t i = 0; i < qkv.size(); ++i) {
    const int64_t part = static_cast<int64_t>(i) / D % 3;
    qkv[i] = qkv[i] / 4 + (part == 0 ? shift : part == 1 ? -shift : 0);
  }
  qkv = Test::rounded(c.format, qkv);
  const std::vector<float> grad_out = test.normal(c.format, c.elements(1));
  const Attended attended = attend(c, qkv);
  const std::vector<double> expected = attend_backward(c, qkv, attended, grad_out, {}, {});
  const std::vector<float> got = run_backward(test, c, qkv, attended, grad_out, {nullptr, nullptr});
  test.check(c.name() + ": finite", all_finite(got) ? 0 : 1, 0);
  test.near(c.name() + ": grad v", part_of(c, got, 2), part_of(c, expected, 2), Test::limit(c.format));
  test.finish();
}

/// The first sequence of a batch whose others are not numbers gets the same bits as it gets alone.
void check_batch(Test& test, const Case& alone) {
  Case batch = alone;
  batch.batch = 3;
  std::vector<float> qkv = test.normal(alone.format, alone.elements(3));
  std::vector<float> grad_out = test.normal(alone.format, alone.elements(1));
  std::vector<float> results[2], grads[2];
  std::vector<float> all_sums[2];
  for (const Case& c : {alone, batch}) {
    const size_t which = c.batch == 1 ? 0 : 1;
    qkv.resize(c.elements(3), NAN);
    grad_out.resize(c.elements(1), NAN);
    const void* const in = test.input(c.format, qkv);
    void* const out = test.output(c.format, c.elements(1));
    float* const log_sums = test.output<float>(static_cast<size_t>(c.batch * c.heads * c.S));
    attention_forward(test.device(), c.format, c.sizes(), in, out, log_sums);
    void* const grad_qkv = test.output(c.format, c.elements(3));
    attention_backward(test.device(), c.format, c.sizes(), in, out, log_sums, test.input(c.format, grad_out),
                       {nullptr, nullptr}, grad_qkv,
                       test.workspace(attention_backward_workspace(test.device(), c.format, c.sizes())));
    results[which] = test.read(c.format, out);
    grads[which] = test.read(c.format, grad_qkv);
    all_sums[which] = test.read(log_sums);
  }
  results[1].resize(results[0].size());
  grads[1].resize(grads[0].size());
  all_sums[1].resize(all_sums[0].size());
  test.equal(alone.name() + ": out in a batch", results[1], results[0]);
  test.equal(alone.name() + ": log_sums in a batch", all_sums[1], all_sums[0]);
  test.equal(alone.name() + ": gradients in a batch", grads[1], grads[0]);
  test.check(alone.name() + ": finite", all_finite(grads[0]) ? 0 : 1, 0);
  test.finish();
}

}  // namespace

KERNEL_TEST("attention_forward: every way to split it, at odd sizes") {
  for (const Format format : {Format::bf16, Format::f32}) {
    for (const int64_t head_size : {32, 64, 128}) {
      for (const int64_t S : {1, 31, 82, 96, 97, 128, 130, 193}) check_forward(test, {format, 1, S, 1, head_size}, 1);
      check_forward(test, {format, 3, 33, 2, head_size}, 1);
      check_forward(test, {format, 2, 131, 3, head_size}, 1);
    }
  }
}

KERNEL_TEST("attention_forward: large scores, eight heads and long sequences") {
  for (const Format format : {Format::bf16, Format::f32}) {
    check_forward(test, {format, 1, 82, 1, 64}, 8);
    check_forward(test, {format, 1, 82, 8, 64}, 1);
    check_forward(test, {format, 1, 321, 1, 64}, 4);
    check_forward(test, {format, 1, 1040, 1, 32}, 1);
  }
}

KERNEL_TEST("attention_backward: every way to split it, at odd sizes") {
  for (const Format format : {Format::bf16, Format::f32}) {
    for (const int64_t head_size : {32, 64, 128}) {
      for (const int64_t S : {1, 31, 82, 96, 97, 128, 130}) check_backward(test, {format, 1, S, 1, head_size}, true);
      check_backward(test, {format, 3, 33, 2, head_size}, true);
      check_backward(test, {format, 2, 131, 2, head_size}, true);
      check_backward(test, {format, 1, 81, 2, head_size}, false);
    }
    check_backward(test, {format, 1, 82, 8, 64}, true);
    check_backward(test, {format, 1, 321, 1, 64}, true);
  }
}

KERNEL_TEST("attention_backward: scores far below zero") {
  for (const int64_t head_size : {32, 64, 128}) {
    for (const int64_t S : {82, 100, 130}) check_low_scores(test, {Format::bf16, 1, S, 1, head_size});
  }
}

KERNEL_TEST("attention: a sequence does not depend on the batch around it") {
  for (const Format format : {Format::bf16, Format::f32}) {
    for (const int64_t head_size : {32, 64, 128}) {
      for (const int64_t S : {17, 82, 100, 130}) check_batch(test, {format, 1, S, 2, head_size});
    }
  }
}

KERNEL_TEST("attention: other head sizes in fp32 alone") {
  check_forward(test, {Format::f32, 1, 20, 2, 96}, 1);
  check_backward(test, {Format::f32, 1, 20, 2, 96}, true);
  const Case c{Format::bf16, 1, 20, 2, 96};
  test.throws("head size 96 in bf16", "ERR_HRM_CONFIG", "head size",
              [&] { attention_forward(test.device(), c.format, c.sizes(), nullptr, nullptr, nullptr); });
  test.throws("its gradients", "ERR_HRM_CONFIG", "head size", [&] {
    attention_backward(test.device(), c.format, c.sizes(), nullptr, nullptr, nullptr, nullptr, {nullptr, nullptr},
                       nullptr, nullptr);
  });
}
