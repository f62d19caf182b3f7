#include "core/benchmark.h"

#include <chrono>
#include <functional>

#include "core/error.h"

namespace hrm {
namespace {

using Clock = std::chrono::steady_clock;

/// One step with the data that it works on.
struct Step {
  double flops = 0;                  // 0: bound by memory
  std::function<void()> run;         // what is timed
  std::function<void()> reset = {};  // undoes before a run what would change the next one's work; may be empty
};

/// Makes the data. A step that works in place finds its own results at the next run: values stay in a range where
/// arithmetic keeps its speed.
class Workbench {
 public:
  Workbench(Backend& backend, const ModelConfig& config, int64_t batch)
      : backend(backend), config(config), shapes(config.shapes()), params(config.block()), batch(batch) {}

  Backend& backend;
  const ModelConfig& config;
  const Shapes shapes;
  const BlockParams params;
  const int64_t batch;

  Tensor output(int64_t count) const { return backend.allocate(backend.real(), static_cast<size_t>(count)); }
  Tensor states() const { return filled(backend.allocate_activations(shapes, batch), 1); }

  /// Uniform in [-size, size].
  Tensor random(int64_t count, double size) const { return filled(output(count), size); }

  /// Integers in [0, limit).
  Tensor indices(int64_t count, int64_t limit) const {
    std::vector<int32_t> values(static_cast<size_t>(count));
    for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<int32_t>(i * 7 % static_cast<size_t>(limit));
    const Tensor tensor = backend.allocate(DType::i32, values.size());
    backend.upload(tensor, values.data(), 0, values.size());
    return tensor;
  }

  BlockWeights block() const {
    const int64_t D = shapes.D, F = shapes.F;
    const double size = 0.04;
    return {random(3 * D * D, size), random(D * D, size), random(2 * F * D, size), random(D * F, size)};
  }

  HeadWeights heads() const { return {random(shapes.V * shapes.D, 0.04), random(2 * shapes.D, 0.04), output(2)}; }

  EmbedWeights embedding() const {
    return {random(shapes.V * shapes.D, 0.04), config.rope ? Tensor() : random(shapes.S() * shapes.D, 0.04)};
  }

  /// Rates small enough to leave the weights where they are.
  Tensor hyper() const {
    double values[kHyperCount] = {};
    values[kLearningRate] = values[kPuzzleLearningRate] = 1e-6;
    values[kStep] = 100;
    values[kEmaDecay] = 0.999;
    values[kApply] = 1;
    const Tensor tensor = backend.allocate(DType::f64, kHyperCount);
    backend.upload(tensor, values, 0, kHyperCount);
    return tensor;
  }

  double block_flops() const {
    const auto S = static_cast<double>(shapes.S()), D = static_cast<double>(shapes.D);
    const auto F = static_cast<double>(shapes.F);
    return 2 * static_cast<double>(batch) * S * (4 * D * D + 3 * D * F + 2 * S * D);
  }

  double head_flops() const {
    const auto D = static_cast<double>(shapes.D), T = static_cast<double>(shapes.T), V = static_cast<double>(shapes.V);
    return 2 * static_cast<double>(batch) * D * (T * V + 2);
  }

 private:
  Tensor filled(const Tensor& tensor, double size) const {
    if (backend.real() == DType::f64)
      upload<double>(tensor, size);
    else
      upload<float>(tensor, size);
    return tensor;
  }

