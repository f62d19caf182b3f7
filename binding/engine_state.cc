#include "binding/engine_state.h"

#include <iterator>
#include <type_traits>

#include "core/error.h"

namespace hrm::binding {

namespace {

std::vector<TensorInfo> infos(const std::vector<NamedTensor>& tensors) {
  std::vector<TensorInfo> list;
  for (const NamedTensor& entry : tensors) list.push_back({entry.name, entry.tensor->dtype, entry.shape});
  return list;
}

void append(std::vector<NamedTensor>& list, std::vector<NamedTensor> more) {
  list.insert(list.end(), std::make_move_iterator(more.begin()), std::make_move_iterator(more.end()));
}

template <typename T>
Values download_as(Backend& backend, const Tensor& tensor) {
  std::vector<T> values(tensor->count);
  backend.download(tensor, values.data(), 0, values.size());
  return values;
}

}  // namespace

Values download(Backend& backend, const Tensor& tensor) {
  switch (tensor->dtype) {
    case DType::f32:
      return download_as<float>(backend, tensor);
    case DType::f64:
      return download_as<double>(backend, tensor);
    case DType::i32:
      return download_as<int32_t>(backend, tensor);
    default:
      return download_as<uint8_t>(backend, tensor);
  }
}

const NamedTensor& find_tensor(const std::vector<NamedTensor>& tensors, const std::string& name) {
  for (const NamedTensor& entry : tensors)
    if (entry.name == name) return entry;
  throw Error("ERR_HRM_ARGUMENT", "[tensor] expected the name of a tensor, got \"" + name + "\"");
}

EngineState::EngineState(const ModelConfig& config, const BackendOptions& options) {
  config.validate();
  backend_ = select_backend(options);
  model_ = std::make_shared<Model>(config, backend_);
  description_ = backend_->describe();
  num_parameters_ = model_->num_parameters();
  model_infos_ = infos(model_->tensors());
}

int64_t EngineState::bytes() const {
  const std::lock_guard lock(directory_mutex_);
  return backend_ ? backend_->bytes() : 0;
}

std::optional<TensorInfo> EngineState::find_info(const std::string& name) const {
  const std::lock_guard lock(directory_mutex_);
  for (const auto* list : {&model_infos_, &trainer_infos_, &trace_infos_})
    for (const TensorInfo& info : *list)
      if (info.name == name) return info;
  return std::nullopt;
}

std::vector<TensorInfo> EngineState::trainer_infos() const {
  const std::lock_guard lock(directory_mutex_);
  return trainer_infos_;
}

void EngineState::set_trainer(std::unique_ptr<Trainer> trainer) {
  std::vector<TensorInfo> state, trace;
  if (trainer) {
    state = infos(trainer->state_tensors());
    trace = infos(trainer->trace_tensors());
  }
  trainer_ = std::move(trainer);
  const std::lock_guard lock(directory_mutex_);
  trainer_infos_.swap(state);
  trace_infos_.swap(trace);
}

std::vector<NamedTensor> EngineState::tensors() const {
  std::vector<NamedTensor> list = model_->tensors();
  if (trainer_) {
    append(list, trainer_->state_tensors());
    append(list, trainer_->trace_tensors());
  }
  return list;
}

Trainer& EngineState::trainer() const {
  if (!trainer_) throw Error("ERR_HRM_ARGUMENT", "[train] expected a started training, got none; call startTraining()");
  return *trainer_;
}

void EngineState::start_training(const TrainConfig& config, int64_t step) {
  if (trainer_) throw Error("ERR_HRM_BUSY", "[startTraining] expected no training, got a running one; end it first");
  set_trainer(std::make_unique<Trainer>(*model_, config, step));
}

StepResult EngineState::train_step(const Batch& batch, const std::optional<Draws>& draws) {
  const auto rows = static_cast<size_t>(trainer().config().batch_size);
  if (draws && (draws->u.size() != rows || draws->min_steps.size() != rows))
    throw Error("ERR_HRM_SHAPE", "[trainStep] expected " + std::to_string(rows) + " draws of each kind, got " +
                                     std::to_string(draws->u.size()) + " and " +
                                     std::to_string(draws->min_steps.size()));
  return trainer().step(batch, draws);
}

void EngineState::swap_ema() { trainer().swap_ema(); }

std::shared_ptr<SessionState> EngineState::open_session(int64_t capacity) {
  const auto state = std::make_shared<SessionState>();
  state->model = model_;
  state->session = std::make_unique<Session>(*model_, capacity);
  std::erase_if(sessions_, [](const auto& weak) { return weak.expired(); });
  sessions_.push_back(state);
  return state;
}

void EngineState::close_session(SessionState& state) noexcept {
  state.session.reset();
  state.model.reset();
}

Values EngineState::read(const std::string& name) const {
  return download(*backend_, find_tensor(tensors(), name).tensor);
}

void EngineState::write(const std::string& name, const Values& values) {
  const std::vector<NamedTensor> list = tensors();
  const Tensor& tensor = find_tensor(list, name).tensor;
  std::visit(
      [&]<typename T>(const std::vector<T>& elements) {
        constexpr DType dtype = std::is_same_v<T, float>     ? DType::f32
                                : std::is_same_v<T, double>  ? DType::f64
                                : std::is_same_v<T, int32_t> ? DType::i32
                                                             : DType::u8;
        if (dtype != tensor->dtype)
          throw Error("ERR_HRM_ARGUMENT", "[write] expected an array of the dtype of " + name + ", got another one");
        if (elements.size() != tensor->count)
          throw Error("ERR_HRM_SHAPE", "[write] expected " + std::to_string(tensor->count) + " elements for " + name +
                                           ", got " + std::to_string(elements.size()));
        if constexpr (std::is_same_v<T, int32_t>) check_indices(name, elements);
        backend_->upload(tensor, elements.data(), 0, elements.size());
      },
      values);
}

// Backends index tables with these without looking; a batch is checked on its way in, a written carry here.
void EngineState::check_indices(const std::string& name, const std::vector<int32_t>& values) const {
  const ModelConfig& config = model_->config();
  int64_t low = 0, end = INT32_MAX;
  if (name == "carry.inputs") end = config.vocab_size;
  if (name == "carry.labels") low = INT32_MIN, end = config.vocab_size;
  if (name == "carry.puzzle_identifiers") end = config.num_puzzle_identifiers;
  for (const int32_t value : values)
    if (value < low || value >= end)
      throw Error("ERR_HRM_ARGUMENT", "[write] expected values of " + name + " between " + std::to_string(low) +
                                          " and " + std::to_string(end - 1) + ", got " + std::to_string(value));
}

void EngineState::release() noexcept {
  for (const auto& weak : sessions_)
    if (const auto open = weak.lock()) {
      open->session.reset();
      open->model.reset();
    }
  set_trainer(nullptr);
  model_.reset();
  std::shared_ptr<Backend> backend;  // freed without the lock
  const std::lock_guard lock(directory_mutex_);
  backend.swap(backend_);
}

void EngineState::start_stages() {
  stages_.clear();
  const bool supported = backend_->observe([this](std::string_view stage, const void* values, size_t count) {
    if (backend_->real() == DType::f64)
      stages_.emplace_back(stage,
                           std::vector(static_cast<const double*>(values), static_cast<const double*>(values) + count));
    else
      stages_.emplace_back(stage,
                           std::vector(static_cast<const float*>(values), static_cast<const float*>(values) + count));
  });
  if (!supported)
    throw Error("ERR_HRM_ARGUMENT", "[startStages] expected an engine that keeps sub-module outputs, got " +
                                        description_ + "; use precision fp64 or isa reference");
}

std::vector<std::pair<std::string, Values>> EngineState::take_stages() {
  backend_->observe({});
  return std::exchange(stages_, {});
}

}  // namespace hrm::binding
