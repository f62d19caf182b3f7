// AdamATan2, SignSGD for the puzzle embedding, the moving average, the guard before them, and plain operations on
// vectors of weights. Sources: imoneoi/adam-atan2 (outside), adam-atan2-pytorch (inside), HRM
// models/sparse_embedding.py

#include <algorithm>
#include <cfloat>

#include "cuda/launches.h"
#include "cuda/reduce.h"

namespace hrm::cuda {
namespace {

/// The constant of adam-atan2-pytorch, 4/pi rounded: atan2(1, 1) then moves by about one rate.
constexpr double kInsideScale = 1.27;

struct Add {
  float* sum;
  const float* term;
  template <int n>
  __device__ __forceinline__ void run(int64_t i) const {
    float a[n], b[n];
    load(sum + i, a);
    load(term + i, b);
#pragma unroll
    for (int k = 0; k < n; ++k) a[k] += b[k];
    store(a, sum + i);
  }
};

struct Exchange {
  float *a, *b;
  template <int n>
  __device__ __forceinline__ void run(int64_t i) const {
    float a_values[n], b_values[n];
    load(a + i, a_values);
    load(b + i, b_values);
    store(b_values, a + i);
    store(a_values, b + i);
  }
};

struct RoundToBf16 {
  const float* values;
  bf16* rounded;
  template <int n>
  __device__ __forceinline__ void run(int64_t i) const {
    float own[n];
    load(values + i, own);
    store(own, rounded + i);
  }
};

struct Average {
  const double* hyper;
  float* average;
  const float* weight;
  bf16* copy;  // or null
  template <int n>
  __device__ __forceinline__ void run(int64_t i) const {
    if (hyper[kApply] == 0) return;
    const auto decay = static_cast<float>(hyper[kEmaDecay]), rest = static_cast<float>(1 - hyper[kEmaDecay]);
    float old[n], fresh[n];
    load(average + i, old);
    load(weight + i, fresh);
#pragma unroll
    for (int k = 0; k < n; ++k) old[k] = decay * old[k] + rest * fresh[k];
    store(old, average + i);
    if (copy) store(old, copy + i);
  }
};

// --- sums of squares: fixed shares by kSumBlocks blocks, then the blocks' sums by one --------------------------------

constexpr unsigned kSumBlocks = 256;

struct Squares {
  const float* values;
  double* sum;  // of this thread
  template <int n>
  __device__ __forceinline__ void run(int64_t i) const {
    float own[n];
    load(values + i, own);
#pragma unroll
    for (int k = 0; k < n; ++k) *sum = fma(static_cast<double>(own[k]), static_cast<double>(own[k]), *sum);
  }
};

/// sums: [kSumBlocks]
__global__ void sum_shares(Division division, const float* values, double* sums) {
  double own = 0;
  const int64_t parts = division.vectors + (division.count - division.vectors * kVector);
#pragma unroll 4
  for (int64_t part = thread_index(); part < parts; part += int64_t{gridDim.x} * blockDim.x)
    apply_part(Squares{values, &own}, division, part);
  const double sum = block_sum(own, shared_memory<double>());
  if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

__global__ void sum_blocks(const double* sums, double* total) {
  const double sum = block_sum(sums[threadIdx.x], shared_memory<double>());
  if (threadIdx.x == 0) *total = sum;
}
static_assert(kSumBlocks == kBlockThreads);

__global__ void check_finite(int64_t sums, const double* sum_values, int64_t stats, const double* stat_values,
                             double* hyper) {
  int bad = 0;
  for (int64_t i = threadIdx.x; i < sums; i += blockDim.x) bad += !(fabs(sum_values[i]) <= FLT_MAX);
  for (int64_t i = threadIdx.x; i < stats; i += blockDim.x) bad += !(fabs(stat_values[i]) <= FLT_MAX);
  bad = block_sum(bad, shared_memory<int>());
  if (threadIdx.x == 0) hyper[kApply] = bad == 0 ? 1 : 0;
}

// --- AdamATan2
// --------------------------------------------------------------------------------------------------------

/// What one step does to every element.
struct AdamStep {
  float decay, mix1, mix2, step;
  float m_divisor, v_divisor;  // inside: of m and of v; outside: 1, and of the root of v
};

__device__ __forceinline__ AdamStep adam_step(const AdamParams& params, const double* hyper) {
  const double rate = hyper[kLearningRate];
  const double correction1 = 1 - pow(params.beta1, hyper[kStep]);
  const double correction2 = 1 - pow(params.beta2, hyper[kStep]);
  const bool outside = params.variant == AdamVariant::outside;
  return {.decay = static_cast<float>(1 - rate * params.weight_decay),
          .mix1 = static_cast<float>(1 - params.beta1),
          .mix2 = static_cast<float>(1 - params.beta2),
          .step = static_cast<float>(outside ? rate / correction1 : rate * kInsideScale),
          .m_divisor = static_cast<float>(outside ? 1 : correction1),
          .v_divisor = static_cast<float>(outside ? sqrt(correction2) : correction2)};
}

/// weight, grad, m, v: [count]; copy: [count] or null
template <AdamVariant variant>
struct Adam {
  AdamStep by;
  float* weight;
  const float* grad;
  float *m, *v;
  bf16* copy;

  template <int n>
  __device__ __forceinline__ void run(int64_t i) const {
    float w[n], g[n], first[n], second[n];
    load(weight + i, w);
    load(grad + i, g);
    load(m + i, first);
    load(v + i, second);
#pragma unroll
    for (int k = 0; k < n; ++k) {
      first[k] += by.mix1 * (g[k] - first[k]);
      second[k] += by.mix2 * (g[k] * g[k] - second[k]);
      const float direction = variant == AdamVariant::outside
                                  ? atan2f(first[k], sqrtf(second[k]) / by.v_divisor)
                                  : atan2f(first[k] / by.m_divisor, sqrtf(second[k] / by.v_divisor));
      w[k] = w[k] * by.decay - by.step * direction;
    }
    store(w, weight + i);
    store(first, m + i);
    store(second, v + i);
    if (copy) store(w, copy + i);
  }
};

/// `blank` lacks the step, which the first thread of each block computes (powers in double are slow on most GPUs).
template <AdamVariant variant>
__global__ void adam_elements(AdamParams params, const double* hyper, Adam<variant> blank, Division division) {
  if (hyper[kApply] == 0) return;
  AdamStep* const step = shared_memory<AdamStep>();
  if (threadIdx.x == 0) *step = adam_step(params, hyper);
  __syncthreads();
  Adam<variant> adam = blank;
  adam.by = *step;
  const int64_t parts = division.vectors + (division.count - division.vectors * kVector);
  for (int64_t part = thread_index(); part < parts; part += int64_t{gridDim.x} * blockDim.x)
    apply_part(adam, division, part);
}

// --- SignSGD
// ----------------------------------------------------------------------------------------------------------

constexpr unsigned kSignThreads = 128;

/// Block (b, columns): moves a tile of the row that ids[b] names, if b is the first to name it. table: [N, width]; ids:
/// [batch]; grad_rows: [batch, width]
__global__ void move_named_row(int64_t batch, int64_t width, double weight_decay, const double* hyper, float* table,
                               const int32_t* ids, const float* grad_rows) {
  if (hyper[kApply] == 0) return;
  const int64_t b = blockIdx.x, column = int64_t{blockIdx.y} * blockDim.x + threadIdx.x;
  const int32_t id = ids[b];
  int earlier = 0;
  for (int64_t other = threadIdx.x; other < b; other += blockDim.x) earlier += ids[other] == id;
  if (block_sum(earlier, shared_memory<int>()) > 0 || column >= width) return;
  float sum = 0.0f;
#pragma unroll 8
  for (int64_t other = b; other < batch; ++other)
    if (ids[other] == id) sum += grad_rows[other * width + column];
  const double rate = hyper[kPuzzleLearningRate];
  const auto decay = static_cast<float>(1 - rate * weight_decay);
  float& weight = table[id * width + column];
  weight = weight * decay - static_cast<float>(rate) * static_cast<float>((sum > 0) - (sum < 0));
}

}  // namespace

void add(Device& device, int64_t count, float* sum, const float* term) {
  for_each_element(device, divide(count, sum, term), Add{sum, term});
}

size_t sum_squares_workspace() { return kSumBlocks * sizeof(double); }

void sum_squares(Device& device, int64_t count, const float* values, double* sum, void* workspace) {
  double* const sums = static_cast<double*>(workspace);
  const size_t shared = kBlockWarps * sizeof(double);
  device.launch({.blocks_x = kSumBlocks, .threads = kBlockThreads, .shared = shared}, sum_shares, divide(count, values),
                values, sums);
  device.launch({.threads = kSumBlocks, .shared = shared}, sum_blocks, sums, sum);
}

void guard(Device& device, int64_t sums, const double* sum_values, int64_t stats, const double* stat_values,
           double* hyper) {
  device.launch({.threads = kBlockThreads, .shared = kBlockWarps * sizeof(int)}, check_finite, sums, sum_values, stats,
                stat_values, hyper);
}

void adam_atan2(Device& device, const AdamParams& params, const double* hyper, int64_t count, float* weight,
                const float* grad, float* m, float* v, void* bf16_copy) {
  constexpr int64_t kBlocksEach = 8;  // 2,048 threads fill a multiprocessor
  bf16* const copy = static_cast<bf16*>(bf16_copy);
  const Division division = divide(count, weight, grad, m, v, copy);
  const int64_t blocks =
      std::min(divide_up(division.parts(), kBlockThreads), kBlocksEach * device.info().multiprocessors);
  const Launch launch{.blocks_x = static_cast<unsigned>(blocks), .threads = kBlockThreads, .shared = sizeof(AdamStep)};
  const auto by = [&]<AdamVariant variant>() {
    device.launch(launch, adam_elements<variant>, params, hyper, Adam<variant>{{}, weight, grad, m, v, copy}, division);
  };
  if (params.variant == AdamVariant::outside) {
    by.template operator()<AdamVariant::outside>();
  } else {
    by.template operator()<AdamVariant::inside>();
  }
}

void sign_sgd(Device& device, int64_t batch, int64_t width, double weight_decay, const double* hyper, float* table,
              const int32_t* ids, const float* grad_rows) {
  device.launch({.blocks_x = static_cast<unsigned>(batch),
                 .blocks_y = static_cast<unsigned>(divide_up(width, kSignThreads)),
                 .threads = kSignThreads,
                 .shared = kSignThreads / 32 * sizeof(int)},
                move_named_row, batch, width, weight_decay, hyper, table, ids, grad_rows);
}

void ema(Device& device, const double* hyper, int64_t count, float* average, const float* weight, void* bf16_copy) {
  bf16* const copy = static_cast<bf16*>(bf16_copy);
  for_each_element(device, divide(count, average, weight, copy), Average{hyper, average, weight, copy});
}

void exchange(Device& device, int64_t count, float* a, float* b) {
  for_each_element(device, divide(count, a, b), Exchange{a, b});
}

void round_to_bf16(Device& device, int64_t count, const float* values, void* target) {
  bf16* const rounded = static_cast<bf16*>(target);
  for_each_element(device, divide(count, values, rounded), RoundToBf16{values, rounded});
}

}  // namespace hrm::cuda
