#pragma once
// How the rows of a block are spread over threads. A pass through a block, forward or backward, has three stages:
// project (rows), attend (heads of sequences), finish (rows).

#include <algorithm>

#include "cpu/simd/simd_backend.h"

namespace hrm::simd {

/// Rows that a thread takes through a stage at once: their activations fit a second-level cache, and each weight read
/// from further away serves all of them.
inline constexpr int64_t kTaskRows = 84;  // 7 register tiles of AVX-512; a sequence of the 9x9 Sudoku

/// Calls body(first, last) on nearly equal chunks of [first, last), none above `most` rows.
template <typename Body>
void for_chunks(int64_t first, int64_t last, int64_t most, const Body& body) {
  const int64_t rows = last - first, chunks = (rows + most - 1) / most;
  for (int64_t i = 0; i < chunks; ++i) body(first + i * rows / chunks, first + (i + 1) * rows / chunks);
}

inline SimdBackend::Spread SimdBackend::spread_of(const Shapes& shapes, int64_t batch) const {
  const int64_t S = shapes.S(), rows = batch * S;
  const int64_t share = (batch + threads_ - 1) / threads_;  // sequences of the thread with most
  const int64_t rounds = std::max<int64_t>(1, (rows / threads_ + kTaskRows / 2) / kTaskRows);
  // Heads that do not fill their last vector are read together with what lies behind them, for the last row of a
  // sequence the first of the next: nobody may write that meanwhile.
  const bool whole_vectors = shapes.HS() % (kernels_.panel / 2) == 0;
  const bool whole_sequences = whole_vectors && batch * 10 >= share * threads_ * 9;
  const int64_t tasks = std::min(whole_sequences ? batch : rows, rounds * threads_);
  return {.tasks = tasks, .own_rows = whole_sequences ? (batch + tasks - 1) / tasks * S : 0};
}

/// Whole-batch memory for activations that threads hand on to each other; none where each has its own.
inline Rows SimdBackend::reserve_shared(Matrix& matrix, const Shapes& shapes, int64_t batch, int64_t width) const {
  return spread_of(shapes, batch).own_rows > 0 ? Rows{} : matrix.reserve(batch * shapes.S(), width);
}

/// Stages is copied for each task. Its members:
///   prepare(slot, rows): reserves the slot's memory for chunks, and for `rows` rows of its own sequences
///   enter(slot, first, rows): works in that memory; rows == 0: the sequences' activations lie in whole-batch memory
///   project(first, last), attend(first, last), finish(first, last)
/// Where the sequences spread evenly over the threads, a thread takes its sequences through all stages with their
/// activations in its own cache; else the threads meet after each stage.
template <typename Stages>
void SimdBackend::run_stages(const Shapes& shapes, int64_t batch, const Stages& stages) {
  const int64_t S = shapes.S(), NH = shapes.NH, rows = batch * S;
  const auto [tasks, own_rows] = spread_of(shapes, batch);
  for (Slot& slot : slots_) stages.prepare(slot, own_rows);
  const auto slot_of = [this](int slot) -> Slot& { return slots_[static_cast<size_t>(slot)]; };
  if (own_rows > 0) {
    pool_.run(threads_, tasks, [&](int64_t task, int slot) {
      const int64_t first = task * batch / tasks, last = (task + 1) * batch / tasks;
      Stages own = stages;
      own.enter(slot_of(slot), first * S, (last - first) * S);
      own.project(first * S, last * S);
      own.attend(first * NH, last * NH);
      own.finish(first * S, last * S);
    });
    return;
  }
  const auto on_rows = [&](auto stage) {
    pool_.run(threads_, tasks, [&](int64_t task, int slot) {
      Stages own = stages;
      own.enter(slot_of(slot), 0, 0);
      (own.*stage)(task * rows / tasks, (task + 1) * rows / tasks);
    });
  };
  on_rows(&Stages::project);
  pool_.run(threads_, batch * NH, [&](int64_t head, int slot) {
    Stages own = stages;
    own.enter(slot_of(slot), 0, 0);
    own.attend(head, head + 1);
  });
  on_rows(&Stages::finish);
}

}  // namespace hrm::simd
