// Linear layers, their epilogues and their gradients against sums in double.

#include <cmath>
#include <cstdlib>
#include <string>
#include <vector>

#include "test/cuda/activation_rows.h"
#include "test/cuda/harness.h"

namespace hrm::cuda::test {
namespace {

using Values = std::vector<float>;
using Reals = std::vector<double>;

// Rows 1, 31, 33, 81, 82, 130; head sizes 32, 64, 96, 128.
const std::vector<BlockSizes> kSizes = {
    {1, 1, 32, 1, 32, 1e-5f},    {1, 31, 64, 1, 96, 1e-5f},   {3, 11, 96, 3, 160, 1e-5f}, {1, 81, 128, 2, 256, 1e-5f},
    {2, 41, 128, 1, 512, 1e-5f}, {2, 65, 192, 3, 256, 1e-5f}, {5, 26, 192, 2, 32, 1e-5f}, {1, 33, 512, 8, 256, 1e-5f},
};
// Two sequences, two heads, ragged blocks in both directions.
constexpr BlockSizes kRagged = {2, 41, 192, 2, 160, 1e-5f};

std::string name_of(Format format, const BlockSizes& sizes) {
  return std::string(format == Format::bf16 ? "bf16" : "f32") + ", rows " + std::to_string(sizes.batch) + " x " +
         std::to_string(sizes.S) + ", D " + std::to_string(sizes.D) + ", heads " + std::to_string(sizes.heads) +
         ", F " + std::to_string(sizes.F);
}

/// The blocks that a product is done in, see launch_matmul().
enum class Shape { large, medium, small };

/// While it lives, devices are made with this many multiprocessors; only pretended ones can be told.
class Multiprocessors {
 public:
  explicit Multiprocessors(int64_t count) {
    if (const char* const kept = std::getenv(kName)) kept_ = kept;
    setenv(kName, std::to_string(count).c_str(), 1);
  }
  ~Multiprocessors() { setenv(kName, kept_.c_str(), 1); }

 private:
  static constexpr const char* kName = "HRM_CUDA_HOST_MULTIPROCESSORS";
  std::string kept_;
};

/// A device that does a product of this size in blocks of this shape.
Device device_for(Shape shape, int64_t rows, int64_t columns) {
  const int64_t large_blocks = (rows + 127) / 128 * ((columns + 127) / 128);
  const Multiprocessors pretended(shape == Shape::large ? 1 : shape == Shape::medium ? large_blocks + 1 : 1 << 20);
  return Device(0);
}

/// out [rows, columns] = sum over k of a[row, k] b[column, k], of which the distances in memory are given.
Reals product(int64_t rows, int64_t columns, int64_t depth, const Values& a, int64_t a_row, int64_t a_depth,
              const Values& b, int64_t b_column, int64_t b_depth) {
  Reals out;
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t column = 0; column < columns; ++column) {
      double sum = 0;
      for (int64_t k = 0; k < depth; ++k) {
        sum += double{a[row * a_row + k * a_depth]} * double{b[column * b_column + k * b_depth]};
      }
      out.push_back(sum);
    }
  }
  return out;
}

