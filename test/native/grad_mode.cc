#include <cmath>

#include "test/native/backends.h"
#include "test/native/finite_differences.h"
#include "test/native/fixture.h"
#include "test/native/modes.h"

namespace hrm::optable {
namespace {

constexpr int kDirections = 8, kCoordinates = 20;

struct Setting {
  std::string name;
  Shapes shapes;  // T, P, D, NH, F, V, E
  int64_t batch;
  bool rope;
};

const std::vector<Setting> kSettings = {
    {"smallest-learned", {1, 0, 2, 1, 1, 2, 0}, 1, false},
    {"odd-rope", {5, 2, 12, 3, 7, 5, 17}, 2, true},
    {"odd-learned", {4, 1, 10, 1, 11, 6, 10}, 3, false},
};

std::vector<double> random_values(const std::string& name, int64_t count, double scale) {
  std::vector<double> values(static_cast<size_t>(count));
  for (size_t i = 0; i < values.size(); ++i) values[i] = scale * draw(name, 0, i);
  return values;
}

double dot(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

Tensor tensor(Backend& backend, const std::vector<double>& values) {
  const Tensor made = backend.allocate(backend.real(), values.size());
  upload_doubles(backend, made, values);
  return made;
}

Tensor empty_like(Backend& backend, const std::vector<double>& values) {
  return tensor(backend, std::vector<double>(values.size(), NAN));
}

Tensor integers(Backend& backend, const std::vector<double>& values) {
  const Tensor made = backend.allocate(DType::i32, values.size());
  upload_doubles(backend, made, values);
  return made;
}

/// Groups x [B, S, D], qkv, o, gate_up, down; value: cotangent . output.
Differentiable block(Backend& on, const Setting& setting) {
  const Shapes s = setting.shapes;
  const BlockParams params = {s, setting.rope, 10000, 1e-5};
  const int64_t batch = setting.batch, count = batch * s.S() * s.D;
  const double by_width = 2 / std::sqrt(static_cast<double>(s.D));
  const auto cotangent = random_values("cotangent", count, 1);
  const auto weights = [&on](const Groups& at) {
    return BlockWeights{tensor(on, at[1]), tensor(on, at[2]), tensor(on, at[3]), tensor(on, at[4])};
  };
  return {"block " + setting.name,
          {"x", "qkv", "o", "gate_up", "down"},
          {random_values("x", count, 1), random_values("qkv", 3 * s.D * s.D, by_width),
           random_values("o", s.D * s.D, by_width), random_values("gate_up", 2 * s.F * s.D, by_width),
           random_values("down", s.D * s.F, by_width)},
          [=, &on](const Groups& at) {
            const Tensor x = tensor(on, at[0]);
            on.block_forward(params, batch, weights(at), x, nullptr);
            return dot(cotangent, download_doubles(on, x));
          },
          [=, &on](const Groups& at) {
            const Tensor x = tensor(on, at[0]), grad = tensor(on, cotangent);
            const BlockWeights grads = {empty_like(on, at[1]), empty_like(on, at[2]), empty_like(on, at[3]),
                                        empty_like(on, at[4])};
            const auto tape = on.make_tape(params, batch);
            on.block_forward(params, batch, weights(at), x, tape.get());
            on.block_backward(params, batch, weights(at), *tape, grad, grads);
            return Groups{download_doubles(on, grad), download_doubles(on, grads.qkv), download_doubles(on, grads.o),
                          download_doubles(on, grads.gate_up), download_doubles(on, grads.down)};
          }};
}

/// Groups z_h [B, S, D], lm, q, q_bias.
Differentiable readout(Backend& on, const Setting& setting) {
  const Shapes s = setting.shapes;
  const int64_t batch = setting.batch;
  const auto grad_logits = random_values("grad_logits", batch * s.T * s.V, 1);
  const auto grad_q = random_values("grad_q", batch * 2, 1);
  const auto weights = [&on](const Groups& at) {
    return HeadWeights{tensor(on, at[1]), tensor(on, at[2]), tensor(on, at[3])};
  };
  return {"readout " + setting.name,
          {"z_h", "lm", "q", "q_bias"},
          {random_values("z_h", batch * s.S() * s.D, 1), random_values("lm", s.V * s.D, 1),
           random_values("q", 2 * s.D, 1), random_values("q_bias", 2, 1)},
          [=, &on](const Groups& at) {
            const Tensor logits = empty_like(on, grad_logits), q = empty_like(on, grad_q);
            on.readout_forward(s, batch, weights(at), tensor(on, at[0]), logits, q);
            return dot(grad_logits, download_doubles(on, logits)) + dot(grad_q, download_doubles(on, q));
          },
          [=, &on](const Groups& at) {
            const Tensor grad_z = empty_like(on, at[0]);
            const HeadWeights grads = {empty_like(on, at[1]), empty_like(on, at[2]), empty_like(on, at[3])};
            on.readout_backward(s, batch, weights(at), tensor(on, at[0]), tensor(on, grad_logits), tensor(on, grad_q),
                                grads, grad_z);
            return Groups{download_doubles(on, grad_z), download_doubles(on, grads.lm), download_doubles(on, grads.q),
                          download_doubles(on, grads.q_bias)};
          }};
}

/// Groups token table [V, D], puzzle rows [B, E] if any, positions [S, D] if learned.
Differentiable embed(Backend& on, const Setting& setting) {
  const Shapes s = setting.shapes;
  const int64_t batch = setting.batch, count = batch * s.S() * s.D;
  const auto cotangent = random_values("cotangent", count, 1);
  std::vector<double> token_ids = random_values("token", batch * s.T, 1);
  for (double& id : token_ids) id = std::floor((id + 1) / 2 * static_cast<double>(s.V));
  const size_t puzzle_group = 1, position_group = s.E ? 2 : 1;
  Differentiable function{"embed " + setting.name, {"tokens"}, {random_values("table", s.V * s.D, 1)}, {}, {}};
  if (s.E) {
    function.group_names.push_back("puzzle_rows");
    function.point.push_back(random_values("puzzle", batch * s.E, 1));
  }
  if (!setting.rope) {
    function.group_names.push_back("positions");
    function.point.push_back(random_values("positions", s.S() * s.D, 1));
  }
  const bool rope = setting.rope;
  function.value = [=, &on](const Groups& at) {
    const EmbedWeights weights = {tensor(on, at[0]), rope ? Tensor() : tensor(on, at[position_group])};
    const Tensor x = empty_like(on, cotangent);
    on.embed_forward(s, batch, weights, integers(on, token_ids), s.E ? tensor(on, at[puzzle_group]) : Tensor(), x);
    return dot(cotangent, download_doubles(on, x));
  };
  function.gradient = [=, &on](const Groups& at) {
    const EmbedWeights grads = {empty_like(on, at[0]), rope ? Tensor() : empty_like(on, at[position_group])};
    const Tensor grad_rows = s.E ? empty_like(on, at[puzzle_group]) : Tensor();
    on.embed_backward(s, batch, integers(on, token_ids), tensor(on, cotangent), grads, grad_rows);
    Groups result = {download_doubles(on, grads.tokens)};
    if (s.E) result.push_back(download_doubles(on, grad_rows));
    if (!rope) result.push_back(download_doubles(on, grads.positions));
    return result;
  };
  return function;
}

/// Groups logits [B, T, V], q [B, 2]; some labels are ignored.
Differentiable loss(Backend& on, const Setting& setting, LossType type) {
  const Shapes s = setting.shapes;
  const int64_t batch = setting.batch;
  const double scale = 0.3;
  const auto targets = random_values("target", batch, 0.5);
  std::vector<double> labels = random_values("label", batch * s.T, 1);
  for (size_t i = 0; i < labels.size(); ++i)
    labels[i] = i % 4 == 2 ? -100 : std::floor((labels[i] + 1) / 2 * static_cast<double>(s.V));
  const auto run = [=, &on](const Groups& at, const Tensor& grad_logits, const Tensor& grad_q) {
    const Tensor row_stats = on.allocate(DType::f64, static_cast<size_t>(batch * kRowStats));
    on.loss(s, batch, type, scale, tensor(on, at[0]), tensor(on, at[1]), integers(on, labels), tensor(on, targets),
            row_stats, grad_logits, grad_q);
    return download_doubles(on, row_stats);
  };
  const bool stablemax = type == LossType::stablemax_cross_entropy;
  return {(stablemax ? "loss-stablemax " : "loss-softmax ") + setting.name,
          {"logits", "q"},
          {random_values("logits", batch * s.T * s.V, 3), random_values("q", batch * 2, 3)},
          [=](const Groups& at) {
            const auto stats = run(at, nullptr, nullptr);
            double sum = 0;
            for (size_t row = 0; row < stats.size(); row += kRowStats)
              sum += stats[row + kLmLoss] + (stats[row + kQHaltLoss] + stats[row + kQContinueLoss]) / 2;
            return scale * sum;
          },
          [=, &on](const Groups& at) {
            const Tensor grad_logits = empty_like(on, at[0]), grad_q = empty_like(on, at[1]);
            run(at, grad_logits, grad_q);
            return Groups{download_doubles(on, grad_logits), download_doubles(on, grad_q)};
          }};
}

}  // namespace

void run_grad(const Options&, Report& report) {
  const auto backend = make_backend("reference-f64", 1);
  for (const Setting& setting : kSettings) {
    check_gradient(block(*backend, setting), kDirections, kCoordinates, report);
    check_gradient(readout(*backend, setting), kDirections, kCoordinates, report);
    check_gradient(embed(*backend, setting), kDirections, kCoordinates, report);
    for (const LossType type : {LossType::stablemax_cross_entropy, LossType::softmax_cross_entropy})
      check_gradient(loss(*backend, setting, type), kDirections, kCoordinates, report);
  }
}

}  // namespace hrm::optable
