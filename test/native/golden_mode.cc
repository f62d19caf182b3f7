// What PyTorch computed for single ops, in float32 and float64, against the backends and the reference's own loops.

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "cpu/reference/attention.h"
#include "cpu/reference/linear.h"
#include "cpu/reference/rms_norm.h"
#include "cpu/reference/rope.h"
#include "cpu/reference/swiglu.h"
#include "test/native/backends.h"
#include "test/native/fixture.h"
#include "test/native/modes.h"
#include "test/native/safetensors.h"

namespace hrm::optable {
namespace {

using Tensors = std::map<std::string, GoldenTensor>;

struct Golden {
  const Tensors& tensors;
  Report& report;
  std::string who;  // the backend, for the case's name
  bool is_double;

  const GoldenTensor& at(const std::string& name) const { return tensors.at(name); }
  const std::vector<double>& values(const std::string& name) const { return tensors.at(name).values; }

  /// Row by row (of the last dimension): in double within 1e-12 of the row's largest magnitude; in float within three
  /// times PyTorch's own float32 error of the tensor, or 1e-6 of the row's largest magnitude.
  /// The printed error is the worst row's fraction of its bound. A tensor stored only as float32 is compared at 1e-7.
  /// `rounding`: what cancellation inside PyTorch's own formula may leave, absolute.
  void check(const std::string& name, const std::vector<double>& actual, double rounding = 0) const {
    const std::string title = "golden " + who + " " + name;
    if (!report.selects(title)) return;
    const GoldenTensor& exact = at(name + ".f64");
    const auto official = tensors.find(name + ".f32");
    const double tolerance = !is_double ? 1e-6 : exact.dtype == "F64" ? 1e-12 : 1e-7;
    double official_error = 0;
    if (!is_double && official != tensors.end())
      for (size_t i = 0; i < actual.size(); ++i)
        official_error = std::max(official_error, std::abs(official->second.values[i] - exact.values[i]));
    const auto width = static_cast<size_t>(exact.shape.back());
    double worst = actual.size() == exact.values.size() ? 0 : INFINITY;
    for (size_t row = 0; row + width <= actual.size(); row += width) {
      double scale = 0;
      for (size_t i = row; i < row + width; ++i) scale = std::max(scale, std::abs(exact.values[i]));
      for (size_t i = row; i < row + width; ++i) {
        const double error = std::abs(actual[i] - exact.values[i]);
        if (error == 0) continue;
        const double fraction = error / (3 * official_error + tolerance * scale + rounding);
        if (!(fraction <= worst)) worst = fraction;
      }
    }
    report.check(title, worst, 1);
  }
};

// --- the reference's loops --------------------------------------------------------------------------------------

template <typename T>
std::vector<T> as(const std::vector<double>& values) {
  return {values.begin(), values.end()};
}

template <typename T>
std::vector<double> doubles(const std::vector<T>& values) {
  return {values.begin(), values.end()};
}

template <typename T>
void check_rms_norm(const Golden& golden) {
  const int64_t width = golden.at("rms.x").shape.back();
  for (const std::string eps : {"1e-05", "0.001"}) {
    auto y = as<T>(golden.values("rms.x")), grad = as<T>(golden.values("rms.gy"));
    const int64_t rows = static_cast<int64_t>(y.size()) / width;
    std::vector<T> inverse_rms(static_cast<size_t>(rows));
    reference::rms_norm_forward(rows, width, static_cast<T>(std::stod(eps)), y.data(), inverse_rms.data());
    reference::rms_norm_backward(rows, width, y.data(), inverse_rms.data(), grad.data());
    golden.check("rms.y." + eps, doubles(y));
    golden.check("rms.gx." + eps, doubles(grad));
  }
}

template <typename T>
void check_rope(const Golden& golden) {
  for (const auto& [size, theta] :
       {std::pair{"7x2x8.10000", 10000.0}, {"5x3x6.500", 500.0}, {"82x1x32.10000", 10000.0}}) {
    const std::string name = std::string("rope.") + size;
    const auto& shape = golden.at(name + ".q").shape;  // [B, S, NH, HS]
    const int64_t positions = shape[1], heads = shape[2], head_size = shape[3], half = head_size / 2;
    reference::RopeTable<T> table(new_byte_count());
    table.fill(positions, head_size, theta);
    std::vector<double> cos, sin;  // the official tables hold both halves
    for (int64_t i = 0; i < positions * head_size; ++i) {
      cos.push_back(table.cos.data()[i / head_size * half + i % half]);
      sin.push_back(table.sin.data()[i / head_size * half + i % half]);
    }
    golden.check(name + ".cos", cos);
    golden.check(name + ".sin", sin);
    for (const std::string part : {".q", ".k"}) {
      auto x = as<T>(golden.values(name + part));
      for (int64_t head = 0; head < shape[0] * positions * heads; ++head) {
        const int64_t position = head / heads % positions;
        reference::rope_forward(half, table.cos.data() + position * half, table.sin.data() + position * half,
                                &x[head * head_size]);
      }
      golden.check(name + part + "_out", doubles(x));
    }
  }
}

struct BlockCase {
  std::string name;
  Shapes shapes;  // T, P, D, NH, F, V, E
  int64_t batch;
};

const std::vector<BlockCase> kBlockCases = {{"block.2x7x48h3e4", {7, 0, 48, 3, 256, 1, 0}, 2},
                                            {"block.1x3x32h1e2.5", {3, 0, 32, 1, 256, 1, 0}, 1}};

template <typename T>
void check_attention(const Golden& golden, const BlockCase& block, bool rope) {
  const Shapes& s = block.shapes;
  const int64_t rows = block.batch * s.S();
  const std::string part = block.name + (rope ? ".attn_rope" : ".attn_nope");
  const auto x = as<T>(golden.values(block.name + ".x")), grad_y = as<T>(golden.values(block.name + ".gy"));
  const auto weight_qkv = as<T>(golden.values(block.name + ".w.self_attn.qkv_proj.weight"));
  const auto weight_o = as<T>(golden.values(block.name + ".w.self_attn.o_proj.weight"));
  reference::RopeTable<T> table(new_byte_count());
  table.fill(s.S(), s.HS(), 10000);
  std::vector<T> qkv(x.size() * 3), context(x.size()), y(x.size());
  reference::linear_forward(rows, s.D, 3 * s.D, x.data(), weight_qkv.data(), qkv.data());
  if (rope) reference::rope_heads(block.batch, s.S(), s.NH, s.HS(), table, qkv.data(), reference::rope_forward<T>);
  reference::attention_forward(s, block.batch, qkv.data(), context.data());
  reference::linear_forward(rows, s.D, s.D, context.data(), weight_o.data(), y.data());
  golden.check(part + ".y", doubles(y));

  std::vector<T> grad_context(x.size()), grad_qkv(qkv.size()), grad_x(x.size());
  std::vector<T> grad_weight_qkv(weight_qkv.size()), grad_weight_o(weight_o.size());
  reference::linear_backward_weight(rows, s.D, s.D, grad_y.data(), context.data(), grad_weight_o.data());
  reference::linear_backward_input(rows, s.D, s.D, grad_y.data(), weight_o.data(), grad_context.data());
  reference::attention_backward(s, block.batch, qkv.data(), grad_context.data(), grad_qkv.data());
  if (rope)
    reference::rope_heads(block.batch, s.S(), s.NH, s.HS(), table, grad_qkv.data(), reference::rope_backward<T>);
  reference::linear_backward_weight(rows, s.D, 3 * s.D, grad_qkv.data(), x.data(), grad_weight_qkv.data());
  reference::linear_backward_input(rows, s.D, 3 * s.D, grad_qkv.data(), weight_qkv.data(), grad_x.data());
  golden.check(part + ".gx", doubles(grad_x));
  if (rope && golden.is_double) {
    golden.check(part + ".gw.self_attn.o_proj.weight", doubles(grad_weight_o));
    golden.check(part + ".gw.self_attn.qkv_proj.weight", doubles(grad_weight_qkv));
  }
}

template <typename T>
void check_mlp(const Golden& golden, const BlockCase& block) {
  const Shapes& s = block.shapes;
  const int64_t rows = block.batch * s.S();
  const auto x = as<T>(golden.values(block.name + ".x")), grad_y = as<T>(golden.values(block.name + ".gy"));
  const auto gate_up = as<T>(golden.values(block.name + ".w.mlp.gate_up_proj.weight"));
  const auto down = as<T>(golden.values(block.name + ".w.mlp.down_proj.weight"));
  const auto inner = static_cast<size_t>(rows * s.F);
  std::vector<T> gates(2 * inner), hidden(inner), y(x.size());
  reference::linear_forward(rows, s.D, 2 * s.F, x.data(), gate_up.data(), gates.data());
  reference::swiglu_forward(rows, s.F, gates.data(), hidden.data());
  reference::linear_forward(rows, s.F, s.D, hidden.data(), down.data(), y.data());
  golden.check(block.name + ".mlp.y", doubles(y));

  std::vector<T> grad_hidden(inner), grad_gates(2 * inner), grad_x(x.size());
  std::vector<T> grad_gate_up(gate_up.size()), grad_down(down.size());
  reference::linear_backward_weight(rows, s.F, s.D, grad_y.data(), hidden.data(), grad_down.data());
  reference::linear_backward_input(rows, s.F, s.D, grad_y.data(), down.data(), grad_hidden.data());
  reference::swiglu_backward(rows, s.F, gates.data(), grad_hidden.data(), grad_gates.data());
  reference::linear_backward_weight(rows, s.D, 2 * s.F, grad_gates.data(), x.data(), grad_gate_up.data());
  reference::linear_backward_input(rows, s.D, 2 * s.F, grad_gates.data(), gate_up.data(), grad_x.data());
  golden.check(block.name + ".mlp.gx", doubles(grad_x));
  if (golden.is_double) {
    golden.check(block.name + ".mlp.gw.mlp.down_proj.weight", doubles(grad_down));
    golden.check(block.name + ".mlp.gw.mlp.gate_up_proj.weight", doubles(grad_gate_up));
  }
}

template <typename T>
void check_loops(const Golden& golden) {
  check_rms_norm<T>(golden);
  check_rope<T>(golden);
  for (const BlockCase& block : kBlockCases) {
    check_attention<T>(golden, block, true);
    check_attention<T>(golden, block, false);
    check_mlp<T>(golden, block);
  }
}

// --- any backend ------------------------------------------------------------------------------------------------

Tensor tensor(Backend& backend, DType dtype, const std::vector<double>& values) {
  const Tensor made = backend.allocate(dtype, values.size());
  upload_doubles(backend, made, values);
  return made;
}

void check_block(const Golden& golden, Backend& on, const BlockCase& block) {
  const auto weight = [&](const char* name) { return tensor(on, on.real(), golden.values(block.name + ".w." + name)); };
  const BlockParams params = {block.shapes, true, 10000, 1e-5};
  const BlockWeights weights = {weight("self_attn.qkv_proj.weight"), weight("self_attn.o_proj.weight"),
                                weight("mlp.gate_up_proj.weight"), weight("mlp.down_proj.weight")};
  const auto like = [&](const Tensor& other) { return on.allocate(on.real(), other->count); };
  const BlockWeights grads = {like(weights.qkv), like(weights.o), like(weights.gate_up), like(weights.down)};
  const Tensor x = tensor(on, on.real(), golden.values(block.name + ".x"));
  const Tensor grad = tensor(on, on.real(), golden.values(block.name + ".gy"));
  const auto tape = on.make_tape(params, block.batch);
  on.block_forward(params, block.batch, weights, x, tape.get());
  golden.check(block.name + ".block.y", download_doubles(on, x));
  on.block_backward(params, block.batch, weights, *tape, grad, grads);
  golden.check(block.name + ".block.gx", download_doubles(on, grad));
}

/// One token per row, so that every token's loss and gradient shows.
void check_loss(const Golden& golden, Backend& on, LossType type, const std::string& name) {
  const int64_t tokens = static_cast<int64_t>(golden.values("loss.labels").size());
  const int64_t vocab = golden.at("loss.logits").shape.back();
  const Shapes shapes = {1, 0, 1, 1, 1, vocab, 0};
  const Tensor row_stats = on.allocate(DType::f64, static_cast<size_t>(tokens * kRowStats));
  const Tensor grad_logits = on.allocate(on.real(), static_cast<size_t>(tokens * vocab));
  const Tensor q = on.allocate(on.real(), static_cast<size_t>(tokens * 2)), grad_q = on.allocate(on.real(), q->count);
  on.loss(shapes, tokens, type, 1, tensor(on, on.real(), golden.values("loss.logits")), q,
          tensor(on, DType::i32, golden.values("loss.labels")), nullptr, row_stats, grad_logits, grad_q);
  std::vector<double> losses;
  const auto stats = download_doubles(on, row_stats);
  for (size_t row = 0; row < stats.size(); row += kRowStats) losses.push_back(stats[row + kLmLoss]);
  golden.check("loss." + name + ".loss", losses);
  // At logits of 1e4 the gradient is a difference of terms near 1e-4 that agree in seven digits.
  golden.check("loss." + name + ".grad", download_doubles(on, grad_logits), 1e-19);
}

/// The Q-continue loss is the binary cross-entropy against a given target.
void check_bce(const Golden& golden, Backend& on) {
  // bce.logits holds these rounded to float32, but PyTorch's float64 run started from the decimals.
  const std::vector<double> logits = {-1e4, -100, -5, -1e-3, 0, 1e-3, 5, 100, 1e4};
  const auto batch = static_cast<int64_t>(logits.size());
  const Shapes shapes = {1, 0, 1, 1, 1, 1, 0};
  std::vector<double> q;  // [B, 2]
  for (const double logit : logits) q.insert(q.end(), {0, logit});
  for (const std::string target : {"0.0", "0.25", "1.0"}) {
    const Tensor row_stats = on.allocate(DType::f64, logits.size() * kRowStats);
    const Tensor grad_logits = on.allocate(on.real(), logits.size()), grad_q = on.allocate(on.real(), q.size());
    on.loss(shapes, batch, LossType::stablemax_cross_entropy, 2, on.allocate(on.real(), logits.size()),
            tensor(on, on.real(), q), on.allocate(DType::i32, logits.size()),
            tensor(on, on.real(), std::vector<double>(logits.size(), std::stod(target))), row_stats, grad_logits,
            grad_q);
    const auto stats = download_doubles(on, row_stats), grads = download_doubles(on, grad_q);
    std::vector<double> losses, grad;
    for (size_t row = 0; row < logits.size(); ++row) {
      losses.push_back(stats[row * kRowStats + kQContinueLoss]);
      grad.push_back(grads[row * 2 + 1]);
    }
    golden.check("bce." + target + ".loss", losses);
    golden.check("bce." + target + ".grad", grad);
  }
}

struct AdamSet {
  std::string name;
  double rate;
  AdamParams params;
};

const std::vector<AdamSet> kAdamSets = {
    {"adam.lr0.1_wd1_b0.9_0.95", 0.1, {0.9, 0.95, 1, AdamVariant::outside}},
    {"adam.lr0.001_wd0.1_b0.9_0.95", 0.001, {0.9, 0.95, 0.1, AdamVariant::outside}},
    {"adam.lr7e-05_wd0_b0.8_0.999", 7e-5, {0.8, 0.999, 0, AdamVariant::outside}},
};

void check_adam(const Golden& golden, Backend& on, const AdamSet& set) {
  const auto& grads = golden.values("adam.grads");
  const Tensor weight = tensor(on, on.real(), golden.values("adam.p0"));
  const Tensor m = on.allocate(on.real(), weight->count), v = on.allocate(on.real(), weight->count);
  std::vector<double> weights, ms, vs;
  const auto append = [&](std::vector<double>& all, const Tensor& part) {
    const auto values = download_doubles(on, part);
    all.insert(all.end(), values.begin(), values.end());
  };
  for (size_t step = 0; step < grads.size() / weight->count; ++step) {
    const auto begin = grads.begin() + static_cast<ptrdiff_t>(step * weight->count);
    const Tensor grad = tensor(on, on.real(), {begin, begin + static_cast<ptrdiff_t>(weight->count)});
    const Tensor hyper = tensor(on, DType::f64, {set.rate, 0, static_cast<double>(step + 1), 0, 1});
    on.adam_atan2(set.params, hyper, weight, grad, m, v);
    append(weights, weight);
    append(ms, m);
    append(vs, v);
  }
  golden.check(set.name + ".p", weights);
  golden.check(set.name + ".m", ms);
  golden.check(set.name + ".v", vs);
}

void check_sign_sgd(const Golden& golden, Backend& on) {
  const auto &ids = golden.values("signsgd.ids"), &grads = golden.values("signsgd.grads");
  const auto& shape = golden.at("signsgd.grads").shape;  // [steps, B, E]
  const Tensor table = tensor(on, on.real(), golden.values("signsgd.w0"));
  const Tensor hyper = tensor(on, DType::f64, {0, 0.01, 1, 0, 1});
  std::vector<double> tables;
  for (int64_t step = 0; step < shape[0]; ++step) {
    const auto id = ids.begin() + step * shape[1];
    const auto grad = grads.begin() + step * shape[1] * shape[2];
    on.sign_sgd(shape[1], shape[2], 0.1, hyper, table, tensor(on, DType::i32, {id, id + shape[1]}),
                tensor(on, on.real(), {grad, grad + shape[1] * shape[2]}));
    const auto values = download_doubles(on, table);
    tables.insert(tables.end(), values.begin(), values.end());
  }
  golden.check("signsgd.w", tables);
}

void check_backend(const Golden& golden, Backend& on) {
  for (const BlockCase& block : kBlockCases) check_block(golden, on, block);
  check_loss(golden, on, LossType::stablemax_cross_entropy, "stablemax_cross_entropy");
  check_loss(golden, on, LossType::softmax_cross_entropy, "softmax_cross_entropy");
  check_bce(golden, on);
  for (const AdamSet& set : kAdamSets) check_adam(golden, on, set);
  check_sign_sgd(golden, on);
}

}  // namespace

void run_golden(const Options& options, Report& report) {
  const auto path = std::filesystem::path(options.directory) / "ops.safetensors";
  if (!std::filesystem::exists(path)) return report.skip("golden", "no " + path.string());
  const Tensors tensors = read_safetensors(path.string());
  check_loops<double>({tensors, report, "loops-f64", true});
  check_loops<float>({tensors, report, "loops-f32", false});
  std::vector<std::string> names = {"reference-f64", "reference-f32"};
  if (std::find(names.begin(), names.end(), options.backend) == names.end()) names.push_back(options.backend);
  for (const std::string& name : names) {
    const auto backend = make_backend(name, options.threads);
    check_backend({tensors, report, name, backend->real() == DType::f64}, *backend);
  }
}

}  // namespace hrm::optable
