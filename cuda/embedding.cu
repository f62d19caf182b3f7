// Input embedding and its gradients: x = sqrt(D) [puzzle positions ; tokens], with learned positions sqrt(D)
// 0.707106781 ([...] + positions). Source: HRM models/hrm/hrm_act_v1.py _input_embeddings
//
// The gradient of a token's weights is a sum over all its occurrences. Occurrences are sorted by token, stably (one
// radix pass for every four bits of the vocabulary size), and runs of equal tokens summed in that order: fixed parts of
// the sorted occurrences by a block each, then runs that cross parts.

#include <algorithm>
#include <cmath>
#include <utility>

#include "cuda/launches.h"

namespace hrm::cuda {
namespace {

/// The official nine-digit literal, not 1/sqrt 2.
constexpr double kPositionScale = 0.707106781;

/// x <- embeddings, a warp a row, four columns a lane at a time. Rounded where the official code's tensors are.
///   token_weights: [V, D]; positions: [S, D] or null; tokens: [B, T]; puzzle_rows: [B, E]
template <typename T>
__global__ void embed_rows(Shapes shapes, int64_t rows, float scale, const float* token_weights, const float* positions,
                           const int32_t* tokens, const float* puzzle_rows, Rows<T> x) {
  const int64_t row = warp_index();
  if (row >= rows) return;
  const int64_t S = shapes.P + shapes.T, b = row / S, s = row % S, D = shapes.D;
  for (int64_t column = lane_index() * 4; column < D; column += 32 * 4) {
    float values[4];
    if (s < shapes.P) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int64_t at = s * D + column + i;
        values[i] = at < shapes.E ? puzzle_rows[b * shapes.E + at] : 0.0f;
      }
    } else {
      load(token_weights + tokens[b * shapes.T + s - shapes.P] * D + column, values);
    }
    float added[4];
    if (positions) load(positions + s * D + column, added);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      float value = rounded<T>(values[i]);
      if (positions) value = rounded<T>(static_cast<float>(kPositionScale) * rounded<T>(value + rounded<T>(added[i])));
      values[i] = value * scale;
    }
    store(values, x.x + row * D + column);
  }
  x.make_final(row);
}

// --- occurrences in the order of their tokens
// -------------------------------------------------------------------------

constexpr int kDigitBits = 4, kDigits = 1 << kDigitBits;
constexpr int kOwn = 4;  // occurrences a thread sorts
constexpr int kSortPart = static_cast<int>(kBlockThreads) * kOwn;
constexpr int kSegments = static_cast<int>(kBlockThreads) / kDigits;  // of the threads, for sums over them

/// Where the occurrences of each digit are counted: [kDigits, threads], and sums over kSegments segments of the
/// threads.
struct DigitCounts {
  int32_t* of_threads;   // [kDigits, kBlockThreads]
  int32_t* of_segments;  // [kDigits, kSegments]
};

/// One digit of the tokens of a part of the occurrences in their present order.
struct DigitPass {
  int64_t count;
  int shift;
  const int32_t* tokens;  // [count], in the order of occurrence
  const int32_t* order;   // [count], the present order; null: that of occurrence

  __device__ __forceinline__ int32_t occurrence(int64_t i) const { return order ? order[i] : static_cast<int32_t>(i); }
  __device__ __forceinline__ int digit(int32_t occurrence) const {
    return (tokens[occurrence] >> shift) & (kDigits - 1);
  }
  __device__ __forceinline__ int64_t first_own() const { return int64_t{blockIdx.x} * kSortPart + threadIdx.x * kOwn; }

