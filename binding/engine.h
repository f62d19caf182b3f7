#pragma once
#include <napi.h>

#include <memory>

#include "binding/convert.h"
#include "binding/engine_handle.h"

namespace hrm::binding {

/// NativeEngine of lib/native.ts.
class EngineObject : public Napi::ObjectWrap<EngineObject> {
 public:
  explicit EngineObject(const Napi::CallbackInfo& info);
  /// The handle behind a value from JavaScript. Throws a TypeError for what is no Engine.
  static const std::shared_ptr<EngineHandle>& handle_of(const Argument& engine);

 private:
  friend void export_engine(Napi::Env env, Napi::Object exports);
  Napi::Value init(const Napi::CallbackInfo& info);
  Napi::Value model_tensors(const Napi::CallbackInfo& info);
  Napi::Value trainer_tensors(const Napi::CallbackInfo& info);
  Napi::Value tensor_info(const Napi::CallbackInfo& info);
  Napi::Value read(const Napi::CallbackInfo& info);
  Napi::Value write(const Napi::CallbackInfo& info);
  Napi::Value start_training(const Napi::CallbackInfo& info);
  Napi::Value train_step(const Napi::CallbackInfo& info);
  Napi::Value end_training(const Napi::CallbackInfo& info);
  Napi::Value swap_ema(const Napi::CallbackInfo& info);
  Napi::Value open_session(const Napi::CallbackInfo& info);
  void dispose(const Napi::CallbackInfo& info);

  std::shared_ptr<EngineHandle> handle_;
};

}  // namespace hrm::binding
