// The two heads: logits = lm_head(norm(z_h)) at the token positions, q = q_head(norm(z_h)) at position 0. Source: HRM
// models/hrm/hrm_act_v1.py Inner.forward
//
// The vocabulary is small (11 for Sudoku), so these are no products for tensor cores: a warp has a row and sums over D
// in fp32, its lanes over their columns in order, then over lanes.

#include <algorithm>

#include "cuda/launches.h"
#include "cuda/reduce.h"

namespace hrm::cuda {
namespace {

constexpr unsigned kForwardWarps = 4;

/// out[i] <- y . weights[i] (+ bias[i]) for i < count, by a warp.   y: [D]; weights: [count, D]; bias: [count] or null
template <typename T>
__device__ __forceinline__ void multiply_row(const T* y, int D, const T* weights, int64_t count, const float* bias,
                                             float* out) {
  constexpr int kTogether = 4;
  for (int64_t first = 0; first < count; first += kTogether) {
    float sums[kTogether] = {};
    for (int column = lane_index() * kPacket<T>; column < D; column += 32 * kPacket<T>) {
      float values[kPacket<T>];
      load(y + column, values);
#pragma unroll
      for (int j = 0; j < kTogether; ++j) {
        float weight[kPacket<T>];
        load(weights + min(first + j, count - 1) * D + column, weight);
#pragma unroll
        for (int i = 0; i < kPacket<T>; ++i) sums[j] = fmaf(values[i], weight[i], sums[j]);
      }
    }
#pragma unroll
    for (int j = 0; j < kTogether; ++j) {
      const float sum = warp_sum(sums[j]);
      if (lane_index() == j && first + j < count) out[first + j] = bias ? sum + bias[first + j] : sum;
    }
  }
}

/// A warp a row: all rows where logits are wanted, else the first of each sequence.   lm: [V, D]; q_weight: [2, D];
/// logits: [B, T, V] or null; q: [B, 2]
template <typename T>
__global__ void readout_rows(int64_t batch, int64_t positions, int64_t P, int64_t V, const T* lm, const T* q_weight,
                             const float* q_bias, Rows<T> z, float* logits, float* q) {
  const int64_t rows_wanted = logits ? batch * positions : batch;
  const int64_t index = int64_t{blockIdx.x} * kForwardWarps + threadIdx.x / 32;
  if (index >= rows_wanted) return;
  const int64_t row = logits ? index : index * positions, b = row / positions, s = row % positions;
  if (s > 0 && s < P) return;
  T* const y = shared_memory<T>() + (threadIdx.x / 32) * z.D;
  const float factor = z.factor(row);
  for (int column = lane_index() * kPacket<T>; column < z.D; column += 32 * kPacket<T>) {
    float values[kPacket<T>];
    z.load_normed(row, column, factor, values);
    store(values, y + column);  // read again by this lane alone
  }
  if (s == 0) multiply_row(y, z.D, q_weight, 2, q_bias, q + b * 2);
  if (logits && s >= P) multiply_row<T>(y, z.D, lm, V, nullptr, logits + (b * (positions - P) + s - P) * V);
}

__global__ void argmax_rows(int64_t rows, int64_t vocab, const float* logits, int32_t* predictions) {
  const int64_t row = warp_index();
  if (row >= rows) return;
  const int32_t index = warp_argmax(vocab, logits + row * vocab);
  if (lane_index() == 0) predictions[row] = index;
}

/// grad_z <- grad_logits lm, plus grad_q q_weight at position 0; a warp a row.   grad_logits: [B, T, V]; grad_q: [B,
/// 2]; grad_z: [B, S, D]
template <typename T>
__global__ void input_gradient_rows(int64_t batch, int64_t positions, int64_t P, int64_t V, int D, const T* lm,
                                    const T* q_weight, const float* grad_logits, const float* grad_q, T* grad_z) {
  const int64_t row = warp_index();
  if (row >= batch * positions) return;
  const int64_t b = row / positions, s = row % positions;
  const float* const token_grads = grad_logits + (b * (positions - P) + s - P) * V;
  for (int column = lane_index() * kPacket<T>; column < D; column += 32 * kPacket<T>) {
    float sums[kPacket<T>] = {};
    const auto accumulate = [&](float grad, const T* weights) {
      float weight[kPacket<T>];
      load(weights + column, weight);
#pragma unroll
      for (int i = 0; i < kPacket<T>; ++i) sums[i] = fmaf(grad, weight[i], sums[i]);
    };
    if (s >= P)
      for (int64_t v = 0; v < V; ++v) accumulate(token_grads[v], lm + v * D);
    if (s == 0)
      for (int i = 0; i < 2; ++i) accumulate(grad_q[b * 2 + i], q_weight + i * D);
    store(sums, grad_z + row * D + column);
  }
}

// --- gradients of the heads' weights: parts of the rows by a block each, then the parts in order
// ----------------------

constexpr int kOutputs = 16;        // of a head that a thread sums at once, for two columns
constexpr int kStage = 32;          // rows whose gradients are in shared memory at once
constexpr int64_t kMaxParts = 256;  // as many blocks as fill a GPU
constexpr int64_t kMinPartRows = 64;

/// Rows of z that a head reads: `per_sequence` of every `positions`, from position `first` on.
struct HeadRows {
  int64_t batch, positions, first, per_sequence;
  int64_t count() const { return batch * per_sequence; }
};

struct HeadParts {
  int64_t tiles, parts, rows;  // kOutputs each; number; rows of each part

