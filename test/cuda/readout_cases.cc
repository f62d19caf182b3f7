#include <limits>

#include "cpu/reference/readout.h"
#include "test/cuda/activation_rows.h"

namespace hrm::cuda::test {
namespace {

struct Size {
  int64_t batch, T, P, D, V;
  Shapes shapes() const { return {.T = T, .P = P, .D = D, .NH = 1, .F = D, .V = V, .E = 0}; }
  std::string label(Format format) const {
    return name_of(format) + " " + std::to_string(batch) + " x (" + std::to_string(P) + " + " + std::to_string(T) +
           ") x " + std::to_string(D) + ", V " + std::to_string(V);
  }
};
constexpr Size kSizes[] = {{1, 1, 0, 32, 1},   {2, 31, 1, 64, 2},  {3, 33, 0, 96, 11}, {1, 81, 1, 128, 45},
                           {2, 40, 3, 192, 7}, {1, 9, 1, 512, 11}, {70, 4, 1, 32, 33}, {1, 3, 2, 64, 1000}};

/// Weights of the heads in a format, and as the references in double read them.
struct Heads {
  std::vector<float> lm, q, bias;
  std::vector<double> lm_values, q_values, bias_values;

  Heads(Test& test, Format format, const Size& size)
      : lm(test.normal(format, static_cast<size_t>(size.V * size.D), 0.1)),
        q(test.normal(format, static_cast<size_t>(2 * size.D), 0.1)),
        bias(test.normal(2)),
        lm_values(doubles(lm)),
        q_values(doubles(q)),
        bias_values(doubles(bias)) {}

