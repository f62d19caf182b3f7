#pragma once
#include <napi.h>

#include <memory>

#include "binding/engine_handle.h"

namespace hrm::binding {

/// NativeSession of lib/native.ts.
class SessionObject : public Napi::ObjectWrap<SessionObject> {
 public:
  /// What a session is made of; JavaScript cannot make one.
  struct Parts {
    std::shared_ptr<EngineHandle> engine;
    std::shared_ptr<SessionState> state;
    EngineThread::PreparedJob closing = {};  // what close() posts
  };
  static Napi::Value make(Napi::Env env, Parts parts);
  explicit SessionObject(const Napi::CallbackInfo& info);
  ~SessionObject() override { close(); }

 private:
  friend void export_session(Napi::Env env);
  Napi::Value segment(const Napi::CallbackInfo& info);
  Napi::Value read(const Napi::CallbackInfo& info);
  void close(const Napi::CallbackInfo&);
  void close() noexcept;
  void throw_if_closed(const char* operation) const;

  Parts parts_;
  bool closed_ = false;
};

}  // namespace hrm::binding