  HeadParts(const HeadRows& rows_read, int64_t outputs) : tiles(divide_up(outputs, kOutputs)) {
    const int64_t wanted =
        std::min(divide_up(rows_read.count(), kMinPartRows), std::max<int64_t>(1, kMaxParts / tiles));
    rows = divide_up(rows_read.count(), wanted);
    parts = divide_up(rows_read.count(), rows);
  }
};

/// sums [parts, outputs, D] <- grads^T norm(z) over the rows of each part.   grads: [rows, outputs]; blocks: tiles x
/// parts x tiles of 2 * threads columns
template <typename T>
__global__ void sum_part(HeadRows rows_read, int64_t part_rows, int64_t outputs, Rows<T> z, const float* grads,
                         float* sums) {
  float* const staged = shared_memory<float>();       // [kStage, kOutputs]
  float* const factors = staged + kStage * kOutputs;  // [kStage]
  const int64_t first_output = int64_t{blockIdx.x} * kOutputs, part = blockIdx.y;
  const int column = static_cast<int>((blockIdx.z * blockDim.x + threadIdx.x) * 2);
  const int64_t count = rows_read.batch * rows_read.per_sequence;
  const int64_t begin = part * part_rows, end = min(begin + part_rows, count);
  const auto row_of_z = [&](int64_t i) {
    return i / rows_read.per_sequence * rows_read.positions + rows_read.first + i % rows_read.per_sequence;
  };
  float own[kOutputs][2] = {};
  for (int64_t stage = begin; stage < end; stage += kStage) {
    const int rows = static_cast<int>(min(end - stage, int64_t{kStage}));
    __syncthreads();
    for (int i = static_cast<int>(threadIdx.x); i < rows * kOutputs; i += static_cast<int>(blockDim.x)) {
      const int64_t output = first_output + i % kOutputs;
      staged[i] = output < outputs ? grads[(stage + i / kOutputs) * outputs + output] : 0.0f;
    }
    if (static_cast<int>(threadIdx.x) < rows) factors[threadIdx.x] = z.factor(row_of_z(stage + threadIdx.x));
    __syncthreads();
    if (column >= z.D) continue;
    for (int i = 0; i < rows; ++i) {
      float values[2];
      load(z.x + row_of_z(stage + i) * z.D + column, values);
      for (float& value : values) value = rounded<T>(value * factors[i]);
#pragma unroll
      for (int k = 0; k < kOutputs; k += 4) {
        float grad[4];
        load(staged + i * kOutputs + k, grad);
#pragma unroll
        for (int j = 0; j < 4; ++j)
#pragma unroll
          for (int c = 0; c < 2; ++c) own[k + j][c] = fmaf(grad[j], values[c], own[k + j][c]);
      }
    }
  }
  if (column >= z.D) return;
#pragma unroll
  for (int k = 0; k < kOutputs; ++k)
    if (first_output + k < outputs) store(own[k], sums + ((part * outputs) + first_output + k) * z.D + column);
}

/// out[i] <- sum of sums[part, i].   sums: [parts, count]
__global__ void add_parts(int64_t count, int64_t parts, const float* sums, float* out) {
  const int64_t i = thread_index();
  if (i >= count) return;
  float sum = 0.0f;
#pragma unroll 8
  for (int64_t part = 0; part < parts; ++part) sum += sums[part * count + i];
  out[i] = sum;
}

/// grad_q_bias[i] <- sum of grad_q[b, i]; a warp.
__global__ void sum_bias(int64_t batch, const float* grad_q, float* grad_q_bias) {
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    float own = 0.0f;
    for (int64_t b = lane_index(); b < batch; b += 32) own += grad_q[b * 2 + i];
    const float sum = warp_sum(own);
    if (lane_index() == 0) grad_q_bias[i] = sum;
  }
}

HeadRows lm_rows(const Shapes& shapes, int64_t batch) { return {batch, shapes.S(), shapes.P, shapes.T}; }
HeadRows q_rows(const Shapes& shapes, int64_t batch) { return {batch, shapes.S(), 0, 1}; }

template <typename T>
void head_gradient(Device& device, const HeadRows& rows, int64_t outputs, Rows<T> z, const float* grads, float* grad,
                   float* workspace) {
  const HeadParts parts(rows, outputs);
  const auto threads = static_cast<unsigned>(std::min<int64_t>(divide_up(z.D / 2, 32) * 32, kBlockThreads));
  device.launch({.blocks_x = static_cast<unsigned>(parts.tiles),
                 .blocks_y = static_cast<unsigned>(parts.parts),
                 .blocks_z = static_cast<unsigned>(divide_up(z.D, 2 * threads)),
                 .threads = threads,
                 .shared = (kStage * kOutputs + kStage) * sizeof(float)},
                sum_part<T>, rows, parts.rows, outputs, z, grads, workspace);
  device.launch(thread_each(outputs * z.D), add_parts, outputs * z.D, parts.parts, workspace, grad);
}

}  // namespace