  /// Each thread counts the digits of its own occurrences; then thread 16 d + g has the sum of digit d over segment g.
  __device__ __forceinline__ DigitCounts count_digits() const {
    int32_t* const shared = shared_memory<int32_t>();
    const DigitCounts counts{shared, shared + kDigits * kBlockThreads};
    const int thread = static_cast<int>(threadIdx.x);
    for (int i = 0; i < kDigits; ++i) counts.of_threads[i * kBlockThreads + thread] = 0;
    for (int64_t i = first_own(); i < first_own() + kOwn && i < count; ++i)
      ++counts.of_threads[digit(occurrence(i)) * kBlockThreads + thread];
    __syncthreads();
    int32_t sum = 0;
    for (int i = 0; i < kDigits; ++i) sum += counts.of_threads[thread * kDigits + i];
    counts.of_segments[thread] = sum;
    __syncthreads();
    return counts;
  }
};
static_assert(kSegments == kDigits);
constexpr size_t kDigitCountBytes = (kDigits * kBlockThreads + kDigits * kSegments) * sizeof(int32_t);

/// totals: [kDigits, parts]
__global__ void count_part(DigitPass pass, int32_t* totals) {
  const DigitCounts counts = pass.count_digits();
  if (threadIdx.x >= kDigits) return;
  int32_t total = 0;
  for (int i = 0; i < kSegments; ++i) total += counts.of_segments[threadIdx.x * kSegments + i];
  totals[threadIdx.x * gridDim.x + blockIdx.x] = total;
}

/// values[i] <- sum of values[0 … i - 1], by one block.
__global__ void scan(int64_t count, int32_t* values) {
  int32_t* const sums = shared_memory<int32_t>();
  const int64_t own = (count + kBlockThreads - 1) / kBlockThreads;
  const int64_t begin = min(own * threadIdx.x, count), end = min(begin + own, count);
  int32_t sum = 0;
  for (int64_t i = begin; i < end; ++i) sum += values[i];
  sums[threadIdx.x] = sum;
  __syncthreads();
  int32_t before = 0;
  for (unsigned thread = 0; thread < threadIdx.x; ++thread) before += sums[thread];
  for (int64_t i = begin; i < end; ++i) {
    const int32_t value = values[i];
    values[i] = before;
    before += value;
  }
}

/// ordered [count] <- occurrences by their digit, those of equal digit in their present order.   starts: [kDigits,
/// parts]
__global__ void move_part(DigitPass pass, const int32_t* starts, int32_t* ordered) {
  const DigitCounts counts = pass.count_digits();
  const int thread = static_cast<int>(threadIdx.x), digit = thread / kSegments, segment = thread % kSegments;
  int32_t start = starts[digit * gridDim.x + blockIdx.x];
  for (int i = 0; i < segment; ++i) start += counts.of_segments[digit * kSegments + i];
  for (int i = 0; i < kDigits; ++i) {
    int32_t& value = counts.of_threads[thread * kDigits + i];
    const int32_t own = value;
    value = start;
    start += own;
  }
  __syncthreads();
  for (int64_t i = pass.first_own(); i < pass.first_own() + kOwn && i < pass.count; ++i) {
    const int32_t occurrence = pass.occurrence(i);
    ordered[counts.of_threads[pass.digit(occurrence) * kBlockThreads + thread]++] = occurrence;
  }
}

// --- sums over runs of equal tokens
// -----------------------------------------------------------------------------------

constexpr int64_t kRunPart = 64;  // occurrences a block sums

struct SortedOccurrences {
  int64_t count;
  const int32_t* tokens;  // [count], in the order of occurrence
  const int32_t* order;   // [count], sorted by token

  /// Of the i-th in order; -1 beyond both ends.
  __device__ __forceinline__ int32_t token(int64_t i) const { return i < 0 || i >= count ? -1 : tokens[order[i]]; }
};

