// What the arithmetic units reach with everything in registers: the ceiling that benchmarks name.
#include <algorithm>
#include <chrono>

#include "cuda/kernels.h"
#include "cuda/primitives.h"

namespace hrm::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kBlocksEach = 4;  // of a multiprocessor
constexpr int kChains = 8;      // sums of a thread (or warp) that do not wait for each other

/// `steps` products of 16x8x16 on tensor cores in each chain of every warp.
__global__ void multiply_matrices(int steps, float* out) {
  const uint32_t one = pack_bf16(1, 1);
  const uint32_t a[4] = {one, one, one, one};
  const uint32_t b[2] = {one, pack_bf16(static_cast<float>(threadIdx.x % 32), 1)};
  float d[kChains][4] = {};
  for (int step = 0; step < steps; ++step)
#pragma unroll
    for (int chain = 0; chain < kChains; ++chain) multiply_add(d[chain], a, b);
  float sum = 0;
#pragma unroll
  for (int chain = 0; chain < kChains; ++chain) sum += d[chain][0] + d[chain][1] + d[chain][2] + d[chain][3];
  if (threadIdx.x == 0) out[blockIdx.x] = sum;
}

/// `steps` fused multiply-adds in each chain of every thread.
__global__ void multiply_numbers(int steps, float* out) {
  const float factor = 1 - static_cast<float>(threadIdx.x) * 0x1p-20f;
  float d[kChains];
#pragma unroll
  for (int chain = 0; chain < kChains; ++chain) d[chain] = static_cast<float>(chain);
  for (int step = 0; step < steps; ++step)
#pragma unroll
    for (int chain = 0; chain < kChains; ++chain) d[chain] = fmaf(d[chain], factor, 0.5f);
  float sum = 0;
#pragma unroll
  for (int chain = 0; chain < kChains; ++chain) sum += d[chain];
  if (threadIdx.x == 0) out[blockIdx.x] = sum;
}

}  // namespace

double multiply_add_gflops(Device& device, Format format, double milliseconds) {
  using Clock = std::chrono::steady_clock;
  const auto elapsed = [](Clock::time_point since) {
    return std::chrono::duration<double, std::milli>(Clock::now() - since).count();
  };
  const auto blocks = static_cast<unsigned>(kBlocksEach * device.info().multiprocessors);
  auto* out = static_cast<float*>(device.allocate(blocks * sizeof(float)));
  // A multiply-add counts as two operations: 16 * 8 * 16 of them in a product of a warp, 1 in that of a thread.
  const double each = format == Format::bf16 ? 2.0 * 16 * 8 * 16 * (kThreads / 32) : 2.0 * kThreads;
  const auto rate = [&](int steps) {
    const auto start = Clock::now();
    device.launch({.blocks_x = blocks, .threads = kThreads},
                  format == Format::bf16 ? multiply_matrices : multiply_numbers, steps, out);
    device.wait();
    return each * blocks * kChains * steps / elapsed(start) * 1e-6;
  };
  const auto begin = Clock::now();
  double best = rate(1);
  // Ever longer launches until one takes a good part of the time: then launching it counts for nothing.
  for (int steps = 16; elapsed(begin) < milliseconds; steps = steps < (1 << 16) ? 2 * steps : steps)
    best = std::max(best, rate(steps));
  device.release(out);
  return best;
}

}  // namespace hrm::cuda
