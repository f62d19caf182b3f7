#include "core/trainer.h"

#include <array>
#include <cmath>

#include "core/error.h"
#include "core/real_values.h"

namespace hrm {

namespace {

const TrainConfig& validated(const TrainConfig& config) {
  config.validate();
  return config;
}

}  // namespace

Trainer::Trainer(Model& model, const TrainConfig& config, int64_t step)
    : model_(model),
      backend_(model.backend()),
      config_(validated(config)),
      batch_(config.batch_size),
      rows_(config.micro_batch > 0 ? config.micro_batch : config.batch_size),
      step_(step),
      act_(model.config().halt_max_segments > 1),
      bootstraps_(act_ && !model.config().halt_only),
      all_halted_(static_cast<size_t>(batch_), 1),
      carry_(model, config.batch_size, true),
      tape_(model.make_tape(rows_)) {
  const Shapes& s = model_.shapes();
  const DType real = backend_.real();
  const auto allocate = [&](DType dtype, int64_t count) {
    return backend_.allocate(dtype, static_cast<size_t>(count));
  };
  const int64_t B = batch_, M = rows_;
  if (s.E > 0) {
    puzzle_rows_ = allocate(real, M * s.E);
    grad_puzzle_rows_ = allocate(real, B * s.E);
  }
  x_ = backend_.allocate_activations(s, M);
  grad_ = backend_.allocate_activations(s, M);
  logits_ = allocate(real, B * s.T * s.V);
  grad_logits_ = allocate(real, M * s.T * s.V);
  q_ = allocate(real, B * 2);
  grad_q_ = allocate(real, M * 2);
  if (act_) min_steps_ = allocate(DType::i32, B);
  if (bootstraps_) {
    next_ = model_.allocate_states(M);
    next_q_ = allocate(real, M * 2);
    target_ = allocate(real, B);
  }
  row_stats_ = allocate(DType::f64, B * kRowStats);
  hyper_ = allocate(DType::f64, kHyperCount);
  for (int64_t first = 0; first < B; first += M) {
    const auto rows = [&](const Tensor& tensor) {
      if (!tensor || M == B) return tensor;
      const size_t width = tensor->count / static_cast<size_t>(B);
      return backend_.view(tensor, static_cast<size_t>(first) * width, static_cast<size_t>(M) * width);
    };
    micro_batches_.push_back({.states = {rows(carry_.states().h), rows(carry_.states().l)},
                              .inputs = rows(carry_.inputs()),
                              .labels = rows(carry_.labels()),
                              .puzzle_ids = rows(carry_.puzzle_ids()),
                              .steps = rows(carry_.steps()),
                              .halted = rows(carry_.halted()),
                              .logits = rows(logits_),
                              .q = rows(q_),
                              .target = rows(target_),
                              .min_steps = rows(min_steps_),
                              .row_stats = rows(row_stats_),
                              .grad_puzzle_rows = rows(grad_puzzle_rows_)});
  }

  grads_ = model_.allocate_weights();
  if (micro_batches_.size() > 1) {
    micro_grads_ = model_.allocate_weights();
    micro_grad_list_ = model_.name_weights(micro_grads_);
  }
  m_ = model_.allocate_weights();
  v_ = model_.allocate_weights();
  weight_list_ = model_.name_weights(model_.weights());
  grad_list_ = model_.name_weights(grads_);
  m_list_ = model_.name_weights(m_);
  v_list_ = model_.name_weights(v_);
  grad_sums_ = allocate(DType::f64, static_cast<int64_t>(grad_list_.size()) + 1);
  if (config_.ema > 0) {
    average_ = model_.allocate_weights();
    average_list_ = model_.name_weights(average_);
    if (model_.puzzle_table()) {
      average_puzzle_table_ = backend_.allocate(real, model_.puzzle_table()->count);
      average_list_.push_back(
          {"inner.puzzle_emb.weights", {model_.config().num_puzzle_identifiers, s.E}, average_puzzle_table_});
    }
    std::vector<NamedTensor> sources = weight_list_;
    if (model_.puzzle_table()) sources.push_back({"", {}, model_.puzzle_table()});
    for (size_t i = 0; i < average_list_.size(); ++i)
      backend_.copy(sources[i].tensor, average_list_[i].tensor, sources[i].tensor->count);
  }
}

StepResult Trainer::step(const Batch& batch, const std::optional<Draws>& draws) {
  check_batch(model_, batch, batch_, true);
  ++step_;
  try {
    return staged_step(batch, draws);
  } catch (...) {
    --step_;
    carry_.set_halted(all_halted_);
    throw;
  }
}

StepResult Trainer::staged_step(const Batch& batch, const std::optional<Draws>& draws) {
  stage(batch, draws);
  backend_.record(draws ? drawn_step_ : explored_step_, [&] {
    const ModelConfig& config = model_.config();
    begin();
    if (act_ && !draws)
      backend_.explore(batch_, config_.seed, config.halt_exploration_prob, config.halt_max_segments, hyper_,
                       min_steps_);
    for (size_t micro = 0; micro < micro_batches_.size(); ++micro) {
      think(micro);
      forward(micro);
      if (bootstraps_) bootstrap(micro);
      backward(micro);
    }
    measure();
    // Data-parallel training would reduce gradients and sparse rows across devices here: complete, not yet applied.
    update();
  });
  StepResult result = summarise();
  if (!result.non_finite.empty()) carry_.set_halted(all_halted_);
  return result;
}

void Trainer::stage(const Batch& batch, const std::optional<Draws>& draws) {
  carry_.stage(batch);
  const auto rate = [&](double base) {
    return learning_rate(step_, base, config_.lr_warmup_steps, config_.total_steps, config_.lr_min_ratio);
  };
  std::array<double, kHyperCount> hyper{};
  hyper[kLearningRate] = rate(config_.lr);
  hyper[kPuzzleLearningRate] = rate(config_.puzzle_emb_lr);
  hyper[kStep] = static_cast<double>(step_);
  hyper[kEmaDecay] = ema_decay(step_, config_.ema, config_.ema_warmup);
  backend_.upload(hyper_, hyper.data(), 0, hyper.size());
  if (!act_ || !draws) return;
  // Exploration (paper, ACT): with probability epsilon a fresh minimum of 2 … M_max segments holds for this decision.
  std::vector<int32_t> minimum(static_cast<size_t>(batch_));
  for (size_t b = 0; b < minimum.size(); ++b)
    minimum[b] = draws->u[b] < static_cast<float>(model_.config().halt_exploration_prob) ? draws->min_steps[b] : 0;
  backend_.upload(min_steps_, minimum.data(), 0, minimum.size());
}

void Trainer::begin() { carry_.replace_halted(batch_, true); }

void Trainer::think(size_t micro) {
  const Shapes& s = model_.shapes();
  const MicroBatch& on = micro_batches_[micro];
  if (s.E > 0) backend_.gather_rows(rows_, s.E, model_.puzzle_table(), on.puzzle_ids, puzzle_rows_);
  model_.embed(rows_, on.inputs, puzzle_rows_, x_);
  model_.think(rows_, on.states, x_);
}

void Trainer::forward(size_t micro) {
  const ModelConfig& config = model_.config();
  const MicroBatch& on = micro_batches_[micro];
  model_.last_update(rows_, on.states, x_, &tape_);
  model_.readout(rows_, on.states.h, on.logits, on.q);
  backend_.halt(rows_, config.halt_max_segments, config.halt_rule(), on.q, on.min_steps, on.steps, on.halted);
}

void Trainer::bootstrap(size_t micro) {
  const MicroBatch& on = micro_batches_[micro];
  backend_.copy(on.states.h, next_.h, next_.h->count);
  backend_.copy(on.states.l, next_.l, next_.l->count);
  model_.think(rows_, next_, x_);
  model_.last_update(rows_, next_, x_, nullptr);
  model_.readout(rows_, next_.h, {}, next_q_);
  backend_.q_continue_target(rows_, model_.config().halt_max_segments, next_q_, on.steps, on.target);
}

void Trainer::backward(size_t micro) {
  const MicroBatch& on = micro_batches_[micro];
  backend_.loss(model_.shapes(), rows_, model_.config().loss_type, 1 / static_cast<double>(batch_), on.logits, on.q,
                on.labels, on.target, on.row_stats, grad_logits_, grad_q_);
  model_.backward(rows_, on.inputs, on.states.h, grad_logits_, grad_q_, tape_, grad_,
                  micro == 0 ? grads_ : micro_grads_, on.grad_puzzle_rows);
  if (micro == 0) return;
  for (size_t i = 0; i < grad_list_.size(); ++i) backend_.add(grad_list_[i].tensor, micro_grad_list_[i].tensor);
}

void Trainer::measure() {
  for (size_t i = 0; i < grad_list_.size(); ++i) backend_.sum_squares(grad_list_[i].tensor, grad_sums_, i);
  if (grad_puzzle_rows_) backend_.sum_squares(grad_puzzle_rows_, grad_sums_, grad_list_.size());
  backend_.guard(grad_sums_, row_stats_, hyper_);
}

void Trainer::update() {
  if (grad_puzzle_rows_)
    backend_.sign_sgd(batch_, model_.shapes().E, config_.puzzle_emb_weight_decay, hyper_, model_.puzzle_table(),
                      carry_.puzzle_ids(), grad_puzzle_rows_);
  for (size_t i = 0; i < weight_list_.size(); ++i)
    backend_.adam_atan2(config_.adam, hyper_, weight_list_[i].tensor, grad_list_[i].tensor, m_list_[i].tensor,
                        v_list_[i].tensor);
  if (average_list_.empty()) return;
  for (size_t i = 0; i < weight_list_.size(); ++i)
    backend_.ema(hyper_, average_list_[i].tensor, weight_list_[i].tensor);
  if (average_puzzle_table_) backend_.ema(hyper_, average_puzzle_table_, model_.puzzle_table());
}

StepResult Trainer::summarise() const {
  const auto rows = static_cast<size_t>(batch_);
  std::vector<double> stats(rows * kRowStats), sums(grad_list_.size() + 1);
  std::vector<int32_t> steps(rows);
  std::vector<uint8_t> halted(rows);
  backend_.download(row_stats_, stats.data(), 0, stats.size());
  backend_.download(grad_sums_, sums.data(), 0, sums.size());
  backend_.download(carry_.steps(), steps.data(), 0, rows);
  backend_.download(carry_.halted(), halted.data(), 0, rows);
  const std::vector<double> q = download_real(backend_, q_, rows * 2);

  StepResult result{
      .step = step_,
      .lr = learning_rate(step_, config_.lr, config_.lr_warmup_steps, config_.total_steps, config_.lr_min_ratio),
      .loss = 0,
      .grad_norm = 0,
      .non_finite = {},
      .metrics = {}};
  MetricSums& metrics = result.metrics;
  for (size_t b = 0; b < rows; ++b) {
    const double* row = &stats[b * kRowStats];
    metrics.lm_loss += row[kLmLoss];
    metrics.q_halt_loss += row[kQHaltLoss];
    metrics.q_continue_loss += row[kQContinueLoss];
    if (!halted[b] || row[kLabelCount] == 0) continue;
    const bool correct = row[kRowCorrect] != 0;
    metrics.count += 1;
    metrics.accuracy += row[kCorrectCount] / row[kLabelCount];
    metrics.exact_accuracy += correct;
    metrics.q_halt_accuracy += (q[2 * b] >= 0) == correct;
    metrics.steps += steps[b];
  }
  result.loss = metrics.lm_loss + (metrics.q_halt_loss + metrics.q_continue_loss) / 2;
  double squares = 0;
  for (size_t i = 0; i < grad_list_.size(); ++i) squares += sums[i];
  result.grad_norm = std::sqrt(squares);
  result.non_finite = find_non_finite(result, sums);
  return result;
}

std::string Trainer::find_non_finite(const StepResult& result, const std::vector<double>& sums) const {
  double apply = 0;
  backend_.download(hyper_, &apply, kApply, 1);
  if (apply != 0) return {};
  const auto finite = [&](double value) {
    return backend_.real() == DType::f64 ? std::isfinite(value) : std::isfinite(static_cast<float>(value));
  };
  // A bad weight explains everything that follows from it, so weights are searched first; only now, as it costs a pass.
  const Tensor sum = backend_.allocate(DType::f64, 1);
  for (const NamedTensor& weight : model_.tensors()) {
    backend_.sum_squares(weight.tensor, sum, 0);
    double value;
    backend_.download(sum, &value, 0, 1);
    if (!std::isfinite(value)) return weight.name;
  }
  if (!finite(result.loss)) return "loss";
  for (size_t i = 0; i < grad_list_.size(); ++i)
    if (!finite(sums[i])) return "grad." + grad_list_[i].name;
  return "grad.inner.puzzle_emb.local_weights";
}

void Trainer::swap_ema() {
  for (size_t i = 0; i < average_list_.size(); ++i)
    backend_.swap(i < weight_list_.size() ? weight_list_[i].tensor : model_.puzzle_table(), average_list_[i].tensor);
}

std::vector<NamedTensor> Trainer::state_tensors() const {
  std::vector<NamedTensor> named;
  const auto append = [&](const char* prefix, const std::vector<NamedTensor>& list) {
    for (const NamedTensor& entry : list) named.push_back({prefix + entry.name, entry.shape, entry.tensor});
  };
  append("optimizer.m.", m_list_);
  append("optimizer.v.", v_list_);
  append("ema.", average_list_);
  append("", carry_.tensors());
  return named;
}

std::vector<NamedTensor> Trainer::trace_tensors() const {
  const Shapes& s = model_.shapes();
  const int64_t B = batch_;
  std::vector<NamedTensor> named;
  for (const NamedTensor& grad : grad_list_) named.push_back({"grad." + grad.name, grad.shape, grad.tensor});
  if (grad_puzzle_rows_) named.push_back({"grad.inner.puzzle_emb.local_weights", {B, s.E}, grad_puzzle_rows_});
  named.push_back({"last.logits", {B, s.T, s.V}, logits_});
  named.push_back({"last.q_logits", {B, 2}, q_});
  if (target_) named.push_back({"last.target_q_continue", {B}, target_});
  named.push_back({"last.row_stats", {B, kRowStats}, row_stats_});
  return named;
}

}  // namespace hrm