/// Sums of each part's runs: of those inside the part to grad_tokens [V, D], of one from the part before to heads, of
/// one that begins here and goes on in the next part to tails.   heads, tails: [parts, D]; grad_x: [B, S, D]
template <typename T>
__global__ void sum_runs(SortedOccurrences sorted, Shapes shapes, float scale, const T* grad_x, float* grad_tokens,
                         float* heads, float* tails) {
  const int64_t part = blockIdx.x, begin = part * kRunPart, end = min(begin + kRunPart, sorted.count), D = shapes.D;
  for (int64_t column = int64_t{threadIdx.x} * kPacket<T>; column < D; column += blockDim.x * kPacket<T>) {
    float sums[kPacket<T>] = {};
    int32_t token = sorted.token(begin);
    bool from_before = sorted.token(begin - 1) == token;
    for (int64_t i = begin; i < end; ++i) {
      const int64_t at = sorted.order[i];
      float values[kPacket<T>];
      load(grad_x + (at / shapes.T * (shapes.P + shapes.T) + shapes.P + at % shapes.T) * D + column, values);
#pragma unroll
      for (int k = 0; k < kPacket<T>; ++k) sums[k] = fmaf(scale, values[k], sums[k]);
      const int32_t next = sorted.token(i + 1);
      if (next == token && i + 1 < end) continue;
      float* const to = from_before ? heads + part * D : next == token ? tails + part * D : grad_tokens + token * D;
      store(sums, to + column);
#pragma unroll
      for (float& sum : sums) sum = 0.0f;
      token = next;
      from_before = false;
    }
  }
}

/// The run that begins in this part and goes on in the next: its sums in the order of parts.
__global__ void join_runs(SortedOccurrences sorted, int64_t D, const float* heads, const float* tails,
                          float* grad_tokens) {
  const int64_t part = blockIdx.x, begin = part * kRunPart;
  const int32_t token = sorted.token(begin + kRunPart - 1);
  if (token < 0 || sorted.token(begin + kRunPart) != token) return;
  if (sorted.token(begin - 1) == token) return;  // it began before
  for (int64_t column = threadIdx.x; column < D; column += blockDim.x) {
    float sum = tails[part * D + column];
    for (int64_t next = part + 1; sorted.token(next * kRunPart) == token; ++next) sum += heads[next * D + column];
    grad_tokens[token * D + column] = sum;
  }
}

struct Zero {
  float* values;
  template <int n>
  __device__ __forceinline__ void run(int64_t i) const {
    const float zeros[n] = {};
    store(zeros, values + i);
  }
};

/// grad_positions [S, D] <- scale * grad_x [B, S, D] summed over the batch.
template <typename T>
__global__ void sum_positions(int64_t count, int64_t batch, float scale, const T* grad_x, float* grad_positions) {
  const int64_t i = thread_index();
  if (i >= count) return;
  float sum = 0.0f;
#pragma unroll 4
  for (int64_t b = 0; b < batch; ++b) sum = fmaf(scale, to_float(grad_x[b * count + i]), sum);
  grad_positions[i] = sum;
}

/// grad_puzzle_rows [B, E] <- scale * the first E elements of each sequence of grad_x.   sequence: S * D
template <typename T>
__global__ void take_puzzle_rows(int64_t count, int64_t E, int64_t sequence, float scale, const T* grad_x,
                                 float* grad_puzzle_rows) {
  const int64_t i = thread_index();
  if (i < count) grad_puzzle_rows[i] = scale * to_float(grad_x[i / E * sequence + i % E]);
}

/// How embed_backward() lays out its workspace.
struct Workspace {
  int64_t count, sort_parts, run_parts;
  size_t totals, heads, tails, bytes;  // byte offsets of what follows two orders [count] i32, and the end

  Workspace(const Shapes& shapes, int64_t batch)
      : count(batch * shapes.T), sort_parts(divide_up(count, kSortPart)), run_parts(divide_up(count, kRunPart)) {
    totals = 2 * static_cast<size_t>(count) * sizeof(int32_t);
    const size_t end = totals + static_cast<size_t>(kDigits * sort_parts) * sizeof(int32_t);
    const size_t rows = static_cast<size_t>(run_parts * shapes.D) * sizeof(float);
    heads = (end + 31) / 32 * 32;
    tails = heads + rows;
    bytes = tails + rows;
  }
};

