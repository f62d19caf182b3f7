// The addon as it is, with failures to order. Its exports have one more, `faults`:
//   arm(site, kind, n, onward): the n-th call from now on fails, or each from the n-th on
//     site 'memory': what the addon allocates, by operator new, malloc, calloc, aligned_alloc, mmap, pthread_create
//          'task':   a task of the compute pool
//          'call':   a call from JavaScript
//     kind 'bad_alloc', 'runtime_error' or 'int': what is thrown; C's functions return as they do out of memory
//   disarm(): { calls, fired }, what was counted since arm()
//   throwInPool(threads, tasks, failing): a job of the pool of which these tasks throw their index
//   externalMemory(): bytes outside its heap that V8 was told of, by any addon; process.memoryUsage() has buffers alone
//   loaded: the same of the loading itself, where the environment variable HRM_FAULTS_LOAD = n armed it
#include <napi.h>
#include <pthread.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <new>
#include <stdexcept>
#include <string>
#include <vector>

#include "binding/addon_data.h"
#include "binding/convert.h"
#include "cpu/thread_pool.h"

namespace {

enum Kind : int { kBadAlloc, kRuntimeError, kInt };

class Site {
 public:
  void arm(Kind kind, int64_t n, bool onward) {
    calls_ = fired_ = 0;
    kind_ = kind;
    onward_ = onward;
    target_ = n;
  }
  void disarm() { target_ = 0; }
  int64_t calls() const { return calls_; }
  int64_t fired() const { return fired_; }
  Kind kind() const { return kind_; }

  /// Counts a call. Whether it fails.
  bool fails() {
    const int64_t target = target_;
    if (target == 0) return false;
    const int64_t call = ++calls_;
    const bool failing = onward_ ? call >= target : call == target;
    fired_ += failing;
    return failing;
  }

  void throw_if_it_fails() {
    if (!fails()) return;
    if (kind_ == kRuntimeError) throw std::runtime_error("planted");
    if (kind_ == kInt) throw 42;
    throw std::bad_alloc();
  }

 private:
  std::atomic<int64_t> target_{0}, calls_{0}, fired_{0};  // target_ 0: disarmed
  std::atomic<Kind> kind_{kBadAlloc};
  std::atomic<bool> onward_{false};
};

enum Place : int { kMemory, kTask, kCall };
std::array<Site, 3> sites;

}  // namespace

// --- memory -------------------------------------------------------------------------------------------------------

extern "C" {
void* __real_malloc(size_t size);
void* __real_calloc(size_t count, size_t size);
void* __real_aligned_alloc(size_t alignment, size_t size);
void* __real_mmap(void* address, size_t length, int protection, int flags, int descriptor, off_t offset);
int __real_pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*start)(void*), void* argument);
napi_status __real_napi_get_cb_info(napi_env env, napi_callback_info info, size_t* argc, napi_value* argv,
                                    napi_value* self, void** data);

/// Whether a function of C fails: what it returns then can only mean that there is no memory.
static bool c_fails() { return sites[kMemory].kind() == kBadAlloc && sites[kMemory].fails(); }

void* __wrap_malloc(size_t size) { return c_fails() ? nullptr : __real_malloc(size); }
void* __wrap_calloc(size_t count, size_t size) { return c_fails() ? nullptr : __real_calloc(count, size); }
void* __wrap_aligned_alloc(size_t alignment, size_t size) {
  return c_fails() ? nullptr : __real_aligned_alloc(alignment, size);
}
void* __wrap_mmap(void* address, size_t length, int protection, int flags, int descriptor, off_t offset) {
  if (!c_fails()) return __real_mmap(address, length, protection, flags, descriptor, offset);
  errno = ENOMEM;
  return MAP_FAILED;
}
int __wrap_pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*start)(void*), void* argument) {
  return c_fails() ? EAGAIN : __real_pthread_create(thread, attributes, start, argument);
}
}

void* operator new(size_t size) {
  sites[kMemory].throw_if_it_fails();
  void* memory = __real_malloc(size > 0 ? size : 1);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}
void* operator new[](size_t size) { return operator new(size); }
void* operator new(size_t size, const std::nothrow_t&) noexcept { return __wrap_malloc(size > 0 ? size : 1); }
void* operator new[](size_t size, const std::nothrow_t&) noexcept { return __wrap_malloc(size > 0 ? size : 1); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, size_t) noexcept { std::free(memory); }