  reference::HeadPointers<double> pointers() { return {lm_values.data(), q_values.data(), bias_values.data()}; }
};

}  // namespace

KERNEL_TEST("readout_forward: logits of the tokens, q of the first position") {
  for (const Format format : {Format::bf16, Format::f32})
    for (const Size& size : kSizes) {
      const Shapes shapes = size.shapes();
      Heads heads(test, format, size);
      const ActivationRows z(test, format, size.batch * shapes.S(), size.D);
      const void *lm = test.input(format, heads.lm), *q_weight = test.input(format, heads.q);
      const float* bias = test.input(heads.bias);
      const Activation z_h = z.input(test, format);
      std::vector<double> expected(static_cast<size_t>(size.batch * size.T * size.V)),
          expected_q(static_cast<size_t>(size.batch * 2));
      reference::readout_forward(shapes, size.batch, heads.pointers(), doubles(z.operands(format)).data(),
                                 expected.data(), expected_q.data());
      float *logits = test.output<float>(expected.size()), *q = test.output<float>(expected_q.size()),
            *q_alone = test.output<float>(expected_q.size());
      readout_forward(test.device(), format, shapes, size.batch, z.eps, lm, q_weight, bias, z_h, logits, q);
      test.near(size.label(format), test.read(logits), expected, kFloatLimit);
      test.near("q", test.read(q), expected_q, kFloatLimit);
      readout_forward(test.device(), format, shapes, size.batch, z.eps, lm, q_weight, bias, z_h, nullptr, q_alone);
      test.equal("q without logits", test.read(q_alone), test.read(q));
      test.finish();
    }
}

KERNEL_TEST("readout_forward: a sequence alone gives the bits it gives among others") {
  const Size size{5, 21, 1, 96, 11}, one{1, 21, 1, 96, 11};
  for (const Format format : {Format::bf16, Format::f32}) {
    const Heads heads(test, format, size);
    const int64_t S = size.shapes().S();
    const ActivationRows all(test, format, size.batch * S, size.D);
    const void *lm = test.input(format, heads.lm), *q_weight = test.input(format, heads.q);
    const float* bias = test.input(heads.bias);
    const auto read_out = [&](const Size& part, const ActivationRows& z) {
      float *logits = test.output<float>(static_cast<size_t>(part.batch * part.T * part.V)),
            *q = test.output<float>(static_cast<size_t>(part.batch * 2));
      readout_forward(test.device(), format, part.shapes(), part.batch, z.eps, lm, q_weight, bias,
                      z.input(test, format), logits, q);
      return std::pair{test.read(logits), test.read(q)};
    };
    const auto [logits, q] = read_out(size, all);
    std::vector<float> logits_alone, q_alone;
    for (int64_t b = 0; b < size.batch; ++b) {
      ActivationRows z = all;
      z.rows = S;
      z.x.assign(all.x.begin() + b * S * 96, all.x.begin() + (b + 1) * S * 96);
      z.sums.assign(all.sums.begin() + b * S * 3, all.sums.begin() + (b + 1) * S * 3);
      const auto [row_logits, row_q] = read_out(one, z);
      logits_alone.insert(logits_alone.end(), row_logits.begin(), row_logits.end());
      q_alone.insert(q_alone.end(), row_q.begin(), row_q.end());
    }
    test.equal(name_of(format) + " logits", logits_alone, logits);
    test.equal(name_of(format) + " q", q_alone, q);
    test.finish();
  }
}

KERNEL_TEST("readout_backward: every gradient, the same bits twice") {
  for (const Format format : {Format::bf16, Format::f32})
    for (const Size& size : kSizes) {
      const Shapes shapes = size.shapes();
      Heads heads(test, format, size);
      const ActivationRows z(test, format, size.batch * shapes.S(), size.D);
      const std::vector<float> grad_logits = test.normal(static_cast<size_t>(size.batch * size.T * size.V)),
                               grad_q = test.normal(static_cast<size_t>(size.batch * 2));
      std::vector<double> lm_grad(heads.lm.size()), q_grad(heads.q.size()), bias_grad(2), z_grad(z.x.size());
      reference::readout_backward(shapes, size.batch, heads.pointers(), doubles(z.operands(format)).data(),
                                  doubles(grad_logits).data(), doubles(grad_q).data(),
                                  reference::HeadPointers<double>{lm_grad.data(), q_grad.data(), bias_grad.data()},
                                  z_grad.data());
      const void *lm = test.input(format, heads.lm), *q_weight = test.input(format, heads.q);
      const Activation z_h = z.input(test, format);
      const float *logits_buffer = test.input(grad_logits), *q_buffer = test.input(grad_q);
      struct Results {
        std::vector<float> lm, q, bias, z;
      };
      const auto run = [&] {
        float *lm_out = test.output<float>(lm_grad.size()), *q_out = test.output<float>(q_grad.size()),
              *bias_out = test.output<float>(2);
        void* z_out = test.output(format, z_grad.size());
        readout_backward(test.device(), format, shapes, size.batch, z.eps, lm, q_weight, z_h, logits_buffer, q_buffer,
                         lm_out, q_out, bias_out, z_out,
                         test.workspace(readout_backward_workspace(test.device(), shapes, size.batch)));
        return Results{test.read(lm_out), test.read(q_out), test.read(bias_out), test.read(format, z_out)};
      };
      const Results first = run(), second = run();
      test.near(size.label(format) + " z", first.z, z_grad, test.limit(format));
      test.near("lm", first.lm, lm_grad, kFloatLimit);
      test.near("q", first.q, q_grad, kFloatLimit);
      test.near("q bias", first.bias, bias_grad, kFloatLimit);
      test.equal("again lm", second.lm, first.lm);
      test.equal("again q", second.q, first.q);
      test.equal("again q bias", second.bias, first.bias);
      test.equal("again z", second.z, first.z);
      test.finish();
    }
}

KERNEL_TEST("argmax: the lowest index on ties, as the CPU where there are NaNs") {
  constexpr float kNaN = std::numeric_limits<float>::quiet_NaN(), kInfinity = std::numeric_limits<float>::infinity();
  for (const int64_t vocab : {1, 5, 11, 32, 33, 1000}) {
    const int64_t rows = 90;
    std::vector<float> logits;
    for (int64_t i = 0; i < rows * vocab; ++i) {
      const double kind = test.uniform();
      const auto row = i / vocab;
      const auto few = static_cast<float>(test.integer(-2, 2));  // many ties
      logits.push_back(row % 3 == 0 && kind < 0.3 ? kNaN : row % 5 == 0 && kind < 0.9 ? -kInfinity : few);
    }
    int32_t* predictions = test.output<int32_t>(static_cast<size_t>(rows));
    argmax(test.device(), rows, vocab, test.input(logits), predictions);
    std::vector<int32_t> expected(static_cast<size_t>(rows));
    reference::argmax(rows, vocab, logits.data(), expected.data());
    test.equal("of " + std::to_string(vocab), test.read(predictions), expected);
    test.finish();
  }
}

}  // namespace hrm::cuda::test
