#include "binding/engine_thread.h"

#include <thread>

namespace hrm::binding {

EngineThread::EngineThread() { std::thread(run, queue_).detach(); }

void EngineThread::run(const std::shared_ptr<Queue>& queue) {
  for (;;) {
    std::unique_lock lock(queue->mutex);
    queue->changed.wait(lock, [&] { return queue->closed || !queue->jobs.empty(); });
    if (queue->jobs.empty()) return;
    const Job job = std::move(queue->jobs.front());
    queue->jobs.pop_front();
    lock.unlock();
    job();
  }
}

void EngineThread::post(Job job) {
  const std::lock_guard lock(queue_->mutex);
  if (queue_->closed) return;
  queue_->jobs.push_back(std::move(job));
  queue_->changed.notify_one();
}

void EngineThread::close() {
  const std::lock_guard lock(queue_->mutex);
  queue_->closed = true;
  queue_->changed.notify_one();
}

}  // namespace hrm::binding
