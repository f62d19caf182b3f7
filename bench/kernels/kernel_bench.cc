// Speed of the CPU backend per step and shape, against the fused multiply-add peak measured in the same process.
//   hrm_kernel_bench [--isa NAME] [--threads N] [--shape TEXT] [--seconds S]
// Each figure is the best of several runs within S seconds; a training step's is put together from its steps' figures.

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "cpu/cpu_backend.h"

namespace {

using namespace hrm;

struct BenchShape {
  const char* name;
  Shapes shapes;
  int64_t batch;
  int layers;  // of each of the two modules
};

const std::vector<BenchShape> kShapes = {
    {"tiny", {.T = 16, .P = 1, .D = 64, .NH = 2, .F = 256, .V = 6, .E = 64}, 64, 1},
    {"small", {.T = 81, .P = 1, .D = 128, .NH = 4, .F = 512, .V = 11, .E = 128}, 32, 2},
    {"paper b1", {.T = 81, .P = 1, .D = 512, .NH = 8, .F = 1536, .V = 11, .E = 512}, 1, 4},
    {"paper b8", {.T = 81, .P = 1, .D = 512, .NH = 8, .F = 1536, .V = 11, .E = 512}, 8, 4},
    {"maze b2", {.T = 900, .P = 1, .D = 512, .NH = 8, .F = 1536, .V = 6, .E = 512}, 2, 4},
};

// Module passes of a segment with 2x2 cycles: 4 of the L-level, 2 of the H-level; a training step runs two segments and
// one backward of each module.
constexpr int kPasses = 6;

class Bench {
 public:
  /// Tensors of the one backend serve the other, too.
  Bench(Backend& backend, Backend& int8, double seconds, double peak)
      : backend_(backend), int8_(int8), seconds_(seconds), peak_(peak) {}

  void run(const BenchShape& shape) const {
    const Shapes& s = shape.shapes;
    const BlockParams params{s, true, 10000, 1e-5};
    const auto rows = static_cast<size_t>(shape.batch * s.S());
    const double forward_flops = block_flops(s) * static_cast<double>(shape.batch);
    const BlockWeights weights = block(s);
    const Tensor x = random(rows * static_cast<size_t>(s.D), 1), grad = random(rows * static_cast<size_t>(s.D), 1);

    const double forward = best([&] { backend_.block_forward(params, shape.batch, weights, x, nullptr); });
    report(shape.name, "block forward", forward, forward_flops);
    const double inject = best([&] { backend_.inject(s, shape.batch, x, grad, grad); });
    report(shape.name, "inject", inject, 0);
    const int layers = shape.layers;
    report(shape.name, "segment", kPasses * (layers * forward + inject), kPasses * layers * forward_flops);
    const double quantised = best([&] { int8_.block_forward(params, shape.batch, weights, x, nullptr); });
    report(shape.name, "block forward, int8", quantised, forward_flops);
    report(shape.name, "segment, int8", kPasses * (layers * quantised + inject), kPasses * layers * forward_flops);

    const BlockWeights grads = block(s), m = block(s), v = block(s);
    const auto tape = backend_.make_tape(params, shape.batch);
    const double taped = best([&] { backend_.block_forward(params, shape.batch, weights, x, tape.get()); });
    report(shape.name, "block forward, taped", taped, forward_flops);
    const double backward = best([&] { backend_.block_backward(params, shape.batch, weights, *tape, grad, grads); });
    report(shape.name, "block backward", backward, 2 * forward_flops);

    const AdamParams adam{0.9, 0.95, 0.1, AdamVariant::outside};
    const double hyper_values[kHyperCount] = {1e-6, 1e-6, 100, 0.999};
    const Tensor hyper = backend_.allocate(DType::f64, kHyperCount);
    backend_.upload(hyper, hyper_values, 0, kHyperCount);
    const auto each = [&](auto step) {
      step(weights.qkv, grads.qkv, m.qkv, v.qkv);
      step(weights.o, grads.o, m.o, v.o);
      step(weights.gate_up, grads.gate_up, m.gate_up, v.gate_up);
      step(weights.down, grads.down, m.down, v.down);
    };
    const double optimiser = best([&] {
      each([&](const Tensor& w, const Tensor& g, const Tensor& mean, const Tensor& square) {
        backend_.adam_atan2(adam, hyper, w, g, mean, square);
      });
    });
    report(shape.name, "AdamATan2 of a block", optimiser, 0);
    // The first passes after an update also pack the weights, in both orientations.
    const double updated = best([&] {
      each([&](const Tensor& w, const Tensor&, const Tensor&, const Tensor&) {
        const float first = 0.01f;
        backend_.upload(w, &first, 0, 1);
      });
      backend_.block_forward(params, shape.batch, weights, x, tape.get());
      backend_.block_backward(params, shape.batch, weights, *tape, grad, grads);
    });
    report(shape.name, "both, weights new", updated, 3 * forward_flops);

    const double step = 2 * kPasses * (layers * forward + inject) + 2 * layers * (updated - forward + optimiser);
    report(shape.name, "training step", step, (2 * kPasses + 4) * layers * forward_flops);
  }

