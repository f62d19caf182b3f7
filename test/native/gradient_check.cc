// The one-step gradient of a whole model, as the trainer computes it, against finite differences in double.
// The one-step gradient is not the derivative of the whole unroll, so what it holds constant is held fixed here: the
// states z_h and z_l of the no-grad part, the Q-continue targets and the row-correct flags.

#include <cmath>
#include <stdexcept>

#include "core/model.h"
#include "core/trainer.h"
#include "cpu/reference/reference_backend.h"
#include "test/native/finite_differences.h"
#include "test/native/fixture.h"
#include "test/native/modes.h"

namespace hrm::optable {
namespace {

constexpr int kDirections = 20, kCoordinates = 50;
constexpr int64_t kBatch = 3;

ModelConfig small_config(bool rope, LossType loss_type, bool halt_only) {
  return {.vocab_size = 7,
          .seq_len = 6,
          .puzzle_emb_ndim = 40,  // more than hidden_size: two puzzle positions, the second one padded
          .num_puzzle_identifiers = 4,
          .h_cycles = 2,
          .l_cycles = 2,
          .h_layers = 1,
          .l_layers = 2,
          .hidden_size = 32,
          .num_heads = 2,
          .expansion = 2,
          .rope = rope,
          .rope_theta = 10000,
          .rms_norm_eps = 1e-5,
          .halt_max_segments = 4,
          .halt_exploration_prob = 0.5,
          .loss_type = loss_type,
          .halt_only = halt_only};
}

const TrainConfig kTraining = {.batch_size = kBatch,
                               .micro_batch = 0,
                               .total_steps = 10,
                               .lr = 1e-3,
                               .lr_min_ratio = 1,
                               .lr_warmup_steps = 0,
                               .adam = {0.9, 0.95, 0.1, AdamVariant::outside},
                               .puzzle_emb_lr = 1e-3,
                               .puzzle_emb_weight_decay = 0.1,
                               .ema = 0,
                               .ema_warmup = 0,
                               .seed = 1};

const Tensor& find(const std::vector<NamedTensor>& tensors, const std::string& name) {
  for (const NamedTensor& entry : tensors)
    if (entry.name == name) return entry.tensor;
  throw std::runtime_error("[model-grad] expected a tensor named " + name + ", got none");
}

/// A model with random weights (also where the initial ones are zero), and one training step of it.
class CheckedModel {
 public:
  explicit CheckedModel(const ModelConfig& config)
      : backend_(std::make_shared<ReferenceBackend<double>>()), model_(config, backend_) {
    for (const NamedTensor& entry : model_.tensors()) {
      const double scale = 1.7 / std::sqrt(static_cast<double>(entry.shape.back()));
      std::vector<double> values(entry.tensor->count);
      for (size_t i = 0; i < values.size(); ++i) values[i] = scale * draw(entry.name, 0, i);
      upload_doubles(*backend_, entry.tensor, values);
    }
    weights_ = model_.name_weights(model_.weights());
    const Shapes& s = model_.shapes();
    batch_.puzzle_ids = {1, 3, 1};
    for (int64_t i = 0; i < kBatch * s.T; ++i) {
      batch_.inputs.push_back(static_cast<int32_t>(i * 5 % s.V));
      batch_.labels.push_back(static_cast<int32_t>(i * 3 % s.V));
    }
    choose_labels();
    train();
  }

  Differentiable function(const std::string& name) {
    Differentiable function{name, {}, {}, {}, {}};
    for (const NamedTensor& entry : weights_) {
      function.group_names.push_back(entry.name);
      function.point.push_back(download_doubles(*backend_, entry.tensor));
    }
    function.group_names.push_back("puzzle rows");
    function.point.push_back(puzzle_rows_);
    function.value = [this](const Groups& at) { return loss(at); };
    function.gradient = [this](const Groups&) { return gradient_; };
    return function;
  }

 private:
  Tensor tensor(DType dtype, const std::vector<double>& values) const {
    const Tensor made = backend_->allocate(dtype, values.size());
    upload_doubles(*backend_, made, values);
    return made;
  }
  Tensor reals(const std::vector<double>& values) const { return tensor(DType::f64, values); }
  Tensor integers(const std::vector<int32_t>& values) const {
    return tensor(DType::i32, {values.begin(), values.end()});
  }

  /// Row 0: the model's own predictions, a correct row; row 1: one token ignored; row 2: all ignored.
  void choose_labels() {
    Trainer trainer(model_, kTraining, 0);
    trainer.stage(batch_, {});
    trainer.begin();
    trainer.think(0);
    trainer.forward(0);
    const Shapes& s = model_.shapes();
    const Tensor predictions = backend_->allocate(DType::i32, static_cast<size_t>(kBatch * s.T));
    backend_->argmax(s, kBatch, find(trainer.trace_tensors(), "last.logits"), predictions);
    backend_->download(predictions, batch_.labels.data(), 0, static_cast<size_t>(s.T));
    batch_.labels[static_cast<size_t>(s.T + 2)] = -100;
    for (int64_t t = 0; t < s.T; ++t) batch_.labels[static_cast<size_t>(2 * s.T + t)] = -100;
  }

