#pragma once
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "core/backend_select.h"
#include "core/benchmark.h"
#include "core/model.h"
#include "core/session.h"
#include "core/trainer.h"

namespace hrm::binding {

/// The elements of a tensor on the host, in the tensor's own dtype.
using Values = std::variant<std::vector<float>, std::vector<double>, std::vector<int32_t>, std::vector<uint8_t>>;

/// Name, dtype and shape of a tensor.
struct TensorInfo {
  std::string name;
  DType dtype;
  std::vector<int64_t> shape;
};

/// A session with the model that it refers to.
struct SessionState {
  std::shared_ptr<Model> model;
  std::unique_ptr<Session> session;  // null once closed
};

/// What one engine computes with. Belongs to the engine's thread, but for what is marked otherwise.
class EngineState {
 public:
  EngineState(const ModelConfig& config, const BackendOptions& options);

  // Fixed once made, so readable from any thread.
  const std::string& description() const { return description_; }
  int64_t num_parameters() const { return num_parameters_; }
  const std::vector<TensorInfo>& model_infos() const { return model_infos_; }

  /// Optimiser, averages, carry: empty unless training. Any thread.
  std::vector<TensorInfo> trainer_infos() const;
  /// Any tensor by name. Any thread.
  std::optional<TensorInfo> find_info(const std::string& name) const;
  /// Bytes held now (Backend::bytes). Any thread.
  int64_t bytes() const;

  void initialise(uint64_t seed) { model_->initialise(seed); }
  void start_training(const TrainConfig& config, int64_t step);
  void end_training() { set_trainer(nullptr); }
  StepResult train_step(const Batch& batch, const std::optional<Draws>& draws);
  void swap_ema();
  std::shared_ptr<SessionState> open_session(int64_t capacity);
  void close_session(SessionState& state) noexcept;
  Values read(const std::string& name) const;
  void write(const std::string& name, const Values& values);
  /// Frees everything; nothing may be called after it.
  void release() noexcept;

  void start_stages();
  std::vector<std::pair<std::string, Values>> take_stages();
  /// Times one step of the backend at this model's shapes (core/benchmark.h).
  StepTimes time_step(const std::string& step, int64_t batch, double milliseconds) const {
    return hrm::time_step(step, *backend_, model_->config(), batch, milliseconds);
  }

 private:
  Trainer& trainer() const;
  std::vector<NamedTensor> tensors() const;
  void check_indices(const std::string& name, const std::vector<int32_t>& values) const;
  /// Null ends the training.
  void set_trainer(std::unique_ptr<Trainer> trainer);

  std::shared_ptr<Backend> backend_;  // directory_mutex_ guards it against release()
  std::shared_ptr<Model> model_;
  std::unique_ptr<Trainer> trainer_;
  std::vector<std::weak_ptr<SessionState>> sessions_;
  std::vector<std::pair<std::string, Values>> stages_;

  std::string description_;
  int64_t num_parameters_;
  std::vector<TensorInfo> model_infos_;

  mutable std::mutex directory_mutex_;  // guards the two lists
  std::vector<TensorInfo> trainer_infos_, trace_infos_;
};

/// Copies a tensor to the host.
Values download(Backend& backend, const Tensor& tensor);
/// The tensor of that name. Throws ERR_HRM_ARGUMENT.
const NamedTensor& find_tensor(const std::vector<NamedTensor>& tensors, const std::string& name);

}  // namespace hrm::binding
