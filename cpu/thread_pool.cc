#include "cpu/thread_pool.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <string>
#include <thread>
#include <utility>

#if defined(__linux__)
#include <dlfcn.h>
#include <sched.h>
#endif

namespace hrm {
namespace {

inline void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Pauses before a waiting thread goes to sleep: some 50 us, longer than the gap between two parallel steps of a block,
// shorter than anything a user would notice as load.
constexpr int kSpins = 2000;

/// Waits while `value` is `old`, first spinning, then sleeping.
void wait_while(const std::atomic<uint32_t>& value, uint32_t old) {
  for (int i = 0; i < kSpins; ++i) {
    if (value.load(std::memory_order_acquire) != old) return;
    relax();
  }
  value.wait(old, std::memory_order_acquire);
}

#if defined(__linux__)
/// CPUs' worth of time that the cgroup grants, or 0 for no limit. Version 2 first, then version 1.
double cgroup_cpus() {
  std::string quota;
  double period = 0;
  if (std::ifstream file("/sys/fs/cgroup/cpu.max"); file >> quota >> period && quota != "max" && period > 0)
    return std::stod(quota) / period;
  double limit = 0;
  std::ifstream quota_file("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"), period_file("/sys/fs/cgroup/cpu/cpu.cfs_period_us");
  if (quota_file >> limit && period_file >> period && limit > 0 && period > 0) return limit / period;
  return 0;
}

/// Node unloads an addon when the last worker_thread that loaded it ends; the pool's threads would then run unmapped
/// code. This keeps the library in memory.
void stay_loaded() {
  Dl_info info;
  if (dladdr(reinterpret_cast<void*>(&stay_loaded), &info) && info.dli_fname)
    dlopen(info.dli_fname, RTLD_NOW | RTLD_NOLOAD | RTLD_NODELETE);
}
#endif

}  // namespace

int available_threads() {
  int threads = static_cast<int>(std::thread::hardware_concurrency());
#if defined(__linux__)
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof allowed, &allowed) == 0) threads = CPU_COUNT(&allowed);
  if (const double cpus = cgroup_cpus(); cpus > 0) threads = std::min(threads, static_cast<int>(std::ceil(cpus)));
#endif
  return std::max(threads, 1);
}

ThreadPool& ThreadPool::shared() {
  static ThreadPool* pool = new ThreadPool;
  return *pool;
}

void ThreadPool::prepare(int threads) {
  if (threads > capacity_) {
    shares_ = std::make_unique<Share[]>(static_cast<size_t>(threads));
    capacity_ = threads;
  }
#if defined(__linux__)
  if (workers_ == 0) stay_loaded();
#endif
  try {
    for (; workers_ < threads - 1; ++workers_) std::thread([this] { worker(); }).detach();
  } catch (const std::exception&) {
    // No more threads, or no memory for one: those there are take over the missing ones' tasks.
  }
}

void ThreadPool::run_shared(int threads, int64_t tasks, Task task, const void* context) {
  const std::lock_guard<std::mutex> lock(turn_);
  const int slots = static_cast<int>(std::min<int64_t>(threads, tasks));
  prepare(slots);
  task_ = task;
  context_ = context;
  slots_ = slots;
  for (int s = 0; s < slots; ++s) {
    shares_[s].next.store(tasks * s / slots, std::memory_order_relaxed);
    shares_[s].end = tasks * (s + 1) / slots;
  }
  next_slot_.store(1, std::memory_order_relaxed);
  epoch_.fetch_add(1);
  epoch_.notify_all();
  work(0);
  // All tasks are taken. Closing the job keeps late workers out; those inside still finish theirs.
  epoch_.fetch_add(1);
  for (uint32_t inside; (inside = inside_.load()) != 0;) wait_while(inside_, inside);
  if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
}

// A task that throws does not stop the others: only so is the failure of the first one always known.
void ThreadPool::work(int slot) noexcept {
  for (int i = 0; i < slots_; ++i) {
    Share& share = shares_[(slot + i) % slots_];
    for (int64_t task; (task = share.next.fetch_add(1, std::memory_order_relaxed)) < share.end;) {
      try {
        task_(context_, task, slot);
      } catch (...) {
        const std::lock_guard<std::mutex> lock(failing_);
        if (failure_ && failed_task_ < task) continue;
        failure_ = std::current_exception();
        failed_task_ = task;
      }
    }
  }
}

void ThreadPool::worker() {
  uint32_t seen = 0;
  for (;;) {
    wait_while(epoch_, seen);
    inside_.fetch_add(1);
    seen = epoch_.load();
    if (seen % 2 == 1)
      if (const int slot = next_slot_.fetch_add(1); slot < slots_) work(slot);
    inside_.fetch_sub(1);
    inside_.notify_all();
  }
}

}  // namespace hrm