/// Returns the occurrences' order by token, within the workspace.
const int32_t* sort_by_token(Device& device, const Shapes& shapes, const int32_t* tokens, const Workspace& layout,
                             unsigned char* workspace) {
  auto* const totals = reinterpret_cast<int32_t*>(workspace + layout.totals);
  int32_t* target = reinterpret_cast<int32_t*>(workspace);
  int32_t* other = target + layout.count;
  const int32_t* order = nullptr;
  for (int shift = 0; shift == 0 || (shapes.V - 1) >> shift > 0; shift += kDigitBits) {
    const DigitPass pass{layout.count, shift, tokens, order};
    const Launch parts{
        .blocks_x = static_cast<unsigned>(layout.sort_parts), .threads = kBlockThreads, .shared = kDigitCountBytes};
    device.launch(parts, count_part, pass, totals);
    device.launch({.threads = kBlockThreads, .shared = kBlockThreads * sizeof(int32_t)}, scan,
                  kDigits * layout.sort_parts, totals);
    device.launch(parts, move_part, pass, totals, target);
    order = target;
    std::swap(target, other);
  }
  return order;
}

}  // namespace

void gather_rows(Device& device, int64_t batch, int64_t width, const float* table, const int32_t* ids, float* rows) {
  gather_bytes(device, batch, width * static_cast<int64_t>(sizeof(float)), ids, table, rows);
}

void embed_forward(Device& device, Format format, const Shapes& shapes, int64_t batch, const float* token_weights,
                   const float* positions, const int32_t* tokens, const float* puzzle_rows, Activation x) {
  const int64_t rows = batch * shapes.S();
  const auto scale = static_cast<float>(sqrt(static_cast<double>(shapes.D)));
  with_format(format, [&]<typename T>() {
    device.launch(warp_each(rows), embed_rows<T>, shapes, rows, scale, token_weights, positions, tokens, puzzle_rows,
                  Rows<T>(x, shapes.D, 0));
  });
}

size_t embed_backward_workspace(const Device&, const Shapes& shapes, int64_t batch) {
  return Workspace(shapes, batch).bytes;
}

void embed_backward(Device& device, Format format, const Shapes& shapes, int64_t batch, const int32_t* tokens,
                    const void* grad_x, float* grad_tokens, float* grad_positions, float* grad_puzzle_rows,
                    void* workspace) {
  const Workspace layout(shapes, batch);
  auto* const memory = static_cast<unsigned char*>(workspace);
  auto* const heads = reinterpret_cast<float*>(memory + layout.heads);
  auto* const tails = reinterpret_cast<float*>(memory + layout.tails);
  const SortedOccurrences sorted{layout.count, tokens, sort_by_token(device, shapes, tokens, layout, memory)};
  const int64_t S = shapes.S(), D = shapes.D;
  const auto scale = static_cast<float>(sqrt(static_cast<double>(D)) * (grad_positions ? kPositionScale : 1.0));

  const auto threads_for = [](int64_t parts) {
    return static_cast<unsigned>(std::min<int64_t>(divide_up(parts, 32) * 32, kBlockThreads));
  };
  const auto run_parts = static_cast<unsigned>(layout.run_parts);
  for_each_element(device, divide(shapes.V * D, grad_tokens), Zero{grad_tokens});
  with_format(format, [&]<typename T>() {
    const T* grads = static_cast<const T*>(grad_x);
    device.launch({.blocks_x = run_parts, .threads = threads_for(D / kPacket<T>)}, sum_runs<T>, sorted, shapes, scale,
                  grads, grad_tokens, heads, tails);
    if (grad_positions) device.launch(thread_each(S * D), sum_positions<T>, S * D, batch, scale, grads, grad_positions);
    if (shapes.E > 0)
      device.launch(thread_each(batch * shapes.E), take_puzzle_rows<T>, batch * shapes.E, shapes.E, S * D, scale, grads,
                    grad_puzzle_rows);
  });
  device.launch({.blocks_x = run_parts, .threads = threads_for(D)}, join_runs, sorted, D, heads, tails, grad_tokens);
}

}  // namespace hrm::cuda
