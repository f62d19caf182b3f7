// The int8 kernels of every instruction set against plain loops: codes, sums and results bit for bit, and what int8
// costs a block against exact arithmetic.

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "cpu/cpu_backend.h"
#include "cpu/reference/quantised.h"
#include "cpu/reference/swiglu.h"
#include "cpu/simd/int8_kernels.h"
#include "cpu/simd/matrix.h"
#include "test/native/backends.h"
#include "test/native/modes.h"
#include "test/native/op_table.h"

namespace hrm::optable {
namespace {

using simd::Int8Kernels;

std::vector<const Int8Kernels*> kernels_here() {
  std::vector<const Int8Kernels*> all = {&simd::kPortableInt8Kernels};
#if defined(__x86_64__)
  all.push_back(&simd::kAvx2Int8Kernels);
  all.push_back(&simd::kAvx512VnniInt8Kernels);
#endif
  const std::vector<std::string> isas = cpu_info().isas;
  std::erase_if(all, [&](const Int8Kernels* kernels) { return std::ranges::find(isas, kernels->isa) == isas.end(); });
  return all;
}

struct Size {
  int64_t rows, in, out;
};

const std::vector<Size> kSizes = {
    {1, 1, 1},    {2, 2, 3},    {3, 3, 4},    {5, 4, 5},     {4, 5, 7},      {7, 7, 8},      {6, 8, 9},
    {8, 9, 15},   {11, 15, 16}, {12, 16, 17}, {13, 17, 31},  {14, 31, 32},   {23, 32, 33},   {24, 33, 61},
    {25, 63, 64}, {2, 65, 127}, {3, 97, 63},  {84, 128, 96}, {41, 512, 512}, {82, 512, 100}, {20, 1536, 128}};

/// Elements whose bits differ; NaN equals NaN.
double different(const std::vector<float>& a, const std::vector<float>& b) {
  double count = 0;
  for (size_t i = 0; i < a.size(); ++i)
    count += std::memcmp(&a[i], &b[i], sizeof(float)) != 0 && !(std::isnan(a[i]) && std::isnan(b[i]));
  return count;
}

/// [rows, width] uniform draws whose rows have different magnitudes; `whole` fills them with the largest codes, which
/// makes the largest sums.
std::vector<float> matrix(const std::string& name, int64_t rows, int64_t width, bool whole) {
  std::vector<float> values;
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t i = 0; i < width; ++i) {
      const double value = draw(name, r, static_cast<size_t>(i)) * std::exp2(static_cast<double>(r % 9 - 4));
      values.push_back(whole ? (r % 2 ? -1.0f : 1.0f) : static_cast<float>(value));
    }
  return values;
}

/// What symmetric codes must get right: ties, rows of zeros, denormal, huge and not finite values.
std::vector<std::vector<float>> extreme_rows() {
  const float infinity = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
  return {{0, -0.0f, 0, 0, 0},
          {127, 0.5f, 1.5f, 2.5f, -2.5f},
          {-127, 126.5f, -126.5f, -0.5f, 0.49f},
          {1e-40f, -1e-40f, 0, 1e-41f},
          {1e-29f, -2e-30f, 3e-31f},
          {3e38f, -3.4028235e38f, 1e30f, 2e36f},
          {1, infinity, -1},
          {-infinity},
          {nan, 1, 2},
          {1, 2, 3, 4, 5, 6, 7, 8, -nan},
          {1, -1, 1, -1, 0.999f, -0.004f}};
}

class KernelTest {
 public:
  KernelTest(const Int8Kernels& kernels, Report& report) : kernels_(kernels), report_(report) {}

  void run() {
    for (const std::vector<float>& row : extreme_rows()) quantise("extreme", 1, static_cast<int64_t>(row.size()), row);
    for (const Size& size : kSizes)
      for (const bool whole : {false, true}) {
        const std::vector<float> x = matrix("x", size.rows, size.in, whole);
        const std::vector<float> weight = matrix("weight", size.out, size.in, whole);
        quantise(whole ? "whole" : "drawn", size.rows, size.in, x);
        linear(size, x, weight, whole);
        swiglu(size, x, matrix("gate_up", 2 * size.out, size.in, whole), whole);
      }
    std::vector<float> broken = matrix("x", 3, 40, false);
    broken[45] = std::numeric_limits<float>::quiet_NaN();
    linear({3, 40, 33}, broken, matrix("weight", 33, 40, false), false);
  }

 private:
  std::string name(const char* op, const Size& size, const char* variant) const {
    return std::string("int8 ") + kernels_.isa + " " + op + " M" + std::to_string(size.rows) + "K" +
           std::to_string(size.in) + "N" + std::to_string(size.out) + " " + variant;
  }

  simd::CodeRows quantised(int64_t rows, int64_t width, const std::vector<float>& x) {
    const int64_t floats = (width * kernels_.code_bytes + 3) / 4;
    simd::CodeRows codes{};
    codes.codes = codes_.reserve(simd::padded_size(rows, floats));
    codes.row = 4 * simd::padded_row(floats);
    codes.scales = scales_.reserve(rows);
    kernels_.quantise({rows, width, x.data(), width, codes});
    return codes;
  }

