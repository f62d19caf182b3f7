#include "binding/engine_thread.h"

#include <string>
#include <system_error>
#include <thread>

#include "core/error.h"

namespace hrm::binding {

EngineThread::EngineThread() {
  try {
    std::thread(run, queue_).detach();
  } catch (const std::system_error& error) {
    throw Error("ERR_HRM_OUT_OF_MEMORY", std::string("[create] expected one more thread, got: ") + error.what() +
                                             "; dispose of models that are done with");
  }
}

void EngineThread::run(const std::shared_ptr<Queue>& queue) {
  for (;;) {
    std::unique_lock lock(queue->mutex);
    queue->changed.wait(lock, [&] { return queue->closed || !queue->jobs.empty(); });
    if (queue->jobs.empty()) return;
    PreparedJob next;
    next.splice(next.begin(), queue->jobs, queue->jobs.begin());
    lock.unlock();
    next.front()();
  }
}

void EngineThread::post(PreparedJob job) noexcept {
  const std::lock_guard lock(queue_->mutex);
  if (queue_->closed) return;
  queue_->jobs.splice(queue_->jobs.end(), job);
  queue_->changed.notify_one();
}

void EngineThread::close() noexcept {
  const std::lock_guard lock(queue_->mutex);
  queue_->closed = true;
  queue_->changed.notify_one();
}

}  // namespace hrm::binding