Values joined(Values a, const Values& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

double sigmoid(double x) { return 1.0 / (1.0 + std::exp(-x)); }

ActivationRows rows_of(Test& test, Format format, const BlockSizes& sizes) {
  return ActivationRows(test, format, sizes.rows(), sizes.D, sizes.norm_eps);
}

struct Tables {
  Values cosines, sines;  // [S, head size / 2]

  explicit Tables(const BlockSizes& sizes) {
    const int64_t half = sizes.D / sizes.heads / 2;
    for (int64_t s = 0; s < sizes.S; ++s) {
      for (int64_t d = 0; d < half; ++d) {
        const double angle =
            static_cast<double>(s) * std::pow(1e4, -static_cast<double>(d) / static_cast<double>(half));
        cosines.push_back(static_cast<float>(std::cos(angle)));
        sines.push_back(static_cast<float>(std::sin(angle)));
      }
    }
  }
};

Values check_qkv(Test& test, Format format, const BlockSizes& sizes, bool rotated) {
  const int64_t rows = sizes.rows(), D = sizes.D, half = D / sizes.heads / 2;
  const ActivationRows in = rows_of(test, format, sizes);
  const Values weight = test.normal(format, 3 * D * D);
  const Tables tables(sizes);
  Reals expected = product(rows, 3 * D, D, in.x, D, 1, weight, D, 1);
  for (int64_t row = 0; row < rows; ++row) {
    double* const out = &expected[row * 3 * D];
    for (int64_t i = 0; i < 3 * D; ++i) out[i] *= double{in.factor(row)};
    for (int64_t i = 0; rotated && i < 2 * D; ++i) {
      if (i / half % 2 == 1) continue;
      const int64_t entry = row % sizes.S * half + i % half;
      const double x1 = out[i], x2 = out[i + half], c = double{tables.cosines[entry]}, s = double{tables.sines[entry]};
      out[i] = x1 * c - x2 * s;
      out[i + half] = x2 * c + x1 * s;
    }
  }
  void* const qkv = test.output(format, rows * 3 * D);
  qkv_forward(test.device(), format, sizes, in.input(test, format), test.input(format, weight),
              rotated ? RopeTable{test.input(tables.cosines), test.input(tables.sines)} : RopeTable{}, qkv);
  const Values stored = test.read(format, qkv);
  test.near(std::string(rotated ? "qkv, " : "qkv not rotated, ") + name_of(format, sizes), stored, expected,
            test.limit(format));
  return stored;
}

Values check_residual(Test& test, Format format, const BlockSizes& sizes, bool in_place) {
  const int64_t rows = sizes.rows(), D = sizes.D, K = sizes.F;
  const ActivationRows in = rows_of(test, format, sizes);
  const Values a = test.normal(format, rows * K), weight = test.normal(format, D * K, 0.125);
  Reals expected = product(rows, D, K, a, K, 1, weight, K, 1);
  for (int64_t i = 0; i < rows * D; ++i) expected[i] += double{in.x[i]} * double{in.factor(i / D)};
  void* const x = in_place ? test.in_out(format, in.x) : test.input(format, in.x);
  void* const out = in_place ? x : test.output(format, rows * D);
  float* const sums = test.output<float>(rows * D / kNormGroup);
  residual_forward(test.device(), format, sizes, K, test.input(format, a), test.input(format, weight),
                   {x, test.input(in.sums)}, {out, sums});
  const std::string name = std::string(in_place ? "residual in place, " : "residual, ") + name_of(format, sizes);
  const Values stored = test.read(format, out);
  test.near(name, stored, expected, test.limit(format));
  Reals squares(rows * D / kNormGroup);
  for (int64_t i = 0; i < rows * D; ++i) squares[i / kNormGroup] += double{stored[i]} * double{stored[i]};
  test.near(name + ", sums of squares", test.read(sums), squares, kFloatLimit);
  return joined(stored, test.read(sums));
}

Values check_swiglu(Test& test, Format format, const BlockSizes& sizes) {
  const int64_t rows = sizes.rows(), D = sizes.D, F = sizes.F;
  const ActivationRows in = rows_of(test, format, sizes);
  // Gates of about 1, where silu bends.
  const Values weight = test.normal(format, 2 * F * D, 1 / std::sqrt(static_cast<double>(D)));
  Reals gate_up = product(rows, 2 * F, D, in.x, D, 1, weight, D, 1), hidden;
  for (int64_t row = 0; row < rows; ++row) {
    double *const gate = &gate_up[row * 2 * F], *const up = gate + F;
    for (int64_t i = 0; i < 2 * F; ++i) gate[i] *= double{in.factor(row)};
    for (int64_t i = 0; i < F; ++i) hidden.push_back(gate[i] * sigmoid(gate[i]) * up[i]);
  }
  const Activation x = in.input(test, format);
  const void* const w = test.input(format, weight);
  void *const kept = test.output(format, rows * 2 * F), *const out = test.output(format, rows * F);
  void* const alone = test.output(format, rows * F);
  swiglu_forward(test.device(), format, sizes, x, w, kept, out);
  swiglu_forward(test.device(), format, sizes, x, w, nullptr, alone);
  const std::string name = "swiglu, " + name_of(format, sizes);
  test.near(name + ", gate and up", test.read(format, kept), gate_up, test.limit(format));
  test.near(name, test.read(format, out), hidden, test.limit(format));
  test.equal(name + ", without gate and up", test.read(format, alone), test.read(format, out));
  return joined(test.read(format, kept), test.read(format, out));
}

Values check_swiglu_gradient(Test& test, Format format, const BlockSizes& sizes) {
  const int64_t rows = sizes.rows(), D = sizes.D, F = sizes.F;
  const Values grad_out = test.normal(format, rows * D), weight = test.normal(format, D * F);
  const Values gate_up = test.normal(format, rows * 2 * F, 2);
  const Reals grad_hidden = product(rows, F, D, grad_out, D, 1, weight, 1, F);
  Reals expected(rows * 2 * F), hidden;
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t i = 0; i < F; ++i) {
      const double gate = double{gate_up[row * 2 * F + i]}, up = double{gate_up[row * 2 * F + F + i]};
      const double s = sigmoid(gate), grad = grad_hidden[row * F + i];
      expected[row * 2 * F + i] = grad * up * s * (1 + gate * (1 - s));
      expected[row * 2 * F + F + i] = grad * gate * s;
      hidden.push_back(gate * s * up);
    }
  }
  const void *const grad = test.input(format, grad_out), *const w = test.input(format, weight);
  void *const grads = test.output(format, rows * 2 * F), *const product = test.output(format, rows * F);
  swiglu_input_gradient(test.device(), format, sizes, grad, w, test.input(format, gate_up), grads, product);
  const std::string name = "gradient through swiglu, " + name_of(format, sizes);
  test.near(name, test.read(format, grads), expected, test.limit(format));
  test.near(name + ", hidden", test.read(format, product), hidden, test.limit(format));
  void *const both = test.in_out(format, gate_up), *const anew = test.output(format, rows * F);
  swiglu_input_gradient(test.device(), format, sizes, grad, w, both, both, anew);
  test.equal(name + ", in place", test.read(format, both), test.read(format, grads));
  return joined(test.read(format, grads), test.read(format, product));
}

