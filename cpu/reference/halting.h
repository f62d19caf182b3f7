#pragma once
// The carry between segments: reset, replacement, halting decision, Q-continue target.
// Source: HRM models/hrm/hrm_act_v1.py HierarchicalReasoningModel_ACTV1.forward

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <span>

#include "core/backend.h"
#include "core/philox.h"

namespace hrm::reference {

/// state: [B, S, D]; init: [D]
template <typename T>
void reset_state(int64_t batch, int64_t positions, int64_t width, const uint8_t* halted, const T* init, T* state) {
  for (int64_t b = 0; b < batch; ++b)
    if (halted[b])
      for (int64_t s = 0; s < positions; ++s) std::copy_n(init, width, state + (b * positions + s) * width);
}

/// min_steps: [B]; see Backend::explore()
inline void explore(int64_t batch, uint64_t seed, double probability, int64_t max_steps, uint64_t step,
                    int32_t* min_steps) {
  const auto choices = static_cast<uint64_t>(max_steps - 1);
  for (int64_t b = 0; b < batch; ++b) {
    const auto words = philox_draw(seed, PhiloxStream::exploration, static_cast<uint32_t>(b), step);
    const bool explored = uniform_float(words[0]) < static_cast<float>(probability);
    min_steps[b] = explored ? 2 + static_cast<int32_t>(words[1] * choices >> 32) : 0;
  }
}

/// q: [B, 2]; min_steps: [B] or null in evaluation; steps, halted: [B]
template <typename T>
void halt(int64_t batch, int64_t max_steps, HaltRule rule, const T* q, const int32_t* min_steps, int32_t* steps,
          uint8_t* halted) {
  for (int64_t b = 0; b < batch; ++b) {
    const T threshold = rule == HaltRule::positive ? T(0) : q[b * 2 + 1];
    steps[b] += 1;
    bool stop = steps[b] >= max_steps;
    if (min_steps && max_steps > 1) stop = (stop || q[b * 2] > threshold) && steps[b] >= min_steps[b];
    halted[b] = stop;
  }
}

/// q: [B, 2]; steps, limits, adaptive: [B]
template <typename T>
bool none_done(int64_t batch, HaltRule rule, const T* q, const int32_t* steps, const int32_t* limits,
               const uint8_t* adaptive) {
  for (int64_t b = 0; b < batch; ++b) {
    const T threshold = rule == HaltRule::positive ? T(0) : q[b * 2 + 1];
    if (steps[b] >= limits[b] || (adaptive[b] && q[b * 2] > threshold)) return false;
  }
  return true;
}

/// next_q: [B, 2]; steps: [B]; target: [B]
template <typename T>
void q_continue_target(int64_t batch, int64_t max_steps, const T* next_q, const int32_t* steps, T* target) {
  for (int64_t b = 0; b < batch; ++b) {
    const T halt = next_q[b * 2], go_on = next_q[b * 2 + 1];
    const T best = steps[b] >= max_steps ? halt : std::max(halt, go_on);
    target[b] = T(1) / (T(1) + std::exp(-best));
  }
}

/// In place: row i <- row keep[i], keep ascending, so no row is read after it was overwritten.
inline void compact_rows(std::span<const int32_t> keep, size_t row_bytes, unsigned char* rows) {
  for (size_t i = 0; i < keep.size(); ++i)
    if (static_cast<size_t>(keep[i]) != i)
      std::memcpy(rows + i * row_bytes, rows + static_cast<size_t>(keep[i]) * row_bytes, row_bytes);
}

}  // namespace hrm::reference