void readout_forward(Device& device, Format format, const Shapes& shapes, int64_t batch, float norm_eps, const void* lm,
                     const void* q_weight, const float* q_bias, Activation z_h, float* logits, float* q) {
  const int64_t rows = logits ? batch * shapes.S() : batch;
  with_format(format, [&]<typename T>() {
    device.launch({.blocks_x = static_cast<unsigned>(divide_up(rows, kForwardWarps)),
                   .threads = kForwardWarps * 32,
                   .shared = kForwardWarps * static_cast<size_t>(shapes.D) * sizeof(T)},
                  readout_rows<T>, batch, shapes.S(), shapes.P, shapes.V, static_cast<const T*>(lm),
                  static_cast<const T*>(q_weight), q_bias, Rows<T>(z_h, shapes.D, norm_eps), logits, q);
  });
}

void argmax(Device& device, int64_t tokens, int64_t vocab, const float* logits, int32_t* predictions) {
  device.launch(warp_each(tokens), argmax_rows, tokens, vocab, logits, predictions);
}

size_t readout_backward_workspace(const Device&, const Shapes& shapes, int64_t batch) {
  const auto bytes = [&](const HeadRows& rows, int64_t outputs) {
    return static_cast<size_t>(HeadParts(rows, outputs).parts * outputs * shapes.D) * sizeof(float);
  };
  return std::max(bytes(lm_rows(shapes, batch), shapes.V), bytes(q_rows(shapes, batch), 2));
}

void readout_backward(Device& device, Format format, const Shapes& shapes, int64_t batch, float norm_eps,
                      const void* lm, const void* q_weight, Activation z_h, const float* grad_logits,
                      const float* grad_q, float* grad_lm, float* grad_q_weight, float* grad_q_bias, void* grad_z,
                      void* workspace) {
  with_format(format, [&]<typename T>() {
    const Rows<T> z(z_h, shapes.D, norm_eps);
    float* const sums = static_cast<float*>(workspace);
    device.launch(warp_each(batch * shapes.S()), input_gradient_rows<T>, batch, shapes.S(), shapes.P, shapes.V,
                  static_cast<int>(shapes.D), static_cast<const T*>(lm), static_cast<const T*>(q_weight), grad_logits,
                  grad_q, static_cast<T*>(grad_z));
    head_gradient<T>(device, lm_rows(shapes, batch), shapes.V, z, grad_logits, grad_lm, sums);
    head_gradient<T>(device, q_rows(shapes, batch), 2, z, grad_q, grad_q_weight, sums);
  });
  device.launch({.threads = 32}, sum_bias, batch, grad_q, grad_q_bias);
}

}  // namespace hrm::cuda
