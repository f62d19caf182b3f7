#include "binding/engine_handle.h"

#include "binding/addon_data.h"
#include "core/error.h"

namespace hrm::binding {

EngineHandle::EngineHandle(Napi::Env env, const ModelConfig& config, const BackendOptions& options)
    : env_(env), state_(std::make_shared<EngineState>(config, options)) {
  report_bytes(state_->bytes());
}

EngineHandle::~EngineHandle() { report_bytes(0); }

Napi::Promise EngineHandle::run(const char* operation, Work work) {
  throw_if_disposed(operation);
  AddonData& addon = AddonData::of(env_);
  const Napi::Promise promise = addon.completions->run(env_, thread_, std::move(work), [this] {
    if (!disposed_) report_bytes(state_->bytes());
    auto& busy = AddonData::of(env_).busy;
    busy.erase(busy.find(shared_from_this()));
  });
  addon.busy.insert(shared_from_this());
  return promise;
}

void EngineHandle::dispose() {
  if (disposed_) return;
  disposed_ = true;
  thread_.post([state = state_] { state->release(); });
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
