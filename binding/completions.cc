#include "binding/completions.h"

#include <exception>

#include "binding/convert.h"

namespace hrm::binding {

struct Completions::Task {
  Napi::Promise::Deferred deferred;
  Work work;
  std::function<void()> settled;
  Convert convert = {};
  std::exception_ptr failure = {};
};

std::shared_ptr<Completions> Completions::create(Napi::Env env) {
  const std::shared_ptr<Completions> completions(new Completions);
  const Napi::String name = Napi::String::New(env, "hrm");
  napi_status status = napi_create_threadsafe_function(env, nullptr, nullptr, name, 0, 1, nullptr, nullptr,
                                                       completions.get(), settle, &completions->function_);
  if (status == napi_ok) status = napi_unref_threadsafe_function(env, completions->function_);
  if (status != napi_ok) throw Napi::Error::New(env, "[load] expected a thread-safe function, got none");
  // Hooks run in reverse: this one before the function's own, so that no thread is left with a dangling function.
  env.AddCleanupHook([completions] { completions->close(); });
  return completions;
}

bool Completions::open() {
  const std::lock_guard lock(mutex_);
  return function_ != nullptr;
}

void Completions::close() {
  const std::lock_guard lock(mutex_);
  napi_release_threadsafe_function(function_, napi_tsfn_abort);
  function_ = nullptr;
}

Napi::Promise Completions::run(Napi::Env env, EngineThread& thread, Work work, std::function<void()> settled) {
  auto deferred = Napi::Promise::Deferred::New(env);
  // std::function wants copyable captures, hence a shared task; the engine thread and this loop never touch it at once.
  std::unique_ptr<Task> made(new Task{deferred, std::move(work), std::move(settled)});
  const auto task = std::make_shared<std::unique_ptr<Task>>(std::move(made));
  thread.post([self = shared_from_this(), task] {
    if (!self->open()) return;
    try {
      (*task)->convert = (*task)->work();
    } catch (...) {
      (*task)->failure = std::current_exception();
    }
    (*task)->work = {};
    self->deliver(std::move(*task));
  });
  if (pending_++ == 0) napi_ref_threadsafe_function(env, function_);
  return deferred.Promise();
}

void Completions::deliver(std::unique_ptr<Task> task) {
  const std::lock_guard lock(mutex_);
  if (function_ == nullptr) return;
  if (napi_call_threadsafe_function(function_, task.get(), napi_tsfn_nonblocking) == napi_ok) task.release();
}

// An environment that is being terminated fails every call here; nobody is left to be told, so statuses are dropped.
void Completions::settle(napi_env env, napi_value, void* context, void* data) {
  const std::unique_ptr<Task> task(static_cast<Task*>(data));
  if (env == nullptr) return;
  auto* self = static_cast<Completions*>(context);
  if (--self->pending_ == 0) napi_unref_threadsafe_function(env, self->function_);
  try {
    napi_value value = nullptr;
    if (!task->failure) {
      try {
        value = task->convert(env);
      } catch (...) {
        task->failure = std::current_exception();
      }
    }
    // Only now: what the value is made of may live for this work alone.
    task->settled();
    if (task->failure)
      task->deferred.Reject(to_error(env, task->failure));
    else
      task->deferred.Resolve(value);
  } catch (...) {
  }
}

}  // namespace hrm::binding