Values check_input_gradient(Test& test, Format format, const BlockSizes& sizes, bool added) {
  const int64_t rows = sizes.rows(), K = sizes.F, N = sizes.D;
  const Values grad_out = test.normal(format, rows * K), weight = test.normal(format, K * N);
  const Values addend = test.normal(format, rows * N, 16);
  Reals expected = product(rows, N, K, grad_out, K, 1, weight, 1, N);
  for (int64_t i = 0; added && i < rows * N; ++i) expected[i] += double{addend[i]};
  const void *const grad = test.input(format, grad_out), *const w = test.input(format, weight);
  void* const out = test.output(format, rows * N);
  input_gradient(test.device(), format, rows, K, N, grad, w, added ? test.input(format, addend) : nullptr, out);
  const std::string name = std::string(added ? "input gradient added, " : "input gradient, ") + name_of(format, sizes);
  const Values grads = test.read(format, out);
  test.near(name, grads, expected, test.limit(format));
  if (added) {
    void* const both = test.in_out(format, addend);
    input_gradient(test.device(), format, rows, K, N, grad, w, both, both);
    test.equal(name + ", in place", test.read(format, both), grads);
  }
  return grads;
}

/// The check on devices that use each shape in turn, which must give the same bits. columns: of the check's product
template <typename Check>
void in_all_shapes(Test& test, const std::string& name, Format format, const BlockSizes& sizes, int64_t columns,
                   const Check& check) {
  std::vector<Shape> shapes = {Shape::large};
  if (format == Format::bf16) shapes = {Shape::large, Shape::medium, Shape::small};
  Values first;
  for (const Shape shape : shapes) {
    Device device = device_for(shape, sizes.rows(), columns);
    Test there(device, name);  // draws the same numbers each time
    const Values out = check(there);
    there.finish();
    test.check(name + ", " + name_of(format, sizes) + ", failures", there.failed(), 0);
    if (shape == Shape::large) first = out;
    test.equal(name + ", " + name_of(format, sizes) + ", in blocks of every shape", out, first);
  }
}

