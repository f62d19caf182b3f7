#include "test/native/op_table.h"

#include <cstdio>

namespace hrm::optable {
namespace {

struct Size {
  Shapes shapes;  // T, P, D, NH, F, V, E
  int64_t batch;
  bool rope;
  bool perf;        // timed only: too slow for the references
  double gain = 1;  // scale of the weights: 3 makes softmax and SwiGLU saturate, 100 overflows a naive exp
};

const std::vector<Size> kSizes = {
    {{1, 0, 2, 1, 1, 1, 0}, 1, true, false},         {{1, 1, 2, 1, 1, 2, 1}, 2, false, false},
    {{7, 0, 14, 1, 15, 3, 0}, 3, true, false},       {{15, 1, 16, 1, 17, 11, 16}, 2, true, false},
    {{17, 0, 18, 3, 16, 17, 0}, 3, false, false},    {{6, 2, 32, 2, 33, 7, 40}, 5, true, false},
    {{5, 2, 48, 3, 256, 12, 96}, 4, true, false},    {{13, 0, 62, 1, 61, 13, 0}, 3, true, false},
    {{32, 1, 34, 17, 63, 6, 34}, 3, false, false},   {{29, 2, 66, 3, 65, 33, 70}, 2, true, false, 3},
    {{9, 1, 32, 2, 31, 5, 32}, 3, true, false, 100}, {{127, 2, 96, 3, 128, 16, 192}, 2, true, false},
    {{901, 0, 64, 1, 96, 5, 0}, 1, true, false},     {{16, 1, 64, 2, 256, 6, 64}, 7, true, false},
    {{5, 0, 32, 1, 32, 3, 0}, 3, true, false},       {{31, 1, 64, 1, 96, 11, 64}, 2, true, false},
    {{33, 0, 128, 1, 256, 7, 0}, 2, false, false},   {{8, 2, 96, 3, 160, 13, 150}, 5, true, false},
    {{63, 1, 128, 2, 64, 12, 128}, 2, true, false},  {{97, 0, 64, 2, 128, 5, 0}, 1, true, false},
    {{130, 1, 32, 1, 64, 40, 32}, 2, true, false},   {{1, 0, 32, 1, 32, 2, 0}, 4, true, false},
    {{16, 1, 64, 2, 256, 6, 64}, 64, true, true},    {{81, 1, 128, 4, 512, 11, 128}, 3, true, false},
    {{81, 1, 128, 4, 512, 11, 128}, 32, true, true}, {{81, 1, 512, 8, 1536, 11, 512}, 1, true, false},
    {{81, 1, 512, 8, 1536, 11, 512}, 8, true, true}, {{900, 1, 512, 8, 1536, 6, 512}, 1, true, true},
};

/// Hidden size and SwiGLU width in steps of 32, heads of 32, 64 or 128 channels; real widths take the host too long.
bool cuda_takes(const Size& size) {
  const Shapes& s = size.shapes;
  const bool head = s.HS() == 32 || s.HS() == 64 || s.HS() == 128;
  return s.D % 32 == 0 && s.F % 32 == 0 && head && s.D < 512 && !size.perf;
}

std::string size_name(const Size& size) {
  const Shapes& s = size.shapes;
  const auto field = [](const char* letters, int64_t value) { return std::string(letters) + std::to_string(value); };
  return field("B", size.batch) + field("T", s.T) + field("P", s.P) + field("D", s.D) + field("NH", s.NH) +
         field("F", s.F) + field("V", s.V) + field("E", s.E) + (size.rope ? "-rope" : "-learned") +
         (size.gain == 1 ? "" : "-saturated");
}

BlockParams block_params(const Size& size) { return {size.shapes, size.rope, 10000, 1e-5}; }

double linear_flops(const Size& size, double outputs_times_inputs) {
  return 2 * static_cast<double>(size.batch) * outputs_times_inputs;
}

double block_flops(const Size& size) {
  const Shapes& s = size.shapes;
  const double S = static_cast<double>(s.S()), D = static_cast<double>(s.D), F = static_cast<double>(s.F);
  return linear_flops(size, S * (4 * D * D + 3 * D * F) + 2 * S * S * D);
}

EmbedWeights embed_weights(Fixture& on, const Size& size) {
  const Shapes& s = size.shapes;
  return {on.shared("tokens", s.V * s.D), size.rope ? Tensor() : on.shared("positions", s.S() * s.D)};
}

HeadWeights head_weights(Fixture& on, const Shapes& s) {
  const double scale = 1 / std::sqrt(static_cast<double>(s.D));
  return {on.shared("lm", s.V * s.D, scale), on.shared("q", 2 * s.D, scale), on.shared("q_bias", 2)};
}

/// Labels with every third token ignored; of every third row all.
Tensor labels(Fixture& on, const Shapes& s) {
  return on.integers(DType::i32, s.T, [&](int64_t row, size_t i) {
    if (row % 3 == 2 || (row % 3 == 1 && i % 3 == 1)) return -100;
    return static_cast<int>((draw("label", row, i) + 1) / 2 * static_cast<double>(s.V));
  });
}

void add_forward_cases(std::vector<OpCase>& cases, const Size& size) {
  const Shapes s = size.shapes;
  const auto add = [&](const std::string& op, double flops, std::function<void(Fixture&)> run) {
    cases.push_back(
        {op + " " + size_name(size), size.batch, flops, !size.perf, size.perf, cuda_takes(size), std::move(run)});
  };
  const double elements = static_cast<double>(size.batch * s.S() * s.D);

  add("embed_forward", elements, [=](Fixture& on) {
    const EmbedWeights weights = embed_weights(on, size);
    const Tensor tokens = on.indices("token", s.T, s.V);
    const Tensor puzzle_rows = s.E ? on.per_row("puzzle", s.E) : Tensor();
    const Tensor x = on.activation_output(s);
    on.measure([&] { on.backend.embed_forward(s, on.batch(), weights, tokens, puzzle_rows, x); });
    on.row_result("x", x);
  });
  for (const bool both : {true, false})
    add(both ? "inject" : "inject-one", elements * (both ? 2 : 1), [=](Fixture& on) {
      const Tensor z = on.activations("z", s), a = on.activations("a", s);
      const Tensor b = both ? on.activations("b", s) : Tensor();
      on.measure([&] { on.backend.inject(s, on.batch(), z, a, b); });
      on.row_result("z", z);
    });
  for (const bool taped : {false, true})
    add(taped ? "block_forward-taped" : "block_forward", block_flops(size), [=](Fixture& on) {
      const BlockParams params = block_params(size);
      const BlockWeights weights = block_weights(on, s, size.gain);
      const Tensor x = on.activations("x", s);
      const auto tape = taped ? on.backend.make_tape(params, on.batch()) : nullptr;
      on.measure([&] { on.backend.block_forward(params, on.batch(), weights, x, tape.get()); });
      on.row_result("x", x);
    });
  add("block_forward-new-weights", block_flops(size), [=](Fixture& on) {
    // Every way in which a weight changes between two uses: a backend must not go on with a packed copy.
    const BlockParams params = block_params(size);
    const double scale = 1 / std::sqrt(static_cast<double>(s.D));
    const BlockWeights weights = block_weights(on, s, size.gain);
    const BlockWeights other = {on.shared("other_qkv", 3 * s.D * s.D, scale), on.shared("other_o", s.D * s.D, scale),
                                on.shared("other_gate_up", 2 * s.F * s.D, scale), Tensor()};
    const Tensor first = on.activations("first", s), x = on.activations("x", s);
    const Tensor down_grad = on.shared("down_grad", s.D * s.F), m = on.shared("m", s.D * s.F, 0);
    const Tensor v = on.shared("v", s.D * s.F, 0), hyper = on.hyper(0.01, 0, 1, 0.5);
    on.backend.block_forward(params, on.batch(), weights, first, nullptr);
    on.measure([&] {
      on.backend.swap(weights.qkv, other.qkv);
      on.backend.ema(hyper, weights.o, other.o);
      on.backend.copy(other.gate_up, weights.gate_up, weights.gate_up->count / 2);
      on.backend.adam_atan2({0.9, 0.95, 0, AdamVariant::outside}, hyper, weights.down, down_grad, m, v);
      on.backend.block_forward(params, on.batch(), weights, x, nullptr);
    });
    on.row_result("x", x);
  });
  for (const bool with_logits : {true, false})
    add(with_logits ? "readout_forward" : "readout_forward-q",
        linear_flops(size, static_cast<double>(s.D * ((with_logits ? s.T * s.V : 0) + 2))), [=](Fixture& on) {
          const HeadWeights weights = head_weights(on, s);
          const Tensor z_h = on.activations("z_h", s);
          const Tensor logits = with_logits ? on.output(on.batch() * s.T * s.V) : Tensor();
          const Tensor q = on.output(on.batch() * 2);
          on.measure([&] { on.backend.readout_forward(s, on.batch(), weights, z_h, logits, q); });
          if (with_logits) on.row_result("logits", logits);
          on.row_result("q", q);
        });
  add("argmax", 0, [=](Fixture& on) {
    // Whole numbers make ties frequent: the lowest index must win.
    const Tensor logits =
        on.per_row(s.T * s.V, [](int64_t row, size_t i) { return std::round(3 * draw("logits", row, i)); });
    const Tensor predictions = on.output(DType::i32, on.batch() * s.T);
    on.measure([&] { on.backend.argmax(s, on.batch(), logits, predictions); });
    on.row_result("predictions", predictions);
  });
}

void add_backward_cases(std::vector<OpCase>& cases, const Size& size) {
  const Shapes s = size.shapes;
  const auto add = [&](const std::string& op, double flops, std::function<void(Fixture&)> run) {
    cases.push_back(
        {op + " " + size_name(size), size.batch, flops, !size.perf, size.perf, cuda_takes(size), std::move(run)});
  };

  add("loss-extreme", 0, [=](Fixture& on) {
    // Logits of +-1e4, 0 and -0 with many ties, Q logits of +-1e4.
    const double values[] = {1e4, -1e4, 0, -0.0, 1, -1};
    const auto extreme = [&values](int64_t row, size_t i) {
      return values[(static_cast<size_t>(row) * 7 + i * 5) % 6];
    };
    const Tensor logits = on.per_row(s.T * s.V, extreme), q = on.per_row(2, extreme), row_labels = labels(on, s);
    const Tensor row_stats = on.output(DType::f64, on.batch() * kRowStats);
    const Tensor grad_logits = on.output(on.batch() * s.T * s.V), grad_q = on.output(on.batch() * 2);
    for (const LossType type : {LossType::stablemax_cross_entropy, LossType::softmax_cross_entropy}) {
      on.measure([&] {
        on.backend.loss(s, on.batch(), type, 1, logits, q, row_labels, on.per_row("target", 1, 0), row_stats,
                        grad_logits, grad_q);
      });
      on.row_result("row_stats", row_stats);
      on.row_result("grad_logits", grad_logits);
      on.row_result("grad_q", grad_q);
    }
  });
  for (const LossType type : {LossType::stablemax_cross_entropy, LossType::softmax_cross_entropy})
    for (const bool training : {true, false}) {
      const std::string name = type == LossType::stablemax_cross_entropy ? "loss-stablemax" : "loss-softmax";
      add(training ? name : name + "-evaluation", 0, [=](Fixture& on) {
        const Tensor logits = on.per_row("logits", s.T * s.V, 4), q = on.per_row("q", 2, 4);
        const Tensor targets =
            training ? on.per_row(1, [](int64_t row, size_t) { return (draw("target", row, 0) + 1) / 2; }) : Tensor();
        const Tensor row_labels = labels(on, s);
        const Tensor row_stats = on.output(DType::f64, on.batch() * kRowStats);
        const Tensor grad_logits = training ? on.output(on.batch() * s.T * s.V) : Tensor();
        const Tensor grad_q = training ? on.output(on.batch() * 2) : Tensor();
        on.measure([&] {
          on.backend.loss(s, on.batch(), type, 1 / 7.0, logits, q, row_labels, targets, row_stats, grad_logits, grad_q);
        });
        on.row_result("row_stats", row_stats);
        if (training) {
          on.row_result("grad_logits", grad_logits);
          on.row_result("grad_q", grad_q);
        }
      });
    }
  add("readout_backward", linear_flops(size, 2 * static_cast<double>(s.D * (s.T * s.V + 2))), [=](Fixture& on) {
    const HeadWeights weights = head_weights(on, s);
    const HeadWeights grads = {on.output(s.V * s.D), on.output(2 * s.D), on.output(2)};
    const Tensor z_h = on.activations("z_h", s), grad_logits = on.per_row("grad_logits", s.T * s.V);
    const Tensor grad_q = on.per_row("grad_q", 2), grad_z = on.activation_output(s);
    on.measure([&] { on.backend.readout_backward(s, on.batch(), weights, z_h, grad_logits, grad_q, grads, grad_z); });
    on.row_result("grad_z", grad_z);
    on.shared_result("lm", grads.lm);
    on.shared_result("q", grads.q);
    on.shared_result("q_bias", grads.q_bias);
  });
  add("block_backward", 2 * block_flops(size), [=](Fixture& on) {
    const BlockParams params = block_params(size);
    const BlockWeights weights = block_weights(on, s, size.gain), grads = block_outputs(on, s);
    const Tensor x = on.activations("x", s), grad = on.activations("grad", s);
    const auto tape = on.backend.make_tape(params, on.batch() + 1);
    on.backend.block_forward(params, on.batch(), weights, x, tape.get());
    const std::vector<double> entry = download_doubles(on.backend, grad);
    on.measure([&] { on.backend.block_backward(params, on.batch(), weights, *tape, grad, grads); },
               [&] { upload_doubles(on.backend, grad, entry); });
    on.row_result("grad", grad);
    on.shared_result("qkv", grads.qkv);
    on.shared_result("o", grads.o);
    on.shared_result("gate_up", grads.gate_up);
    on.shared_result("down", grads.down);
  });
  add("embed_backward", 2 * static_cast<double>(size.batch * s.S() * s.D), [=](Fixture& on) {
    const Tensor tokens = on.indices("token", s.T, s.V), grad_x = on.activations("grad_x", s);
    const EmbedWeights grads = {on.output(s.V * s.D), size.rope ? Tensor() : on.output(s.S() * s.D)};
    const Tensor grad_puzzle_rows = s.E ? on.output(on.batch() * s.E) : Tensor();
    on.measure([&] { on.backend.embed_backward(s, on.batch(), tokens, grad_x, grads, grad_puzzle_rows); });
    on.shared_result("tokens", grads.tokens);
    if (!size.rope) on.shared_result("positions", grads.positions);
    if (s.E) on.row_result("puzzle_rows", grad_puzzle_rows);
  });
}

void add_carry_cases(std::vector<OpCase>& cases, const Size& size) {
  const Shapes s = size.shapes;
  const auto add = [&](const std::string& op, std::function<void(Fixture&)> run) {
    cases.push_back({op + " " + size_name(size), size.batch, 0, true, false, cuda_takes(size), std::move(run)});
  };
  const auto halted_flags = [](Fixture& on) {
    return on.integers(DType::u8, 1, [](int64_t row, size_t) { return static_cast<int>(row % 2); });
  };
  const auto small_steps = [](int64_t row, size_t) { return static_cast<int>(row % 4); };

  add("reset_halted", [=](Fixture& on) {
    const Tensor halted = halted_flags(on), init_h = on.shared("init_h", s.D), init_l = on.shared("init_l", s.D);
    const Tensor z_h = on.activations("z_h", s), z_l = on.activations("z_l", s);
    const Tensor steps = on.integers(DType::i32, 1, small_steps);
    on.measure([&] { on.backend.reset_halted(s, on.batch(), halted, init_h, init_l, z_h, z_l, steps); });
    on.row_result("z_h", z_h);
    on.row_result("z_l", z_l);
    on.row_result("steps", steps);
  });
  add("replace_halted", [=](Fixture& on) {
    const Tensor halted = halted_flags(on), next = on.indices("next", s.T, 1000);
    const Tensor current = on.indices("current", s.T, 1000);
    on.measure([&] { on.backend.replace_halted(on.batch(), s.T, halted, next, current); });
    on.row_result("current", current);
  });
  for (const int64_t max_steps : {1, 4})
    for (const auto& [name, training, rule] : {std::tuple("training", true, HaltRule::over_continue),
                                               std::tuple("training-halt-only", true, HaltRule::positive),
                                               std::tuple("evaluation", false, HaltRule::over_continue)})
      add("halt-" + std::to_string(max_steps) + "-" + name, [=, training = training, rule = rule](Fixture& on) {
        const Tensor q = on.per_row("q", 2), steps = on.integers(DType::i32, 1, small_steps);
        const Tensor min_steps =
            training ? on.integers(DType::i32, 1,
                                   [](int64_t row, size_t) { return row % 3 ? 0 : static_cast<int>(2 + row % 2); })
                     : Tensor();
        const Tensor halted = on.output(DType::u8, on.batch());
        on.measure([&] { on.backend.halt(on.batch(), max_steps, rule, q, min_steps, steps, halted); });
        on.row_result("steps", steps);
        on.row_result("halted", halted);
      });
  for (const HaltRule rule : {HaltRule::over_continue, HaltRule::positive})
    for (const int limit : {3, 4})
      for (const bool adaptive : {false, true})
        add(std::string("none_done-") + (rule == HaltRule::positive ? "positive-" : "over-") + std::to_string(limit) +
                (adaptive ? "-adaptive" : ""),
            [=](Fixture& on) {
              // Steps go to 3, and only one row in five has a halt logit above its threshold.
              const Tensor q =
                  on.per_row(2, [](int64_t row, size_t i) { return i == 0 ? (row % 5 == 4 ? 1 : -1) : 0; });
              const Tensor steps = on.integers(DType::i32, 1, small_steps);
              const Tensor limits = on.integers(DType::i32, 1, [=](int64_t, size_t) { return limit; });
              const Tensor flags =
                  on.integers(DType::u8, 1, [=](int64_t, size_t) { return static_cast<int>(adaptive); });
              const Tensor again = on.output(DType::u8, 1);
              on.measure([&] { on.backend.none_done(on.batch(), rule, q, steps, limits, flags, again); });
              on.shared_result("again", again);
            });
  for (const double probability : {0.0, 0.3, 1.0})
    add("explore-" + std::to_string(static_cast<int>(100 * probability)), [=](Fixture& on) {
      const Tensor hyper = on.hyper(0, 0, 7, 0), min_steps = on.output(DType::i32, on.batch());
      on.measure([&] { on.backend.explore(on.batch(), 1234567890123, probability, 16, hyper, min_steps); });
      on.shared_result("min_steps", min_steps);
    });
  add("q_continue_target", [=](Fixture& on) {
    const Tensor next_q = on.per_row("next_q", 2, 5), steps = on.integers(DType::i32, 1, small_steps);
    const Tensor target = on.output(on.batch());
    on.measure([&] { on.backend.q_continue_target(on.batch(), 3, next_q, steps, target); });
    on.row_result("target", target);
  });
  add("gather_rows", [=](Fixture& on) {
    const int64_t width = s.E + 1, table_rows = 5;
    const Tensor table = on.shared("table", table_rows * width), ids = on.indices("id", 1, table_rows);
    const Tensor rows = on.output(on.batch() * width);
    on.measure([&] { on.backend.gather_rows(on.batch(), width, table, ids, rows); });
    on.row_result("rows", rows);
  });
  add("copy", [=](Fixture& on) {
    const Tensor source = on.per_row("source", s.T), target = on.output(on.batch() * s.T);
    on.measure([&] { on.backend.copy(source, target, source->count); });
    on.row_result("target", target);
  });
  add("swap", [=](Fixture& on) {
    const Tensor a = on.per_row("a", s.T), b = on.per_row("b", s.T);
    on.measure([&] { on.backend.swap(a, b); });
    on.row_result("a", a);
    on.row_result("b", b);
  });
  add("view", [=](Fixture& on) {
    const Tensor whole = on.per_row("whole", s.T), source = on.shared("source", s.T);
    const auto width = static_cast<size_t>(s.T);
    on.measure([&] {
      const Tensor last = on.backend.view(whole, whole->count - width, width);
      on.backend.copy(source, last, width);
    });
    on.shared_result("whole", whole);
  });
  add("compact_rows", [=](Fixture& on) {
    std::vector<int32_t> keep;
    for (int32_t row = 0; row < on.batch(); ++row)
      if (row % 3 != 1) keep.push_back(row);
    const Tensor reals = on.per_row("reals", s.T);
    const Tensor flags = on.indices("flags", 1, 2);
    on.measure([&] {
      on.backend.compact_rows(keep, s.T, reals);
      on.backend.compact_rows(keep, 1, flags);
    });
    on.shared_result("reals", reals, keep.size() * static_cast<size_t>(s.T));
    on.shared_result("flags", flags, keep.size());
  });
}

void add_optimiser_cases(std::vector<OpCase>& cases, int64_t count, bool perf) {
  const auto add = [&](const std::string& op, double flops_each, std::function<void(Fixture&)> run) {
    cases.push_back({op + " " + std::to_string(count), 1, flops_each * static_cast<double>(count), true, perf, !perf,
                     std::move(run)});
  };
  // Gradients of all magnitudes: zero, tiny, huge and ordinary.
  const auto mixed = [count](Fixture& on, const char* name) {
    return on.per_row(count, [name](int64_t row, size_t i) {
      const double scales[] = {1, 0, 1e-3, 1e-20, 1e15, 1};
      return scales[i % 6] * draw(name, row, i);
    });
  };

  for (const AdamVariant variant : {AdamVariant::outside, AdamVariant::inside})
    for (const double step : {1.0, 1000.0})
      add(std::string("adam_atan2-") + (variant == AdamVariant::outside ? "outside" : "inside") + "-step" +
              std::to_string(static_cast<int>(step)),
          20, [=](Fixture& on) {
            const Tensor weight = on.shared("weight", count), grad = mixed(on, "grad");
            const Tensor m = step == 1 ? on.shared("zero", count, 0) : on.shared("m", count, 0.1);
            const Tensor v = step == 1
                                 ? on.shared("zero", count, 0)
                                 : on.per_row(count, [](int64_t, size_t i) { return 1e-3 * (1 + draw("v", 0, i)); });
            const Tensor hyper = on.hyper(0.01, 0.1, step, 0.9);
            on.measure([&] { on.backend.adam_atan2({0.9, 0.95, 0.1, variant}, hyper, weight, grad, m, v); });
            on.shared_result("weight", weight);
            on.shared_result("m", m);
            on.shared_result("v", v);
          });
  add("ema", 3, [=](Fixture& on) {
    const Tensor average = on.shared("average", count), weight = on.shared("weight", count);
    const Tensor hyper = on.hyper(0, 0, 1, 0.999);
    on.measure([&] { on.backend.ema(hyper, average, weight); });
    on.shared_result("average", average);
  });
  for (const double bad : {0.0, std::numeric_limits<double>::quiet_NaN(), -std::numeric_limits<double>::infinity()})
    add(std::isfinite(bad) ? "guard"
        : std::isnan(bad)  ? "guard-nan"
                           : "guard-infinity",
        25, [=](Fixture& on) {
          // The last element decides: updates that follow must change everything or nothing.
          std::vector<double> values(static_cast<size_t>(count), 1);
          values.back() = bad;
          const Tensor values_in = on.doubles(values), finite = on.doubles({1, 2}), hyper = on.hyper(0.1, 0.1, 2, 0.5);
          const Tensor weight = on.shared("weight", count), grad = on.shared("grad", count);
          const Tensor m = on.shared("m", count, 0.1), v = on.shared("zero", count, 0);
          const Tensor average = on.shared("average", count), ids = on.indices("id", 1, 1);
          on.measure([&] {
            on.backend.guard(values_in, finite, hyper);
            on.backend.adam_atan2({0.9, 0.95, 0.1, AdamVariant::outside}, hyper, weight, grad, m, v);
            on.backend.ema(hyper, average, weight);
            on.backend.guard(finite, values_in, hyper);
            on.backend.sign_sgd(1, count, 0.1, hyper, average, ids, grad);
          });
          on.shared_result("hyper", hyper);
          on.shared_result("weight", weight);
          on.shared_result("m", m);
          on.shared_result("v", v);
          on.shared_result("average", average);
        });
  add("add", 1, [=](Fixture& on) {
    const Tensor sum = on.shared("sum", count), term = mixed(on, "term");
    on.measure([&] { on.backend.add(sum, term); });
    on.shared_result("sum", sum);
  });
  add("sum_squares", 2, [=](Fixture& on) {
    const Tensor tensor = on.shared("tensor", count), sums = on.output(DType::f64, 3);
    on.measure([&] {
      for (size_t index = 0; index < 3; ++index) on.backend.sum_squares(tensor, sums, index);
    });
    on.shared_result("sums", sums);
  });
}

void add_sign_sgd_cases(std::vector<OpCase>& cases, int64_t batch, int64_t width, bool perf) {
  cases.push_back({"sign_sgd B" + std::to_string(batch) + "E" + std::to_string(width), batch,
                   2 * static_cast<double>(batch * width), true, perf, true, [=](Fixture& on) {
                     const int64_t table_rows = 6;
                     const Tensor table = on.shared("table", table_rows * width);
                     const Tensor ids = on.indices("id", 1, table_rows);
                     // Quarters make exact zeros of the summed gradient frequent: such a row only decays.
                     const Tensor grad_rows = on.per_row(
                         width, [](int64_t row, size_t i) { return std::round(2 * draw("grad", row, i)) / 4; });
                     const Tensor hyper = on.hyper(0, 0.01, 1, 0);
                     on.measure([&] { on.backend.sign_sgd(on.batch(), width, 0.1, hyper, table, ids, grad_rows); });
                     on.shared_result("table", table);
                   }});
}

}  // namespace

BlockWeights block_weights(Fixture& fixture, const Shapes& s, double gain) {
  const double by_width = gain / std::sqrt(static_cast<double>(s.D));
  const double by_inner = gain / std::sqrt(static_cast<double>(s.F));
  return {fixture.shared("qkv", 3 * s.D * s.D, by_width), fixture.shared("o", s.D * s.D, by_width),
          fixture.shared("gate_up", 2 * s.F * s.D, by_width), fixture.shared("down", s.D * s.F, by_inner)};
}

BlockWeights block_outputs(Fixture& fixture, const Shapes& s) {
  return {fixture.output(3 * s.D * s.D), fixture.output(s.D * s.D), fixture.output(2 * s.F * s.D),
          fixture.output(s.D * s.F)};
}

std::vector<OpCase> op_cases() {
  std::vector<OpCase> cases;
  for (const Size& size : kSizes) {
    add_forward_cases(cases, size);
    add_backward_cases(cases, size);
    if (!size.perf) add_carry_cases(cases, size);
  }
  for (const int64_t count : {1, 2, 7, 8, 9, 15, 16, 17, 31, 97, 1009, 65537, 1048579})
    add_optimiser_cases(cases, count, count > 100000);
  for (const int64_t width : {1, 7, 16, 17, 512})
    for (const int64_t batch : {1, 2, 13, 64}) add_sign_sgd_cases(cases, batch, width, width == 512 && batch == 64);
  return cases;
}

}  // namespace hrm::optable