  void quantise(const char* variant, int64_t rows, int64_t width, const std::vector<float>& x) {
    const simd::CodeRows codes = quantised(rows, width, x);
    double wrong = 0;
    for (int64_t r = 0; r < rows; ++r) {
      std::vector<int32_t> expected(static_cast<size_t>(width));
      const float scale = reference::quantise_row(width, x.data() + r * width, expected.data());
      wrong += different({codes.scales[r]}, {scale});
      const char* row = static_cast<const char*>(codes.codes) + r * codes.row;
      for (int64_t i = 0; i < width; ++i) {
        int16_t wide = 0;
        if (kernels_.code_bytes == 2) std::memcpy(&wide, row + 2 * i, 2);
        const int32_t code = kernels_.code_bytes == 1 ? static_cast<unsigned char>(row[i]) - 128 : wide;
        wrong += code != expected[static_cast<size_t>(i)];
      }
    }
    report_.check(name("quantise", {rows, width, 1}, variant), wrong, 0);
  }

  void linear(const Size& size, const std::vector<float>& x, const std::vector<float>& weight, bool whole) {
    const auto [rows, in, out] = size;
    const int64_t panels = (out + kernels_.panel - 1) / kernels_.panel, row = out + 3;
    float* packed = panels_.reserve(panels * kernels_.panel_size(in));
    kernels_.pack(weight.data(), out, in, 0, panels, packed);
    std::vector<float> plain(static_cast<size_t>(rows * out));
    reference::quantised_linear_forward(rows, in, out, x.data(), weight.data(), plain.data());
    for (const bool added : {false, true}) {
      // Rows stand apart, and what is between them must stay.
      std::vector<float> y = matrix("residual", rows, row, false), expected = y;
      for (int64_t r = 0; r < rows; ++r)
        for (int64_t o = 0; o < out; ++o) {
          float& value = expected[static_cast<size_t>(r * row + o)];
          value = added ? plain[static_cast<size_t>(r * out + o)] + value : plain[static_cast<size_t>(r * out + o)];
        }
      kernels_.matmul({rows, in, out, quantised(rows, in, x), packed, y.data(), row, added ? y.data() : nullptr});
      report_.check(name(added ? "matmul-residual" : "matmul", size, whole ? "whole" : "drawn"), different(y, expected),
                    0);
    }
  }

  void swiglu(const Size& size, const std::vector<float>& x, const std::vector<float>& weight, bool whole) {
    const auto [rows, in, inner] = size;
    const int64_t half = kernels_.panel / 2, panels = (inner + half - 1) / half;
    float* packed = panels_.reserve(panels * kernels_.panel_size(in));
    kernels_.pack_gate_up(weight.data(), inner, in, 0, panels, packed);
    std::vector<float> gate_up(static_cast<size_t>(rows * 2 * inner)), hidden(static_cast<size_t>(rows * inner));
    reference::quantised_linear_forward(rows, in, 2 * inner, x.data(), weight.data(), gate_up.data());
    const std::vector<double> exact_gate_up(gate_up.begin(), gate_up.end());
    std::vector<double> exact(hidden.size());
    reference::swiglu_forward(rows, inner, exact_gate_up.data(), exact.data());
    kernels_.matmul_swiglu({rows, in, inner, quantised(rows, in, x), packed, hidden.data(), inner});
    // gate and up are exact; what follows rounds a few times, and takes e^88 for what is larger (e^-88 = 6e-39).
    double worst = 0;
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t i = 0; i < inner; ++i) {
        const double* gate = exact_gate_up.data() + r * 2 * inner + i;
        const auto at = static_cast<size_t>(r * inner + i);
        const double size_of_result = std::abs(exact[at]) + 1e-30 * std::abs(gate[0] * gate[inner]);
        if (size_of_result > 0) worst = std::max(worst, std::abs(hidden[at] - exact[at]) / size_of_result);
      }
    report_.check(name("swiglu", size, whole ? "whole" : "drawn"), worst, 0x1p-20);
  }

  const Int8Kernels& kernels_;
  Report& report_;
  const ByteCount bytes_ = new_byte_count();
  Buffer<float> panels_{bytes_}, codes_{bytes_}, scales_{bytes_};
};

double root_mean_square(const std::vector<double>& values) {
  double sum = 0;
  for (const double value : values) sum += value * value;
  return std::sqrt(sum / static_cast<double>(values.size()));
}

/// Root mean square distance of an int8 block from the block in double, relative to the values. Rounding to codes
/// leaves a uniform error of max / 127 / sqrt 12 a value, 0.2 % of the deviation times max / deviation: 4 for the rows
/// here, 10 for SwiGLU's products; summed over the operands of four layers, less than 3 %.
void compare_with_exact(const OpCase& op, const std::string& backend, Report& report) {
  const auto values = [&](const std::string& name) {
    const auto on = make_backend(name, 1);
    std::vector<int64_t> rows(static_cast<size_t>(op.batch));
    for (size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<int64_t>(i);
    Fixture fixture(*on, rows);
    op.run(fixture);
    return fixture.results.front().values;
  };
  const std::vector<double> exact = values("reference-f64"), tested = values(backend);
  std::vector<double> error(exact.size());
  for (size_t i = 0; i < exact.size(); ++i) error[i] = tested[i] - exact[i];
  report.check(backend + " for fp64 " + op.name, root_mean_square(error) / root_mean_square(exact), 0.03);
}

}  // namespace

void run_int8(const Options&, Report& report) {
  for (const Int8Kernels* kernels : kernels_here()) KernelTest(*kernels, report).run();
  for (const OpCase& op : op_cases()) {
    const bool real = op.name.starts_with("block_forward ") &&
                      (op.name.find("D128") != std::string::npos || op.name.find("D512") != std::string::npos);
    if (!op.test || !real) continue;
    for (const std::string& isa : cpu_info().isas)
      if (isa != "reference") compare_with_exact(op, "int8:" + isa, report);
  }
}

}  // namespace hrm::optable