 private:
  /// Matrix products alone, of one sequence.
  static double block_flops(const Shapes& s) {
    return 2.0 * static_cast<double>(s.S()) * static_cast<double>(4 * s.D * s.D + 3 * s.D * s.F + 2 * s.S() * s.D);
  }

  Tensor random(size_t count, float size) const {
    std::vector<float> values(count);
    uint32_t state = 12345;
    for (float& value : values) {
      state = state * 1664525u + 1013904223u;
      value = size * (static_cast<float>(state >> 8) / 8388608.0f - 1.0f);
    }
    const Tensor tensor = backend_.allocate(DType::f32, count);
    backend_.upload(tensor, values.data(), 0, count);
    return tensor;
  }

  BlockWeights block(const Shapes& s) const {
    const auto D = static_cast<size_t>(s.D), F = static_cast<size_t>(s.F);
    const float size = 0.04f;
    return {random(3 * D * D, size), random(D * D, size), random(2 * F * D, size), random(D * F, size)};
  }

  double best(const std::function<void()>& body) const {
    using Clock = std::chrono::steady_clock;
    double shortest = std::numeric_limits<double>::infinity();
    const auto begin = Clock::now();
    for (int run = 0; run < 3 || std::chrono::duration<double>(Clock::now() - begin).count() < seconds_; ++run) {
      const auto start = Clock::now();
      body();
      shortest = std::min(shortest, std::chrono::duration<double>(Clock::now() - start).count());
    }
    return shortest;
  }

  /// flops 0: bound by memory, time alone counts.
  void report(const char* shape, const char* step, double seconds, double flops) const {
    std::printf("%-9s %-22s %10.1f us", shape, step, seconds * 1e6);
    if (flops > 0)
      std::printf(" %7.1f GFLOP/s %5.1f %% of peak", flops / seconds * 1e-9, flops / seconds * 1e-7 / peak_);
    std::printf("\n");
  }

  Backend& backend_;
  Backend& int8_;
  const double seconds_, peak_;
};

}  // namespace

int main(int count, char** words) {
  CpuOptions options;
  std::string filter;
  double seconds = 0.5;
  for (int i = 1; i + 1 < count; i += 2) {
    const std::string word = words[i], value = words[i + 1];
    if (word == "--isa") options.isa = value;
    if (word == "--threads") options.threads = std::atoi(value.c_str());
    if (word == "--shape") filter = value;
    if (word == "--seconds") seconds = std::atof(value.c_str());
  }
  const auto backend = make_cpu_backend(options);
  options.precision = Precision::int8;
  const auto int8 = make_cpu_backend(options);
  const double peak = fma_gflops(options.isa, options.threads, 500);
  std::printf("%s and %s, fused multiply-add peak %.1f GFLOP/s\n", backend->describe().c_str(),
              int8->describe().c_str(), peak);
  for (const BenchShape& shape : kShapes)
    if (std::string(shape.name).find(filter) != std::string::npos) Bench(*backend, *int8, seconds, peak).run(shape);
}
