#include <algorithm>
#include <cmath>

#include "cpu/reference/losses.h"
#include "test/cuda/activation_rows.h"

namespace hrm::cuda::test {
namespace {

/// Statistics are computed in double on both sides.
constexpr double kStatLimit = 1e-12;

struct Size {
  int64_t batch, T, V;
};

/// Labels that the logits favour half of the time; some ignored, all of them in the third sequence; all favoured in the
/// fourth, by so much that exponentials would overflow.
void draw_labels(Test& test, const Size& size, std::vector<float>& logits, std::vector<int32_t>& labels) {
  for (int64_t b = 0; b < size.batch; ++b)
    for (int64_t t = 0; t < size.T; ++t) {
      const bool ignored = b == 2 || (b != 3 && test.uniform() < 0.2);
      const auto label = static_cast<int32_t>(test.integer(0, size.V - 1));
      labels.push_back(ignored ? -100 : label);
      if (b == 3 || test.uniform() < 0.5)
        logits[static_cast<size_t>((b * size.T + t) * size.V + label)] += b == 3 ? 800.0f : 30.0f;
    }
}

}  // namespace

KERNEL_TEST("loss: both kinds, with and without gradients and targets") {
  for (const LossType type : {LossType::stablemax_cross_entropy, LossType::softmax_cross_entropy})
    for (const Size size : {Size{1, 1, 1}, Size{4, 9, 2}, Size{5, 81, 11}, Size{2, 33, 40}, Size{4, 5, 300}})
      for (const bool training : {true, false}) {
        const Shapes shapes{.T = size.T, .P = 0, .D = 32, .NH = 1, .F = 32, .V = size.V, .E = 0};
        const auto batch = static_cast<size_t>(size.batch), row = static_cast<size_t>(size.T * size.V);
        const double scale = 1 / 7.0;
        std::vector<float> logits = test.normal(batch * row, 5.0);
        const std::vector<float> q = test.normal(batch * 2, 4.0);
        std::vector<float> target;
        for (size_t b = 0; b < batch; ++b) target.push_back(static_cast<float>(test.uniform()));
        std::vector<int32_t> labels;
        draw_labels(test, size, logits, labels);

        double* stats = test.output<double>(batch * kRowStats);
        float* grad_logits = training ? test.output<float>(batch * row) : nullptr;
        float* grad_q = training ? test.output<float>(batch * 2) : nullptr;
        loss(test.device(), shapes, size.batch, type, scale, test.input(logits), test.input(q), test.input(labels),
             training ? test.input(target) : nullptr, stats, grad_logits, grad_q);

        const std::vector<double> logit_values = doubles(logits), q_values = doubles(q),
                                  target_values = doubles(target);
        std::vector<double> expected(batch * kRowStats), expected_logits(batch * row), expected_q(batch * 2);
        std::vector<double> scratch(static_cast<size_t>(size.V));
        for (size_t b = 0; b < batch; ++b)
          reference::row_loss(shapes, type, scale, &logit_values[b * row], &q_values[b * 2],
                              &labels[b * static_cast<size_t>(size.T)], training ? &target_values[b] : nullptr,
                              &expected[b * kRowStats], training ? &expected_logits[b * row] : nullptr,
                              training ? &expected_q[b * 2] : nullptr, scratch.data());
        const std::vector<double> got = test.read(stats);
        double worst = 0;
        for (size_t i = 0; i < got.size(); ++i) {
          const double error = std::abs(got[i] - expected[i]) / std::max(1.0, std::abs(expected[i]));
          worst = std::isfinite(error) ? std::max(worst, error) : error;
        }
        const std::string label = (type == LossType::softmax_cross_entropy ? "softmax " : "stablemax ") +
                                  std::to_string(size.batch) + " x " + std::to_string(size.T) + ", V " +
                                  std::to_string(size.V);
        test.check(label + " statistics", worst, kStatLimit);
        if (training) {
          test.near(label + " logits", test.read(grad_logits), expected_logits, kFloatLimit);
          test.near(label + " q", test.read(grad_q), expected_q, kFloatLimit);
        }
        test.finish();
      }
}

KERNEL_TEST("loss: of a sequence does not depend on those around it") {
  const Shapes shapes{.T = 50, .P = 0, .D = 32, .NH = 1, .F = 32, .V = 11, .E = 0};
  std::vector<float> logits = test.normal(3 * 550, 2.0);
  const std::vector<float> q = test.normal(6);
  std::vector<int32_t> labels;
  draw_labels(test, {2, 50, 11}, logits, labels);
  labels.insert(labels.end(), labels.begin(), labels.begin() + 50);
  std::copy_n(logits.begin(), 550, logits.begin() + 1100);
  double *together = test.output<double>(3 * kRowStats), *alone = test.output<double>(kRowStats);
  loss(test.device(), shapes, 3, LossType::stablemax_cross_entropy, 1, test.input(logits), test.input(q),
       test.input(labels), nullptr, together, nullptr, nullptr);
  loss(test.device(), shapes, 1, LossType::stablemax_cross_entropy, 1, test.input(logits), test.input(q),
       test.input(labels), nullptr, alone, nullptr, nullptr);
  const std::vector<double> all = test.read(together), one = test.read(alone);
  test.equal("statistics", std::vector<double>(all.begin(), all.begin() + kRowStats), one);
  test.equal("loss of the same tokens", std::vector<double>{all[2 * kRowStats + kLmLoss]}, {one[kLmLoss]});
}

}  // namespace hrm::cuda::test