KERNEL_TEST("linear layers and gradients of their inputs") {
  for (const Format format : {Format::bf16, Format::f32}) {
    for (const BlockSizes& sizes : kSizes) {
      in_all_shapes(test, "qkv", format, sizes, 3 * sizes.D,
                    [&](Test& there) { return check_qkv(there, format, sizes, true); });
      in_all_shapes(test, "residual", format, sizes, sizes.D,
                    [&](Test& there) { return check_residual(there, format, sizes, false); });
      in_all_shapes(test, "swiglu", format, sizes, 2 * sizes.F,
                    [&](Test& there) { return check_swiglu(there, format, sizes); });
      in_all_shapes(test, "swiglu gradient", format, sizes, sizes.F,
                    [&](Test& there) { return check_swiglu_gradient(there, format, sizes); });
      in_all_shapes(test, "input gradient", format, sizes, sizes.D,
                    [&](Test& there) { return check_input_gradient(there, format, sizes, true); });
    }
    in_all_shapes(test, "qkv not rotated", format, kRagged, 3 * kRagged.D,
                  [&](Test& there) { return check_qkv(there, format, kRagged, false); });
    in_all_shapes(test, "residual in place", format, kRagged, kRagged.D,
                  [&](Test& there) { return check_residual(there, format, kRagged, true); });
    in_all_shapes(test, "input gradient alone", format, kRagged, kRagged.D,
                  [&](Test& there) { return check_input_gradient(there, format, kRagged, false); });
  }
}

/// What a sequence's rows are computed from, [rows, …] each, and by.
struct Layers {
  Values x, sums, attended, grad_out;
  Values qkv_weight, residual_weight, gate_up_weight;
};

/// Outputs of every function but weight_gradient(), [rows, …] each.
std::vector<Values> outputs_of(Test& test, Format format, const BlockSizes& sizes, const Layers& in) {
  const int64_t rows = sizes.rows(), D = sizes.D, F = sizes.F;
  const Activation x = {test.input(format, in.x), test.input(in.sums)};
  const Tables tables(sizes);
  const void *const down = test.input(format, in.residual_weight), *const grad = test.input(format, in.grad_out);
  void *const qkv = test.output(format, rows * 3 * D), *const gate_up = test.output(format, rows * 2 * F);
  void *const hidden = test.output(format, rows * F), *const sum = test.output(format, rows * D);
  void *const grad_in = test.output(format, rows * D), *const grad_gate_up = test.output(format, rows * 2 * F);
  void* const anew = test.output(format, rows * F);
  float* const sums = test.output<float>(rows * D / kNormGroup);
  qkv_forward(test.device(), format, sizes, x, test.input(format, in.qkv_weight),
              {test.input(tables.cosines), test.input(tables.sines)}, qkv);
  residual_forward(test.device(), format, sizes, F, test.input(format, in.attended), down, x, {sum, sums});
  swiglu_forward(test.device(), format, sizes, x, test.input(format, in.gate_up_weight), gate_up, hidden);
  input_gradient(test.device(), format, rows, D, D, grad, test.input(format, in.qkv_weight), nullptr, grad_in);
  swiglu_input_gradient(test.device(), format, sizes, grad, down, gate_up, grad_gate_up, anew);
  std::vector<Values> out = {test.read(sums)};
  for (const void* const buffer : {qkv, gate_up, hidden, sum, grad_in, grad_gate_up, anew}) {
    out.push_back(test.read(format, buffer));
  }
  return out;
}

/// The rows of one sequence of `batch`.
Values sequence_of(const Values& values, int64_t batch, int64_t sequence) {
  const auto length = static_cast<int64_t>(values.size()) / batch;
  return Values(values.begin() + sequence * length, values.begin() + (sequence + 1) * length);
}