  template <typename T>
  void upload(const Tensor& tensor, double size) const {
    std::vector<T> values(tensor->count);
    uint32_t state = 12345;
    for (T& value : values) {
      state = state * 1664525u + 1013904223u;
      value = static_cast<T>(size * (static_cast<double>(state >> 8) / 8388608.0 - 1));
    }
    backend.upload(tensor, values.data(), 0, values.size());
  }
};

std::vector<Tensor> list_of(const BlockWeights& weights) {
  return {weights.qkv, weights.o, weights.gate_up, weights.down};
}

Step embed_forward(const Workbench& on) {
  const Tensor tokens = on.indices(on.batch * on.shapes.T, on.shapes.V), x = on.states();
  const Tensor rows = on.shapes.E ? on.random(on.batch * on.shapes.E, 1) : Tensor();
  return {.run = [=, weights = on.embedding()] {
    on.backend.embed_forward(on.shapes, on.batch, weights, tokens, rows, x);
  }};
}

Step inject(const Workbench& on) {
  return {.run = [=, z = on.states(), a = on.states(), b = on.states()] {
    on.backend.inject(on.shapes, on.batch, z, a, b);
  }};
}

Step block_forward(const Workbench& on) {
  return {.flops = on.block_flops(), .run = [=, weights = on.block(), x = on.states()] {
            on.backend.block_forward(on.params, on.batch, weights, x, nullptr);
          }};
}

Step block_forward_taped(const Workbench& on) {
  const std::shared_ptr<BlockTape> tape = on.backend.make_tape(on.params, on.batch);
  return {.flops = on.block_flops(), .run = [=, weights = on.block(), x = on.states()] {
            on.backend.block_forward(on.params, on.batch, weights, x, tape.get());
          }};
}

Step readout_forward(const Workbench& on) {
  const Tensor z_h = on.states(), q = on.output(on.batch * 2);
  const Tensor logits = on.output(on.batch * on.shapes.T * on.shapes.V);
  return {.flops = on.head_flops(), .run = [=, weights = on.heads()] {
            on.backend.readout_forward(on.shapes, on.batch, weights, z_h, logits, q);
          }};
}

Step loss(const Workbench& on) {
  const int64_t count = on.batch * on.shapes.T * on.shapes.V;
  const Tensor logits = on.random(count, 4), q = on.random(on.batch * 2, 4), target = on.random(on.batch, 1);
  const Tensor labels = on.indices(on.batch * on.shapes.T, on.shapes.V);
  const Tensor stats = on.backend.allocate(DType::f64, static_cast<size_t>(on.batch * kRowStats));
  return {.run = [=, grad_logits = on.output(count), grad_q = on.output(on.batch * 2)] {
    on.backend.loss(on.shapes, on.batch, on.config.loss_type, 1, logits, q, labels, target, stats, grad_logits, grad_q);
  }};
}

Step readout_backward(const Workbench& on) {
  const Tensor grad_logits = on.random(on.batch * on.shapes.T * on.shapes.V, 1), grad_q = on.random(on.batch * 2, 1);
  return {.flops = 2 * on.head_flops(),
          .run = [=, weights = on.heads(), grads = on.heads(), z_h = on.states(), grad_z = on.states()] {
            on.backend.readout_backward(on.shapes, on.batch, weights, z_h, grad_logits, grad_q, grads, grad_z);
          }};
}

Step block_backward(const Workbench& on) {
  const std::shared_ptr<BlockTape> tape = on.backend.make_tape(on.params, on.batch);
  const BlockWeights weights = on.block(), grads = on.block();
  const Tensor grad = on.states(), entry = on.states();
  on.backend.block_forward(on.params, on.batch, weights, on.states(), tape.get());
  return {.flops = 2 * on.block_flops(),
          .run = [=] { on.backend.block_backward(on.params, on.batch, weights, *tape, grad, grads); },
          // A gradient that goes round shrinks to denormal numbers.
          .reset = [=] { on.backend.copy(entry, grad, grad->count); }};
}

/// What a training step's block does once its weights are new: a backend that packs them does so in both orientations.
Step block_new_weights(const Workbench& on) {
  const std::shared_ptr<BlockTape> tape = on.backend.make_tape(on.params, on.batch);
  const BlockWeights weights = on.block(), other = on.block(), grads = on.block();
  const Tensor x = on.states(), grad = on.states(), entry = on.states();
  return {.flops = 3 * on.block_flops(),
          .run =
              [=] {
                on.backend.block_forward(on.params, on.batch, weights, x, tape.get());
                on.backend.block_backward(on.params, on.batch, weights, *tape, grad, grads);
              },
          .reset =
              [=] {
                for (size_t i = 0; i < list_of(weights).size(); ++i)
                  on.backend.copy(list_of(other)[i], list_of(weights)[i], list_of(weights)[i]->count);
                on.backend.copy(entry, grad, grad->count);
              }};
}

Step embed_backward(const Workbench& on) {
  const Tensor tokens = on.indices(on.batch * on.shapes.T, on.shapes.V), grad_x = on.states();
  const Tensor rows = on.shapes.E ? on.output(on.batch * on.shapes.E) : Tensor();
  return {.run = [=, grads = on.embedding()] {
    on.backend.embed_backward(on.shapes, on.batch, tokens, grad_x, grads, rows);
  }};
}

Step sum_squares(const Workbench& on) {
  const Tensor sums = on.backend.allocate(DType::f64, 4);
  return {.run = [=, grads = list_of(on.block())] {
    for (size_t i = 0; i < grads.size(); ++i) on.backend.sum_squares(grads[i], sums, i);
  }};
}

Step adam_atan2(const Workbench& on) {
  const AdamParams adam{0.9, 0.95, 0.1, AdamVariant::outside};
  const auto weights = list_of(on.block()), grads = list_of(on.block()), m = list_of(on.block());
  const auto v = list_of(on.block());
  for (size_t i = 0; i < v.size(); ++i)
    on.backend.copy(on.output(static_cast<int64_t>(v[i]->count)), v[i], v[i]->count);
  return {.run = [=, hyper = on.hyper()] {
    for (size_t i = 0; i < weights.size(); ++i) on.backend.adam_atan2(adam, hyper, weights[i], grads[i], m[i], v[i]);
  }};
}

Step ema(const Workbench& on) {
  return {.run = [=, hyper = on.hyper(), averages = list_of(on.block()), weights = list_of(on.block())] {
    for (size_t i = 0; i < weights.size(); ++i) on.backend.ema(hyper, averages[i], weights[i]);
  }};
}

struct Entry {
  StepInfo info;
  Step (*make)(const Workbench&);
};

const std::vector<Entry>& entries() {
  static const std::vector<Entry> list = {
      {{"embed_forward", true, false}, embed_forward},
      {{"inject", true, false}, inject},
      {{"block_forward", true, false}, block_forward},
      {{"block_forward_taped", true, true}, block_forward_taped},
      {{"readout_forward", true, false}, readout_forward},
      {{"loss", true, true}, loss},
      {{"readout_backward", true, true}, readout_backward},
      {{"block_backward", true, true}, block_backward},
      {{"block_new_weights", true, true}, block_new_weights},
      {{"embed_backward", true, true}, embed_backward},
      {{"sum_squares", false, true}, sum_squares},
      {{"adam_atan2", false, true}, adam_atan2},
      {{"ema", false, true}, ema},
  };
  return list;
}

const Entry& entry_of(const std::string& name) {
  for (const Entry& entry : entries())
    if (entry.info.name == name) return entry;
  std::string names;
  for (const Entry& entry : entries()) names += (names.empty() ? "" : ", ") + entry.info.name;
  throw Error("ERR_HRM_ARGUMENT", "[benchmark] expected a step among " + names + ", got '" + name + "'");
}

}  // namespace

const std::vector<StepInfo>& timed_steps() {
  static const std::vector<StepInfo> list = [] {
    std::vector<StepInfo> infos;
    for (const Entry& entry : entries()) infos.push_back(entry.info);
    return infos;
  }();
  return list;
}

StepTimes time_step(const std::string& name, Backend& backend, const ModelConfig& config, int64_t batch,
                    double milliseconds) {
  const Workbench bench(backend, config, batch);
  const Step step = entry_of(name).make(bench);
  const auto once = [&] {
    if (step.reset) step.reset();
    backend.wait();
    const auto start = Clock::now();
    step.run();
    backend.wait();
    return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
  };
  once();
  StepTimes times{.gflop = step.flops * 1e-9, .milliseconds = {}};
  const auto begin = Clock::now();
  do times.milliseconds.push_back(once());
  while (times.milliseconds.size() < 3 ||
         Clock::now() - begin < std::chrono::duration<double, std::milli>(milliseconds));
  return times;
}

}  // namespace hrm
