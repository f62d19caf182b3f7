#pragma once
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>

namespace hrm::binding {

/// A thread that runs jobs one after another, in the order posted. It owns nothing of JavaScript and is never joined:
/// an environment may end in the middle of a long step, and must not wait for it. The thread then finishes that step on
/// what its jobs own, and ends.
class EngineThread {
 public:
  using Job = std::function<void()>;  // must not throw

  EngineThread();
  ~EngineThread() { close(); }
  EngineThread(const EngineThread&) = delete;
  EngineThread& operator=(const EngineThread&) = delete;

  /// Does nothing once closed.
  void post(Job job);
  /// Lets the jobs posted so far run, then ends the thread. Idempotent.
  void close();

 private:
  struct Queue {
    std::mutex mutex;
    std::condition_variable changed;
    std::deque<Job> jobs;
    bool closed = false;
  };
  static void run(const std::shared_ptr<Queue>& queue);

  std::shared_ptr<Queue> queue_ = std::make_shared<Queue>();
};

}  // namespace hrm::binding