KERNEL_TEST("a sequence in a batch as alone, in linear layers") {
  for (const Format format : {Format::bf16, Format::f32}) {
    // In bf16 enough for large blocks on this device; alone a sequence is done in small ones.
    const int64_t S = 33, batch = format == Format::bf16 ? test.device().info().multiprocessors * 128 / S + 1 : 5;
    BlockSizes sizes = {batch, S, 32, 1, 64, 1e-5f};
    const ActivationRows rows = rows_of(test, format, sizes);
    const Layers in = {.x = rows.x,
                       .sums = rows.sums,
                       .attended = test.normal(format, sizes.rows() * sizes.F),
                       .grad_out = test.normal(format, sizes.rows() * sizes.D),
                       .qkv_weight = test.normal(format, 3 * sizes.D * sizes.D),
                       .residual_weight = test.normal(format, sizes.D * sizes.F),
                       .gate_up_weight = test.normal(format, 2 * sizes.F * sizes.D)};
    const std::vector<Values> together = outputs_of(test, format, sizes, in);
    sizes.batch = 1;
    for (const int64_t sequence : {int64_t{0}, batch / 2, batch - 1}) {
      Layers one = in;
      for (Values* const values : {&one.x, &one.sums, &one.attended, &one.grad_out}) {
        *values = sequence_of(*values, batch, sequence);
      }
      const std::vector<Values> alone = outputs_of(test, format, sizes, one);
      for (size_t i = 0; i < alone.size(); ++i) {
        test.equal(name_of(format, sizes) + ", sequence " + std::to_string(sequence) + " of " + std::to_string(batch) +
                       ", output " + std::to_string(i),
                   sequence_of(together[i], batch, sequence), alone[i]);
      }
    }
  }
}

KERNEL_TEST("hidden units of the backward pass as of the forward pass") {
  for (const Format format : {Format::bf16, Format::f32}) {
    const ActivationRows in = rows_of(test, format, kRagged);
    const int64_t rows = kRagged.rows(), D = kRagged.D, F = kRagged.F;
    void *const gate_up = test.output(format, rows * 2 * F), *const grads = test.output(format, rows * 2 * F);
    void *const hidden = test.output(format, rows * F), *const anew = test.output(format, rows * F);
    swiglu_forward(test.device(), format, kRagged, in.input(test, format),
                   test.input(format, test.normal(format, 2 * F * D)), gate_up, hidden);
    swiglu_input_gradient(test.device(), format, kRagged, test.input(format, test.normal(format, rows * D)),
                          test.input(format, test.normal(format, D * F)), gate_up, grads, anew);
    test.equal(name_of(format, kRagged), test.read(format, anew), test.read(format, hidden));
  }
}

KERNEL_TEST("weight gradients") {
  struct Size {
    int64_t rows, N, K;
    size_t splits;
  };
  for (const Format format : {Format::bf16, Format::f32}) {
    for (const auto& [rows, N, K, splits] : std::vector<Size>{{1, 32, 64, 1},
                                                              {31, 96, 32, 1},
                                                              {33, 32, 160, 1},
                                                              {82, 192, 128, 1},
                                                              {130, 64, 512, 1},
                                                              {256, 160, 96, 1},
                                                              {257, 96, 32, 2},
                                                              {1100, 32, 160, 5}}) {
      const Values grad_out = test.normal(format, rows * N), in = test.normal(format, rows * K);
      const Reals expected = product(N, K, rows, grad_out, 1, N, in, 1, K);
      const void *const g = test.input(format, grad_out), *const x = test.input(format, in);
      const size_t bytes = weight_gradient_workspace(test.device(), format, rows, N, K);
      float* const grad = test.output<float>(N * K);
      weight_gradient(test.device(), format, rows, N, K, g, x, grad, test.workspace(bytes));
      const std::string name = std::string(format == Format::bf16 ? "bf16" : "f32") + ", rows " + std::to_string(rows) +
                               ", N " + std::to_string(N) + ", K " + std::to_string(K);
      test.near(name, test.read(grad), expected, kFloatLimit);
      test.check(name + ", splits", bytes == (splits == 1 ? 0 : splits * N * K * sizeof(float)) ? 0 : 1, 0);
      float* const again = test.output<float>(N * K);
      weight_gradient(test.device(), format, rows, N, K, g, x, again, test.workspace(bytes));
      test.equal(name + ", twice", test.read(again), test.read(grad));
      test.finish();
    }
  }
}

}  // namespace
}  // namespace hrm::cuda::test