  /// One step's gradient, and the constants of it.
  void train() {
    Trainer trainer(model_, kTraining, 0);
    trainer.stage(batch_, {});
    trainer.begin();
    trainer.think(0);
    z_h_ = download_doubles(*backend_, find(trainer.state_tensors(), "carry.z_H"));
    z_l_ = download_doubles(*backend_, find(trainer.state_tensors(), "carry.z_L"));
    trainer.forward(0);
    if (!model_.config().halt_only) trainer.bootstrap(0);
    trainer.backward(0);
    const auto trace = trainer.trace_tensors();
    if (!model_.config().halt_only) targets_ = download_doubles(*backend_, find(trace, "last.target_q_continue"));
    row_correct_ = row_correct(download_doubles(*backend_, find(trace, "last.row_stats")));
    for (const NamedTensor& entry : weights_)
      gradient_.push_back(download_doubles(*backend_, find(trace, "grad." + entry.name)));
    gradient_.push_back(download_doubles(*backend_, find(trace, "grad.inner.puzzle_emb.local_weights")));
    const auto table = download_doubles(*backend_, model_.puzzle_table());
    const auto E = static_cast<ptrdiff_t>(model_.shapes().E);
    for (const int32_t id : batch_.puzzle_ids)
      puzzle_rows_.insert(puzzle_rows_.end(), table.begin() + id * E, table.begin() + (id + 1) * E);
  }

  static std::vector<double> row_correct(const std::vector<double>& row_stats) {
    std::vector<double> flags;
    for (size_t row = 0; row < row_stats.size(); row += kRowStats) flags.push_back(row_stats[row + kRowCorrect]);
    return flags;
  }

  /// The loss that the trainer's gradient is of, from the fixed states on.
  double loss(const Groups& at) const {
    for (size_t i = 0; i < weights_.size(); ++i) upload_doubles(*backend_, weights_[i].tensor, at[i]);
    const Shapes& s = model_.shapes();
    const States z = {reals(z_h_), reals(z_l_)};
    const Tensor x = backend_->allocate(DType::f64, z_h_.size());
    model_.embed(kBatch, integers(batch_.inputs), reals(at.back()), x);
    model_.last_update(kBatch, z, x, nullptr);
    const Tensor logits = backend_->allocate(DType::f64, static_cast<size_t>(kBatch * s.T * s.V));
    const Tensor q = backend_->allocate(DType::f64, kBatch * 2);
    const Tensor row_stats = backend_->allocate(DType::f64, kBatch * kRowStats);
    model_.readout(kBatch, z.h, logits, q);
    backend_->loss(s, kBatch, model_.config().loss_type, 1, logits, q, integers(batch_.labels),
                   targets_.empty() ? Tensor() : reals(targets_), row_stats, {}, {});
    const auto stats = download_doubles(*backend_, row_stats);
    if (row_correct(stats) != row_correct_)
      throw std::runtime_error("[model-grad] expected fixed row-correct flags, got others; choose other weights");
    double sum = 0;
    for (size_t row = 0; row < stats.size(); row += kRowStats)
      sum += stats[row + kLmLoss] + (stats[row + kQHaltLoss] + stats[row + kQContinueLoss]) / 2;
    return sum / kBatch;
  }

  std::shared_ptr<Backend> backend_;
  Model model_;
  std::vector<NamedTensor> weights_;
  Batch batch_;
  std::vector<double> z_h_, z_l_;    // [B, S, D], after the no-grad part
  std::vector<double> targets_;      // [B], of q_continue; empty where it has none
  std::vector<double> row_correct_;  // [B]
  std::vector<double> puzzle_rows_;  // [B, E]
  Groups gradient_;                  // of the weights, then of the puzzle rows
};

}  // namespace

void run_model_grad(const Options&, Report& report) {
  for (const bool rope : {true, false})
    for (const LossType type : {LossType::stablemax_cross_entropy, LossType::softmax_cross_entropy}) {
      const std::string name = std::string("model ") + (rope ? "rope" : "learned") +
                               (type == LossType::stablemax_cross_entropy ? "-stablemax" : "-softmax");
      for (const bool halt_only : {false, true}) {
        CheckedModel model(small_config(rope, type, halt_only));
        check_gradient(model.function(name + (halt_only ? "-halt-only" : "")), kDirections, kCoordinates, report);
      }
    }
}

}  // namespace hrm::optable
