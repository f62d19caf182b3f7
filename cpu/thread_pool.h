#pragma once
// One pool of compute threads for the whole process, shared by all models and worker threads.

#include <atomic>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <type_traits>

namespace hrm {

/// Threads this process may run at once: its CPU affinity, limited by the cgroup's CPU quota. At least 1.
int available_threads();

class ThreadPool {
 public:
  /// Never destroyed: its threads sleep through the end of the process.
  static ThreadPool& shared();

  /// Calls body(task, slot) once for each task in [0, tasks), on at most `threads` threads, the caller among them.
  /// Calls that run at the same time have different slots in [0, threads). Tasks must not call run().
  /// Several threads may call run() at once; they take turns.
  /// Of what tasks throw, the caller gets that of the first task in order, once no thread works on the job any more.
  template <typename Body>
  void run(int threads, int64_t tasks, const Body& body) {
    if (threads <= 1 || tasks <= 1) {
      for (int64_t task = 0; task < tasks; ++task) body(task, 0);
      return;
    }
    run_shared(
        threads, tasks,
        [](const void* context, int64_t task, int slot) { (*static_cast<const Body*>(context))(task, slot); }, &body);
  }

 private:
  using Task = void (*)(const void* context, int64_t task, int slot);

  /// The tasks of one slot; other slots take from it when they are out of their own.
  struct alignas(64) Share {
    std::atomic<int64_t> next{0};
    int64_t end = 0;
  };

  ThreadPool() = default;
  void run_shared(int threads, int64_t tasks, Task task, const void* context);
  void prepare(int threads);
  void work(int slot) noexcept;
  void worker();

  std::mutex turn_;  // held by the caller whose job runs

  // The job. Written by the caller while no worker is inside.
  Task task_ = nullptr;
  const void* context_ = nullptr;
  int slots_ = 0;
  int capacity_ = 0;  // shares allocated
  std::unique_ptr<Share[]> shares_;

  // What the first of the tasks that failed has thrown. In turns; the caller reads it when all workers are outside.
  std::mutex failing_;
  int64_t failed_task_ = 0;
  std::exception_ptr failure_;

  std::atomic<uint32_t> epoch_{0};   // odd while a job is open; raised at its start and its end
  std::atomic<int> next_slot_{0};    // next slot to hand out
  std::atomic<uint32_t> inside_{0};  // workers that may be looking at the job
  int workers_ = 0;
};

}  // namespace hrm
