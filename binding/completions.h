#pragma once
#include <napi.h>

#include <functional>
#include <memory>
#include <mutex>

#include "binding/engine_thread.h"

namespace hrm::binding {

/// Turns the result of a piece of work into a JavaScript value, on the event loop.
using Convert = std::function<Napi::Value(Napi::Env)>;
/// A piece of work for an engine thread. May throw anything.
using Work = std::function<Convert()>;

/// Brings results from engine threads back to the event loop of one environment. Keeps the loop alive only while
/// promises are pending; once the environment ends, late results are dropped and queued work is not begun.
class Completions : public std::enable_shared_from_this<Completions> {
 public:
  static std::shared_ptr<Completions> create(Napi::Env env);
  ~Completions() = default;
  Completions(const Completions&) = delete;
  Completions& operator=(const Completions&) = delete;

  /// Queues the work. Promises of one thread settle in the order of these calls; `settled` runs on the event loop just
  /// before, whether the work failed or not.
  Napi::Promise run(Napi::Env env, EngineThread& thread, Work work, std::function<void()> settled);

 private:
  struct Task;
  Completions() = default;
  bool open();
  void deliver(std::unique_ptr<Task> task);
  void close();
  static void settle(napi_env env, napi_value callback, void* context, void* data);

  std::mutex mutex_;                             // guards function_
  napi_threadsafe_function function_ = nullptr;  // null once the environment ends
  size_t pending_ = 0;                           // promises not yet settled; event loop only
};

}  // namespace hrm::binding
