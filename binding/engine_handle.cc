#include "binding/engine_handle.h"

#include "binding/addon_data.h"
#include "binding/convert.h"
#include "core/error.h"

namespace hrm::binding {

EngineHandle::EngineHandle(Napi::Env env, const ModelConfig& config, const BackendOptions& options)
    : env_(env),
      state_(std::make_shared<EngineState>(config, options)),
      release_(EngineThread::prepare([state = state_] { state->release(); })) {
  report_bytes(state_->bytes());
}

EngineHandle::~EngineHandle() { report_bytes(0); }

Napi::Promise EngineHandle::run(const char* operation, Work work) {
  throw_if_disposed(operation);
  auto& busy = AddonData::of(env_).busy;
  const auto self = busy.insert(busy.end(), shared_from_this());
  try {
    return AddonData::of(env_).completions->run(env_, thread_, std::move(work), [this, self] {
      if (!disposed_) report_bytes(state_->bytes());
      AddonData::of(env_).busy.erase(self);
    });
  } catch (...) {
    busy.erase(self);
    throw;
  }
}

void EngineHandle::report_later() noexcept {
  try {
    run("report", nothing);
  } catch (...) {
    // Disposed of, or no memory: then the next piece of work reports.
  }
}

void EngineHandle::dispose() noexcept {
  if (disposed_) return;
  disposed_ = true;
  thread_.post(std::move(release_));
  thread_.close();
  report_bytes(0);
}

void EngineHandle::throw_if_disposed(const char* operation) const {
  if (disposed_)
    throw Error("ERR_HRM_DISPOSED", std::string("[") + operation + "] expected a live model, got a disposed one");
}

void EngineHandle::report_bytes(int64_t bytes) {
  int64_t total;
  napi_adjust_external_memory(env_, bytes - reported_bytes_, &total);
  reported_bytes_ = bytes;
}

}  // namespace hrm::binding
