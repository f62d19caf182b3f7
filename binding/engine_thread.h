#pragma once
#include <condition_variable>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <utility>

namespace hrm::binding {

/// A thread that runs jobs one after another, in the order posted. It owns nothing of JavaScript and is never joined:
/// an environment may end in the middle of a long step, and must not wait for it. The thread then finishes that step on
/// what its jobs own, and ends.
class EngineThread {
 public:
  using Job = std::function<void()>;  // must not throw
  /// A job made beforehand: posting it needs no memory, so what frees memory is always done.
  using PreparedJob = std::list<Job>;
  static PreparedJob prepare(Job job) {
    PreparedJob prepared;
    prepared.push_back(std::move(job));
    return prepared;
  }

  /// Throws ERR_HRM_OUT_OF_MEMORY where the system has no more threads.
  EngineThread();
  ~EngineThread() { close(); }
  EngineThread(const EngineThread&) = delete;
  EngineThread& operator=(const EngineThread&) = delete;

  /// Does nothing once closed.
  void post(Job job) { post(prepare(std::move(job))); }
  void post(PreparedJob job) noexcept;
  /// Lets the jobs posted so far run, then ends the thread. Idempotent.
  void close() noexcept;

 private:
  struct Queue {
    std::mutex mutex;
    std::condition_variable changed;
    std::list<Job> jobs;
    bool closed = false;
  };
  static void run(const std::shared_ptr<Queue>& queue);

  std::shared_ptr<Queue> queue_ = std::make_shared<Queue>();
};

}  // namespace hrm::binding
