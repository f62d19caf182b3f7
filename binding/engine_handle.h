#pragma once
#include <napi.h>

#include <memory>

#include "binding/completions.h"
#include "binding/engine_state.h"
#include "binding/engine_thread.h"

namespace hrm::binding {

/// What the JavaScript objects of one engine (itself, its sessions) share: its state and the thread that the state
/// belongs to. Event loop only. Lives while an object or a pending promise needs it; freed engine memory follows it.
class EngineHandle : public std::enable_shared_from_this<EngineHandle> {
 public:
  EngineHandle(Napi::Env env, const ModelConfig& config, const BackendOptions& options);
  ~EngineHandle();

  const std::shared_ptr<EngineState>& state() const { return state_; }
  /// Queues work for the thread. Work captures the state, never the handle. Throws ERR_HRM_DISPOSED after dispose().
  Napi::Promise run(const char* operation, Work work);
  /// Queues a job that nobody waits for; none after dispose().
  void post(EngineThread::PreparedJob job) noexcept { thread_.post(std::move(job)); }
  /// Tells V8 what is held once the jobs queued so far are done, as run() does.
  void report_later() noexcept;
  /// Frees everything once queued work is done. Idempotent.
  void dispose() noexcept;
  void throw_if_disposed(const char* operation) const;

 private:
  void report_bytes(int64_t bytes);

  const Napi::Env env_;
  const std::shared_ptr<EngineState> state_;
  EngineThread thread_;
  EngineThread::PreparedJob release_;  // what dispose() posts
  bool disposed_ = false;
  int64_t reported_bytes_ = 0;  // external memory that V8 was told of, so that it collects dropped engines in time
};

}  // namespace hrm::binding
