// The carry between segments: resets, the data of fresh sequences, exploration, the halting decision. Source: HRM
// models/hrm/hrm_act_v1.py HierarchicalReasoningModel_ACTV1.forward

#include "core/philox.h"
#include "cuda/launches.h"
#include "cuda/reduce.h"

namespace hrm::cuda {
namespace {

/// Rows of halted sequences <- init, final; a warp a row.   halted, steps: [batch]; init_h, init_l: [D]; z_h, z_l:
/// [batch * S, D]
template <typename T>
__global__ void reset_rows(int64_t rows, int64_t S, const uint8_t* halted, const float* init_h, const float* init_l,
                           Rows<T> z_h, Rows<T> z_l, int32_t* steps) {
  const int64_t row = warp_index();
  if (row >= rows || !halted[row / S]) return;
  for (int column = lane_index() * kPacket<T>; column < z_h.D; column += 32 * kPacket<T>) {
    float values[kPacket<T>];
    load(init_h + column, values);
    store(values, z_h.x + row * z_h.D + column);
    load(init_l + column, values);
    store(values, z_l.x + row * z_l.D + column);
  }
  z_h.make_final(row);
  z_l.make_final(row);
  if (row % S == 0 && lane_index() == 0) steps[row / S] = 0;
}

/// next, current: [batch, width]; halted: [batch]
__global__ void replace_elements(int64_t count, int64_t width, const uint8_t* halted, const int32_t* next,
                                 int32_t* current) {
  const int64_t i = thread_index();
  if (i < count && halted[i / width]) current[i] = next[i];
}

__global__ void draw_min_steps(int64_t batch, uint64_t seed, float probability, uint64_t choices, const double* hyper,
                               int32_t* min_steps) {
  const int64_t b = thread_index();
  if (b >= batch) return;
  const PhiloxWords words =
      philox_draw(seed, PhiloxStream::exploration, static_cast<uint32_t>(b), static_cast<uint64_t>(hyper[kStep]));
  const bool explored = uniform_float(words[0]) < probability;
  min_steps[b] = explored ? 2 + static_cast<int32_t>(words[1] * choices >> 32) : 0;
}

__global__ void halt_sequences(int64_t batch, int64_t max_steps, HaltRule rule, const float* q,
                               const int32_t* min_steps, int32_t* steps, uint8_t* halted) {
  const int64_t b = thread_index();
  if (b >= batch) return;
  const float threshold = rule == HaltRule::positive ? 0.0f : q[b * 2 + 1];
  const int32_t taken = steps[b] + 1;
  bool stop = taken >= max_steps;
  if (min_steps && max_steps > 1) stop = (stop || q[b * 2] > threshold) && taken >= min_steps[b];
  steps[b] = taken;
  halted[b] = stop;
}

/// One warp.
__global__ void ask_none_done(int64_t batch, HaltRule rule, const float* q, const int32_t* steps, const int32_t* limits,
                              const uint8_t* adaptive, uint8_t* again) {
  int done = 0;
  for (int64_t b = lane_index(); b < batch; b += 32) {
    const float threshold = rule == HaltRule::positive ? 0.0f : q[b * 2 + 1];
    done += steps[b] >= limits[b] || (adaptive[b] && q[b * 2] > threshold);
  }
  done = warp_sum(done);
  if (lane_index() == 0) *again = done == 0;
}

__global__ void find_targets(int64_t batch, int64_t max_steps, const float* next_q, const int32_t* steps,
                             float* target) {
  const int64_t b = thread_index();
  if (b >= batch) return;
  const float halt = next_q[b * 2], go_on = next_q[b * 2 + 1];
  const float best = steps[b] < max_steps && halt < go_on ? go_on : halt;
  target[b] = 1.0f / (1.0f + expf(-best));
}

/// target[i] <- source[keep[i]], rows of `width` units.
template <typename Unit>
__global__ void gather_units(int64_t count, int64_t width, const int32_t* keep, const Unit* source, Unit* target) {
  const int64_t at = thread_index();
  if (at >= count * width) return;
  const int64_t i = at / width;
  target[at] = source[keep[i] * width + at % width];
}

}  // namespace

void reset_halted(Device& device, Format format, const BlockSizes& sizes, const uint8_t* halted, const float* init_h,
                  const float* init_l, Activation z_h, Activation z_l, int32_t* steps) {
  with_format(format, [&]<typename T>() {
    const auto rows = [&](Activation z) { return Rows<T>(z, sizes.D, sizes.norm_eps); };
    device.launch(warp_each(sizes.rows()), reset_rows<T>, sizes.rows(), sizes.S, halted, init_h, init_l, rows(z_h),
                  rows(z_l), steps);
  });
}

void replace_halted(Device& device, int64_t batch, int64_t width, const uint8_t* halted, const int32_t* next,
                    int32_t* current) {
  device.launch(thread_each(batch * width), replace_elements, batch * width, width, halted, next, current);
}

void explore(Device& device, int64_t batch, uint64_t seed, float probability, int64_t max_steps, const double* hyper,
             int32_t* min_steps) {
  device.launch(thread_each(batch), draw_min_steps, batch, seed, probability, static_cast<uint64_t>(max_steps - 1),
                hyper, min_steps);
}

void halt(Device& device, int64_t batch, int64_t max_steps, HaltRule rule, const float* q, const int32_t* min_steps,
          int32_t* steps, uint8_t* halted) {
  device.launch(thread_each(batch), halt_sequences, batch, max_steps, rule, q, min_steps, steps, halted);
}

void none_done(Device& device, int64_t batch, HaltRule rule, const float* q, const int32_t* steps,
               const int32_t* limits, const uint8_t* adaptive, uint8_t* again) {
  device.launch({.threads = 32}, ask_none_done, batch, rule, q, steps, limits, adaptive, again);
}

void q_continue_target(Device& device, int64_t batch, int64_t max_steps, const float* next_q, const int32_t* steps,
                       float* target) {
  device.launch(thread_each(batch), find_targets, batch, max_steps, next_q, steps, target);
}

void gather_bytes(Device& device, int64_t count, int64_t bytes, const int32_t* keep, const void* source, void* target) {
  if (count == 0 || bytes == 0) return;
  const auto by = [&]<typename Unit>() {
    const int64_t width = bytes / static_cast<int64_t>(sizeof(Unit));
    device.launch(thread_each(count * width), gather_units<Unit>, count, width, keep, static_cast<const Unit*>(source),
                  static_cast<Unit*>(target));
  };
  const uintptr_t alignment =
      static_cast<uintptr_t>(bytes) | reinterpret_cast<uintptr_t>(source) | reinterpret_cast<uintptr_t>(target);
  if (alignment % 16 == 0) {
    by.template operator()<Packet<uint32_t, 4>>();
  } else if (alignment % 4 == 0) {
    by.template operator()<uint32_t>();
  } else {
    by.template operator()<uint8_t>();
  }
}

}  // namespace hrm::cuda