// --- tasks and calls ------------------------------------------------------------------------------------------------

extern "C" {
using Task = void (*)(const void* context, int64_t task, int slot);
void __real__ZN3hrm10ThreadPool10run_sharedEilPFvPKvliES2_(void* pool, int threads, int64_t tasks, Task task,
                                                           const void* context);
void __wrap__ZN3hrm10ThreadPool10run_sharedEilPFvPKvliES2_(void* pool, int threads, int64_t tasks, Task task,
                                                           const void* context) {
  const struct Planted {
    Task task;
    const void* context;
  } planted{task, context};
  __real__ZN3hrm10ThreadPool10run_sharedEilPFvPKvliES2_(
      pool, threads, tasks,
      [](const void* context, int64_t task, int slot) {
        sites[kTask].throw_if_it_fails();
        const auto& planted = *static_cast<const Planted*>(context);
        planted.task(planted.context, task, slot);
      },
      &planted);
}

napi_status __wrap_napi_get_cb_info(napi_env env, napi_callback_info info, size_t* argc, napi_value* argv,
                                    napi_value* self, void** data) {
  sites[kCall].throw_if_it_fails();
  return __real_napi_get_cb_info(env, info, argc, argv, self, data);
}
}

// --- exports --------------------------------------------------------------------------------------------------------

namespace {

using hrm::binding::Argument;

Napi::Value arm(const Napi::CallbackInfo& info) {
  return hrm::binding::guarded(info.Env(), [&] {
    const size_t place = Argument("arm", info, 0, "site").choice({"memory", "task", "call"});
    const auto kind = static_cast<Kind>(Argument("arm", info, 1, "kind").choice({"bad_alloc", "runtime_error", "int"}));
    const int64_t n = Argument("arm", info, 2, "n").integer(1, INT32_MAX);
    const bool onward = Argument("arm", info, 3, "onward").boolean();
    sites[place].arm(kind, n, onward);
    return info.Env().Undefined();
  });
}

Napi::Object counts(Napi::Env env) {
  double calls = 0, fired = 0;
  for (Site& site : sites) {
    site.disarm();
    calls += static_cast<double>(site.calls());
    fired += static_cast<double>(site.fired());
    site.arm(kBadAlloc, 0, false);
  }
  Napi::Object result = Napi::Object::New(env);
  result.Set("calls", calls);
  result.Set("fired", fired);
  return result;
}

/// Throws what the pool carries over from tasks that throw their own index.
Napi::Value throw_in_pool(const Napi::CallbackInfo& info) {
  return hrm::binding::guarded(info.Env(), [&] {
    constexpr int64_t kMost = 1 << 20;
    const auto threads = static_cast<int>(Argument("throwInPool", info, 0, "threads").integer(1, 64));
    const int64_t tasks = Argument("throwInPool", info, 1, "tasks").integer(1, kMost);
    const std::vector<int32_t> failing = Argument("throwInPool", info, 2, "failing").int32s();
    hrm::ThreadPool::shared().run(threads, tasks, [&](int64_t task, int) {
      if (std::ranges::find(failing, task) != failing.end()) throw std::runtime_error(std::to_string(task));
    });
    return info.Env().Undefined();
  });
}

Napi::Value external_memory(const Napi::CallbackInfo& info) {
  int64_t total = 0;
  napi_adjust_external_memory(info.Env(), 0, &total);
  return Napi::Number::New(info.Env(), static_cast<double>(total));
}

Napi::Value disarm(const Napi::CallbackInfo& info) { return counts(info.Env()); }

Napi::Object initialise(Napi::Env env, Napi::Object exports) {
  if (const char* n = std::getenv("HRM_FAULTS_LOAD")) sites[kMemory].arm(kBadAlloc, std::atoll(n), false);
  exports = hrm::binding::initialise(env, exports);
  Napi::Object faults = Napi::Object::New(env);
  faults.Set("loaded", counts(env));
  faults.Set("arm", Napi::Function::New(env, arm, "arm"));
  faults.Set("throwInPool", Napi::Function::New(env, throw_in_pool, "throwInPool"));
  faults.Set("externalMemory", Napi::Function::New(env, external_memory, "externalMemory"));
  faults.Set("disarm", Napi::Function::New(env, disarm, "disarm"));
  exports.Set("faults", faults);
  return exports;
}

}  // namespace

NODE_API_MODULE(hrm_faults, initialise)
