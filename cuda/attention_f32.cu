// Attention and its gradients in fp32 with plain multiply-adds, a row a warp: the formulas of attention_forward.cu and
// attention_backward.cu, to be read rather than to be fast. Blocks: x heads of sequence 0, of sequence 1, ...; y rows.

#include "cuda/attention.h"
#include "cuda/primitives.h"

namespace hrm::cuda {
namespace {

constexpr int kWarps = 4;  // of a block

/// What a warp sees of its head: first elements of the sequence's first row, and the strides of rows.
struct Unit {
  int row;                                       // of the sequence, this warp's own
  int64_t D, stride, first, first3, statistics;  // in [rows, D], in [rows, 3D] (rows `stride` apart), in [heads, S]

  __device__ __forceinline__ Unit(int S, int heads, int head_size) {
    const int unit = static_cast<int>(blockIdx.x);
    row = static_cast<int>(blockIdx.y) * kWarps + static_cast<int>(threadIdx.x) / 32;
    D = int64_t{heads} * head_size;
    stride = 3 * D;
    first = int64_t{unit / heads} * S * D + unit % heads * head_size;
    first3 = int64_t{unit / heads} * S * stride + unit % heads * head_size;
    statistics = int64_t{unit} * S;
  }
};

__device__ __forceinline__ float dot(const float* a, const float* b, int n) {
  float sum = 0;
  for (int i = 0; i < n; ++i) sum = fmaf(a[i], b[i], sum);
  return sum;
}

/// Shared memory: scores, then exponentials, [kWarps, S].
__global__ void forward_f32(int S, int heads, int head_size, float scale, const float* __restrict__ qkv,
                            float* __restrict__ out, float* __restrict__ log_sums) {
  const Unit unit(S, heads, head_size);
  if (unit.row >= S) return;
  const int lane = threadIdx.x % 32;
  float* const p = shared_memory<float>() + static_cast<int>(threadIdx.x) / 32 * S;
  const float* const q = qkv + unit.first3 + unit.row * unit.stride;
  const float* const k = qkv + unit.first3 + unit.D;
  const float* const v = k + unit.D;

  float maximum = -INFINITY;
  for (int key = lane; key < S; key += 32) {
    p[key] = scale * dot(q, k + key * unit.stride, head_size);
    maximum = fmaxf(maximum, p[key]);
  }
  for (int distance = 16; distance > 0; distance /= 2) {
    maximum = fmaxf(maximum, __shfl_xor_sync(0xffffffffu, maximum, distance));
  }
  float sum = 0;
  for (int key = lane; key < S; key += 32) {
    p[key] = expf(p[key] - maximum);
    sum += p[key];
  }
  for (int distance = 16; distance > 0; distance /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, distance);
  __syncwarp();
  for (int d = lane; d < head_size; d += 32) {
    float value = 0;
    for (int key = 0; key < S; ++key) value = fmaf(p[key], v[key * unit.stride + d], value);
    out[unit.first + unit.row * unit.D + d] = value / sum;
  }
  if (log_sums != nullptr && lane == 0) log_sums[unit.statistics + unit.row] = maximum + logf(sum);
}

struct BackwardArguments {
  int S, heads, head_size;
  float scale;
  const float *qkv, *out, *log_sums, *grad_out;
  RopeTable rope;
  float *grad_qkv, *deltas;
};

/// target[d] <- scale * sum over i of factors[i] rows[i, d], rotated back to `position` where there is a table.
__device__ __forceinline__ void weighted_sum(const float* factors, const float* rows, int64_t stride,
                                             const BackwardArguments& a, float scale, const RopeTable& rope,
                                             int position, float* target) {
  const int half = a.head_size / 2;
  for (int d = threadIdx.x % 32; d < half; d += 32) {
    float first = 0, second = 0;
    for (int i = 0; i < a.S; ++i) {
      first = fmaf(factors[i], rows[i * stride + d], first);
      second = fmaf(factors[i], rows[i * stride + half + d], second);
    }
    first *= scale;
    second *= scale;
    const float cosine = rope.cosines != nullptr ? rope.cosines[position * half + d] : 1.0f;
    const float sine = rope.sines != nullptr ? rope.sines[position * half + d] : 0.0f;
    target[d] = fmaf(first, cosine, second * sine);
    target[half + d] = fmaf(second, cosine, -first * sine);
  }
}

/// grad q and the deltas of queries.   shared memory: dS [kWarps, S]
__global__ void backward_queries_f32(BackwardArguments a) {
  const Unit unit(a.S, a.heads, a.head_size);
  if (unit.row >= a.S) return;
  const int lane = threadIdx.x % 32;
  float* const ds = shared_memory<float>() + static_cast<int>(threadIdx.x) / 32 * a.S;
  const float* const q = a.qkv + unit.first3 + unit.row * unit.stride;
  const float* const k = a.qkv + unit.first3 + unit.D;
  const float* const v = k + unit.D;
  const float* const grad_out = a.grad_out + unit.first + unit.row * unit.D;

  const float log_sum = a.log_sums[unit.statistics + unit.row];
  const float delta = dot(grad_out, a.out + unit.first + unit.row * unit.D, a.head_size);
  if (lane == 0) a.deltas[unit.statistics + unit.row] = delta;
  for (int key = lane; key < a.S; key += 32) {
    const float p = expf(fmaf(dot(q, k + key * unit.stride, a.head_size), a.scale, -log_sum));
    ds[key] = p * (dot(grad_out, v + key * unit.stride, a.head_size) - delta);
  }
  __syncwarp();
  weighted_sum(ds, k, unit.stride, a, a.scale, a.rope, unit.row, a.grad_qkv + unit.first3 + unit.row * unit.stride);
}

/// grad k and grad v of keys.   shared memory: columns of P and of dS, [kWarps, 2, S]
__global__ void backward_keys_f32(BackwardArguments a) {
  const Unit unit(a.S, a.heads, a.head_size);
  if (unit.row >= a.S) return;
  const int lane = threadIdx.x % 32;
  float* const p = shared_memory<float>() + static_cast<int>(threadIdx.x) / 32 * 2 * a.S;
  float* const ds = p + a.S;
  const float* const q = a.qkv + unit.first3;
  const float* const k = q + unit.row * unit.stride + unit.D;
  const float* const v = k + unit.D;
  const float* const grad_out = a.grad_out + unit.first;

  for (int query = lane; query < a.S; query += 32) {
    const float score = dot(q + query * unit.stride, k, a.head_size);
    p[query] = expf(fmaf(score, a.scale, -a.log_sums[unit.statistics + query]));
    const float dp = dot(grad_out + query * unit.D, v, a.head_size);
    ds[query] = p[query] * (dp - a.deltas[unit.statistics + query]);
  }
  __syncwarp();
  float* const grad_k = a.grad_qkv + unit.first3 + unit.row * unit.stride + unit.D;
  weighted_sum(ds, q, unit.stride, a, a.scale, a.rope, unit.row, grad_k);
  weighted_sum(p, grad_out, unit.D, a, 1.0f, RopeTable{nullptr, nullptr}, unit.row, grad_k + unit.D);
}

Launch launch_of(const BlockSizes& sizes, size_t floats_per_row) {
  return {.blocks_x = static_cast<unsigned>(sizes.batch * sizes.heads),
          .blocks_y = static_cast<unsigned>((sizes.S + kWarps - 1) / kWarps),
          .threads = 32 * kWarps,
          .shared = sizeof(float) * kWarps * floats_per_row};
}

}  // namespace

void attention_forward_f32(Device& device, const BlockSizes& sizes, const float* qkv, float* out, float* log_sums) {
  device.launch(launch_of(sizes, static_cast<size_t>(sizes.S)), forward_f32, static_cast<int>(sizes.S),
                static_cast<int>(sizes.heads), static_cast<int>(head_size_of(sizes)), attention_scale(sizes), qkv, out,
                log_sums);
}

void attention_backward_f32(Device& device, const BlockSizes& sizes, const float* qkv, const float* out,
                            const float* log_sums, const float* grad_out, RopeTable rope, float* grad_qkv,
                            float* deltas) {
  const BackwardArguments arguments{.S = static_cast<int>(sizes.S),
                                    .heads = static_cast<int>(sizes.heads),
                                    .head_size = static_cast<int>(head_size_of(sizes)),
                                    .scale = attention_scale(sizes),
                                    .qkv = qkv,
                                    .out = out,
                                    .log_sums = log_sums,
                                    .grad_out = grad_out,
                                    .rope = rope,
                                    .grad_qkv = grad_qkv,
                                    .deltas = deltas};
  device.launch(launch_of(sizes, static_cast<size_t>(sizes.S)), backward_queries_f32, arguments);
  device.launch(launch_of(sizes, static_cast<size_t>(2 * sizes.S)), backward_keys_f32, arguments);
}

}  // namespace hrm::cuda
