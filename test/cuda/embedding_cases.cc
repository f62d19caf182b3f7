#include "cpu/reference/embedding.h"
#include "test/cuda/activation_rows.h"

namespace hrm::cuda::test {
namespace {

struct Size {
  int64_t batch, T, P, D, V, E;
  bool learned;
  Shapes shapes() const { return {.T = T, .P = P, .D = D, .NH = 1, .F = D, .V = V, .E = E}; }
  std::string label(Format format) const {
    return name_of(format) + " " + std::to_string(batch) + " x (" + std::to_string(P) + " + " + std::to_string(T) +
           ") x " + std::to_string(D) + ", V " + std::to_string(V) + (learned ? ", learned positions" : "");
  }
};

std::vector<int32_t> draw_tokens(Test& test, const Size& size, bool mostly_one) {
  std::vector<int32_t> tokens;
  for (int64_t i = 0; i < size.batch * size.T; ++i) {
    const int64_t token = test.integer(0, size.V - 1);
    tokens.push_back(static_cast<int32_t>(mostly_one && test.uniform() < 0.9 ? size.V / 2 : token));
  }
  return tokens;
}

}  // namespace

KERNEL_TEST("embed_forward: puzzle positions, tokens, learned positions") {
  for (const Format format : {Format::bf16, Format::f32})
    for (const Size size :
         {Size{1, 1, 0, 32, 3, 0, false}, Size{3, 31, 1, 64, 11, 64, false}, Size{2, 33, 2, 96, 12, 150, true},
          Size{5, 9, 1, 192, 7, 33, false}, Size{1, 20, 0, 512, 6, 0, true}}) {
      const Shapes shapes = size.shapes();
      const auto rows = static_cast<size_t>(size.batch * shapes.S()), width = static_cast<size_t>(size.D);
      const std::vector<float> weights = test.normal(static_cast<size_t>(size.V) * width),
                               positions = test.normal(static_cast<size_t>(shapes.S()) * width),
                               puzzle_rows = test.normal(static_cast<size_t>(size.batch * size.E));
      const std::vector<int32_t> tokens = draw_tokens(test, size, false);
      const Activation x{test.output(format, rows * width), test.output<float>(rows * width / kNormGroup)};
      embed_forward(test.device(), format, shapes, size.batch, test.input(weights),
                    size.learned ? test.input(positions) : nullptr, test.input(tokens),
                    size.E > 0 ? test.input(puzzle_rows) : nullptr, x);
      std::vector<double> expected(rows * width);
      const auto stored = [&](const std::vector<float>& values) { return doubles(Test::rounded(format, values)); };
      reference::embed_forward(shapes, size.batch, stored(weights).data(),
                               size.learned ? stored(positions).data() : nullptr, tokens.data(),
                               stored(puzzle_rows).data(), expected.data());
      test.near(size.label(format), test.read(format, x.x), expected, test.limit(format));
      test.equal("sums", test.read(x.sums), std::vector<float>(rows * width / kNormGroup, -1.0f));
      test.finish();
    }
}

KERNEL_TEST("embed_backward: every gradient, the same bits twice") {
  for (const Format format : {Format::bf16, Format::f32})
    for (const bool mostly_one : {false, true})
      for (const Size size : {Size{1, 1, 0, 32, 1, 0, false}, Size{13, 81, 1, 64, 11, 64, false},
                              Size{3, 130, 2, 96, 257, 150, true}, Size{2, 33, 0, 192, 16, 0, false},
                              Size{40, 31, 1, 32, 5000, 20, true}, Size{150, 120, 0, 32, 20, 0, false}}) {
        const Shapes shapes = size.shapes();
        const auto sequence = static_cast<size_t>(shapes.S() * size.D), batch = static_cast<size_t>(size.batch);
        const std::vector<float> grad_x = test.normal(format, batch * sequence);
        const std::vector<int32_t> tokens = draw_tokens(test, size, mostly_one);
        const int32_t* tokens_buffer = test.input(tokens);
        const void* grad_buffer = test.input(format, grad_x);
        std::vector<double> expected(static_cast<size_t>(size.V * size.D)), expected_positions(sequence),
            expected_rows(batch * static_cast<size_t>(size.E));
        reference::embed_backward(shapes, size.batch, tokens.data(), doubles(grad_x).data(), expected.data(),
                                  size.learned ? expected_positions.data() : nullptr, expected_rows.data());
        std::vector<float> first;
        for (const bool again : {false, true}) {
          float* grad_tokens = test.output<float>(expected.size());
          float* grad_positions = size.learned ? test.output<float>(sequence) : nullptr;
          float* grad_rows = size.E > 0 ? test.output<float>(expected_rows.size()) : nullptr;
          void* workspace = test.workspace(embed_backward_workspace(test.device(), shapes, size.batch));
          embed_backward(test.device(), format, shapes, size.batch, tokens_buffer, grad_buffer, grad_tokens,
                         grad_positions, grad_rows, workspace);
          if (again) {
            test.equal("again", test.read(grad_tokens), first);
            continue;
          }
          first = test.read(grad_tokens);
          const std::string label = size.label(format) + (mostly_one ? ", mostly one token" : "");
          test.near(label, first, expected, kFloatLimit);
          if (grad_positions) test.near("positions", test.read(grad_positions), expected_positions, kFloatLimit);
          if (grad_rows) test.near("puzzle rows", test.read(grad_rows), expected_rows, kFloatLimit);
        }
        test.finish();
      }
}

KERNEL_TEST("embed_backward: a vocabulary of 2^20") {
  const Size size{2, 700, 0, 32, int64_t{1} << 20, 0, false};
  const Shapes shapes = size.shapes();
  const std::vector<float> grad_x = test.normal(static_cast<size_t>(size.batch * size.T * size.D));
  std::vector<int32_t> tokens = draw_tokens(test, size, false);
  tokens[3] = tokens[900] = static_cast<int32_t>(size.V - 1);
  std::vector<double> expected(static_cast<size_t>(size.V * size.D));
  reference::embed_backward(shapes, size.batch, tokens.data(), doubles(grad_x).data(), expected.data(),
                            static_cast<double*>(nullptr), static_cast<double*>(nullptr));
  float* grad_tokens = test.output<float>(expected.size());
  embed_backward(test.device(), Format::f32, shapes, size.batch, test.input(tokens), test.input(grad_x), grad_tokens,
                 nullptr, nullptr, test.workspace(embed_backward_workspace(test.device(), shapes, size.batch)));
  test.near("tokens", test.read(grad_tokens), expected, kFloatLimit);
}

KERNEL_TEST("gather_rows: rows by their ids") {
  for (const int64_t width : {1, 32, 70}) {
    const std::vector<float> table = test.normal(static_cast<size_t>(50 * width));
    const std::vector<int32_t> ids = {49, 0, 7, 7, 13};
    float* rows = test.output<float>(ids.size() * static_cast<size_t>(width));
    gather_rows(test.device(), static_cast<int64_t>(ids.size()), width, test.input(table), test.input(ids), rows);
    std::vector<float> expected(ids.size() * static_cast<size_t>(width));
    reference::gather_rows(static_cast<int64_t>(ids.size()), width, table.data(), ids.data(), expected.data());
    test.equal("width " + std::to_string(width), test.read(rows), expected);
    test.finish();
  }
}

}  // namespace hrm::cuda::test
