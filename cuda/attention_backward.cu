// The backward of attention_forward.cu. With P = exp(scale q k^T - log_sums), all per sequence and head:
//   grad v = P^T grad_out, dP = grad_out v^T, dS = P (dP - delta), delta = rowsum(grad_out out),
//   grad q = scale dS k, grad k = scale dS^T q  (arXiv 2205.14135, appendix B.2),
// and grad q, grad k are rotated back by RoPE. P and dS are rounded to bf16 for the products, sums are fp32.

#include "cuda/attention.h"
#include "cuda/attention_tile.h"

namespace hrm::cuda {
namespace {

/// Columns of P or P^T that a strip computes at once, as registers allow.
template <int kHead>
inline constexpr int kStep = kHead < 128 ? 32 : 16;

struct BackwardArguments {
  const bf16 *qkv, *out;  // [rows, 3D], [rows, D]
  const float* log_sums;  // [batch, heads, S]
  const bf16* grad_out;   // [rows, D]
  RopeTable rope;
  bf16* grad_qkv;  // [rows, 3D]
  float* deltas;   // [batch, heads, S], of streamed sequences
  int S, heads;
  float scale;
};

/// What a block sees of one head of one sequence.
template <int kHead>
struct Unit {
  HeadRows q, k, v, out, grad_out;
  bf16 *grad_q, *grad_k, *grad_v;  // rows as far apart as those of q
  int64_t statistics;              // of its first row in log_sums and deltas

  __device__ __forceinline__ Unit(const BackwardArguments& a, int unit) {
    const int D = a.heads * kHead;
    const int64_t first_row = int64_t{unit / a.heads} * a.S;
    const int64_t at = first_row * D + unit % a.heads * kHead, at3 = at + 2 * first_row * D;
    q = {a.qkv + at3, 3 * D, a.S};
    k = {a.qkv + at3 + D, 3 * D, a.S};
    v = {a.qkv + at3 + 2 * D, 3 * D, a.S};
    out = {a.out + at, D, a.S};
    grad_out = {a.grad_out + at, D, a.S};
    grad_q = a.grad_qkv + at3;
    grad_k = grad_q + D;
    grad_v = grad_k + D;
    statistics = int64_t{unit} * a.S;
  }
};

/// log_sums[i] <- of row first + i, in powers of 2; 0 beyond the last, where q and grad_out are 0 and add nothing.
template <int kRows>
__device__ __forceinline__ void load_log_sums(float* log_sums, const float* source, int first, int count) {
  const int row = threadIdx.x;
  if (row < kRows) log_sums[row] = first + row < count ? source[first + row] * kLog2E : 0.0f;
}

/// deltas[i] <- of row first + i, 0 beyond the last.
template <int kHead, int kRows, int kThreads>
__device__ __forceinline__ void compute_deltas(float* deltas, const HeadRows& out, const HeadRows& grad_out,
                                               int first) {
  constexpr int kChunks = kHead / kChunk;
  static_assert(kRows * kChunks % kThreads == 0);
#pragma unroll
  for (int step = 0; step < kRows * kChunks / kThreads; ++step) {
    const int index = step * kThreads + static_cast<int>(threadIdx.x);
    const int row = index / kChunks, chunk = index % kChunks;
    float delta = 0;
    if (first + row < out.count) {
      const int at = (first + row) * out.stride + chunk * kChunk;
      const Chunk a = *reinterpret_cast<const Chunk*>(out.rows + at);
      const Chunk b = *reinterpret_cast<const Chunk*>(grad_out.rows + at);
#pragma unroll
      for (int i = 0; i < kChunk / 2; ++i) {
        float a_low, a_high, b_low, b_high;
        unpack_bf16(a.words[i], a_low, a_high);
        unpack_bf16(b.words[i], b_low, b_high);
        delta = fmaf(a_high, b_high, fmaf(a_low, b_low, delta));
      }
    }
#pragma unroll
    for (int distance = kChunks / 2; distance > 0; distance /= 2) {
      delta += __shfl_xor_sync(0xffffffffu, delta, distance);
    }
    if (chunk == 0) deltas[row] = delta;
  }
}

/// A strip of keys and kStep<kHead> queries: adds to grad_v, and to grad_k without its scale; ds <- dS^T as a left
/// operand.
///   k, v: tiles with the strip in rows `strip` …; q, grad_out: tiles with the queries in rows `query` …
///   valid: whether the strip's rows lane / 4 and + 8 are keys; log_sums, deltas: of the queries' tile
template <int kHead>
__device__ __forceinline__ void add_key_gradients(float (&grad_k)[kHead / 8][4], float (&grad_v)[kHead / 8][4],
                                                  uint32_t (&ds)[kStep<kHead> / 16][4], const bf16* k, const bf16* v,
                                                  int strip, const bool (&valid)[2], const bf16* q,
                                                  const bf16* grad_out, int query, const float* log_sums,
                                                  const float* deltas, float scale2) {
  float s[kStep<kHead> / 8][4] = {}, dp[kStep<kHead> / 8][4] = {};
  multiply_transposed<kHead, kStep<kHead>>(s, k, strip, q, query);
  multiply_transposed<kHead, kStep<kHead>>(dp, v, strip, grad_out, query);
  uint32_t p[kStep<kHead> / 16][4];
#pragma unroll
  for (int j = 0; j < kStep<kHead> / 8; ++j) {
    const int column = query + 8 * j + 2 * (threadIdx.x % 4);
    const float log_sum[2] = {log_sums[column], log_sums[column + 1]};
    const float delta[2] = {deltas[column], deltas[column + 1]};
#pragma unroll
    for (int half = 0; half < 2; ++half) {
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        float& value = s[j][2 * half + e];
        value = valid[half] ? exp2f(fmaf(value, scale2, -log_sum[e])) : 0.0f;
        dp[j][2 * half + e] = value * (dp[j][2 * half + e] - delta[e]);
      }
      p[j / 2][j % 2 * 2 + half] = pack_bf16(s[j][2 * half], s[j][2 * half + 1]);
      ds[j / 2][j % 2 * 2 + half] = pack_bf16(dp[j][2 * half], dp[j][2 * half + 1]);
    }
  }
#pragma unroll
  for (int i = 0; i < kStep<kHead> / 16; ++i) {
    multiply_rows<kHead>(grad_v, p[i], grad_out, query + 16 * i);
    multiply_rows<kHead>(grad_k, ds[i], q, query + 16 * i);
  }
}

/// grad [16, kHead] <- scale * grad, with rows position … position + 15 rotated back: for the pair (d, d + kHead / 2)
/// of a row the transpose of layers.py apply_rotary_pos_emb.
template <int kHead>
__device__ __forceinline__ void scale_and_rotate_back(float (&grad)[kHead / 8][4], float scale, const RopeTable& rope,
                                                      int position, int count) {
  constexpr int kHalf = kHead / 2;
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int j = 0; j < kHalf / 8; ++j) {
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      const int row = position + lane / 4 + e / 2 * 8;
      float &first = grad[j][e], &second = grad[j + kHalf / 8][e];
      first *= scale;
      second *= scale;
      if (rope.cosines != nullptr && row < count) {
        const int at = row * kHalf + 8 * j + 2 * (lane % 4) + e % 2;
        const float cosine = rope.cosines[at], sine = rope.sines[at];
        const float rotated = fmaf(first, cosine, second * sine);
        second = fmaf(second, cosine, -first * sine);
        first = rotated;
      }
    }
  }
}

// --- whole sequences ----------------------------------------------------------------------------------------------
constexpr int kScores = 128;  // columns of the tile of dS^T

/// Bytes of shared memory: k and v; q and grad_out, of which dS^T takes the place; statistics.
template <int kHead, int kRows>
constexpr size_t whole_shared() {
  constexpr size_t kOverlaid = 2 * kHead > kScores ? 2 * kHead : kScores;
  return kRows * ((2 * kHead + kOverlaid) * sizeof(bf16) + 2 * sizeof(float));
}

/// One block computes one (sequence, head) with S <= kRows, one strip of keys, then one of queries a warp.
template <int kHead, int kRows>
__global__ void attention_backward_whole_bf16(BackwardArguments a) {
  constexpr int kThreads = kRows / kStrip * 32, kTile = kRows * kHead;
  float* const log_sums = shared_memory<float>();  // [kRows]
  float* const deltas = log_sums + kRows;          // [kRows]
  bf16* const keys = reinterpret_cast<bf16*>(deltas + kRows);
  bf16* const values = keys + kTile;
  bf16* const queries = values + kTile;
  bf16* const grads = queries + kTile;
  bf16* const score_grads = queries;  // dS^T [kRows, kScores]: of keys and queries

  const Unit<kHead> unit(a, blockIdx.x);
  copy_tile_async<kHead, kRows, kThreads>(keys, unit.k, 0);
  copy_tile_async<kHead, kRows, kThreads>(queries, unit.q, 0);
  copy_tile_async<kHead, kRows, kThreads>(values, unit.v, 0);
  copy_tile_async<kHead, kRows, kThreads>(grads, unit.grad_out, 0);
  copy_async_commit();
  load_log_sums<kRows>(log_sums, a.log_sums + unit.statistics, 0, a.S);
  compute_deltas<kHead, kRows, kThreads>(deltas, unit.out, unit.grad_out, 0);
  copy_async_wait<0>();
  __syncthreads();

  const int lane = threadIdx.x % 32, strip = static_cast<int>(threadIdx.x) / 32 * kStrip;
  uint32_t ds[kRows / kStep<kHead>][kStep<kHead> / 16][4] = {};
  if (strip < a.S) {
    const bool valid[2] = {strip + lane / 4 < a.S, strip + lane / 4 + 8 < a.S};
    float grad_k[kHead / 8][4] = {}, grad_v[kHead / 8][4] = {};
#pragma unroll
    for (int step = 0; step < kRows / kStep<kHead>; ++step) {
      add_key_gradients<kHead>(grad_k, grad_v, ds[step], keys, values, strip, valid, queries, grads,
                               kStep<kHead> * step, log_sums, deltas, a.scale * kLog2E);
    }
    store_strip<kHead>(grad_v, values, strip, unit.grad_v, unit.q.stride, strip, a.S);
    scale_and_rotate_back<kHead>(grad_k, a.scale, a.rope, strip, a.S);
    store_strip<kHead>(grad_k, values, strip, unit.grad_k, unit.q.stride, strip, a.S);
  }
  __syncthreads();
#pragma unroll
  for (int j = 0; j < kRows / 8; ++j) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      bf16* const place = score_grads + tile_offset<kScores>(strip + lane / 4 + 8 * half, j) + 2 * (lane % 4);
      *reinterpret_cast<uint32_t*>(place) = ds[j / (kStep<kHead> / 8)][j / 2 % (kStep<kHead> / 16)][j % 2 * 2 + half];
    }
  }
  __syncthreads();
  if (strip < a.S) {
    float grad_q[kHead / 8][4] = {};
#pragma unroll
    for (int k = 0; k < kRows / 16; ++k) {
      uint32_t left[4];
      load_left_transposed<kScores>(left, score_grads, 16 * k, strip / 16);
      multiply_rows<kHead>(grad_q, left, keys, 16 * k);
    }
    scale_and_rotate_back<kHead>(grad_q, a.scale, a.rope, strip, a.S);
    store_strip<kHead>(grad_q, values, strip, unit.grad_q, unit.q.stride, strip, a.S);
  }
}

// --- long sequences, in tiles of 64 ---------------------------------------------------------------------------------
constexpr int kTileRows = 64, kStreamThreads = kTileRows / kStrip * 32;

/// Bytes of shared memory: two tiles of the block's own, two stages of two tiles; statistics of two stages.
template <int kHead>
constexpr size_t streamed_shared() {
  return kTileRows * (6 * kHead * sizeof(bf16) + 4 * sizeof(float));
}

/// grad q of kTileRows queries over all keys, and their deltas for the next kernel.
///   blocks: query tiles of head 0 of sequence 0, of head 1, ...
template <int kHead>
__global__ void attention_backward_queries_bf16(BackwardArguments a, int tiles) {
  constexpr int kTile = kTileRows * kHead;
  float* const log_sums = shared_memory<float>();  // [kTileRows]
  float* const deltas = log_sums + kTileRows;      // [kTileRows]
  bf16* const queries = reinterpret_cast<bf16*>(log_sums + 4 * kTileRows);
  bf16* const grads = queries + kTile;
  bf16* const keys = grads + kTile;       // two tiles
  bf16* const values = keys + 2 * kTile;  // two tiles

  const Unit<kHead> unit(a, static_cast<int>(blockIdx.x) / tiles);
  const int first_query = static_cast<int>(blockIdx.x) % tiles * kTileRows;
  copy_tile_async<kHead, kTileRows, kStreamThreads>(queries, unit.q, first_query);
  copy_tile_async<kHead, kTileRows, kStreamThreads>(grads, unit.grad_out, first_query);
  copy_tile_async<kHead, kTileRows, kStreamThreads>(keys, unit.k, 0);
  copy_tile_async<kHead, kTileRows, kStreamThreads>(values, unit.v, 0);
  copy_async_commit();
  load_log_sums<kTileRows>(log_sums, a.log_sums + unit.statistics, first_query, a.S);
  compute_deltas<kHead, kTileRows, kStreamThreads>(deltas, unit.out, unit.grad_out, first_query);
  __syncthreads();
  if (static_cast<int>(threadIdx.x) < kTileRows && first_query + static_cast<int>(threadIdx.x) < a.S) {
    a.deltas[unit.statistics + first_query + threadIdx.x] = deltas[threadIdx.x];
  }

  const int lane = threadIdx.x % 32, strip = static_cast<int>(threadIdx.x) / 32 * kStrip;
  const float log_sum[2] = {log_sums[strip + lane / 4], log_sums[strip + lane / 4 + 8]};
  const float delta[2] = {deltas[strip + lane / 4], deltas[strip + lane / 4 + 8]};
  float grad_q[kHead / 8][4] = {};
  for (int first_key = 0, stage = 0; first_key < a.S; first_key += kTileRows, stage ^= 1) {
    if (first_key + kTileRows < a.S) {
      const int next = (stage ^ 1) * kTile;
      copy_tile_async<kHead, kTileRows, kStreamThreads>(keys + next, unit.k, first_key + kTileRows);
      copy_tile_async<kHead, kTileRows, kStreamThreads>(values + next, unit.v, first_key + kTileRows);
    }
    copy_async_commit();
    copy_async_wait<1>();
    __syncthreads();
    if (first_query + strip < a.S) {
      const bf16 *const k = keys + stage * kTile, *const v = values + stage * kTile;
#pragma unroll 1
      for (int key = 0; key < kTileRows; key += kStep<kHead>) {
        float s[kStep<kHead> / 8][4] = {}, dp[kStep<kHead> / 8][4] = {};
        multiply_transposed<kHead, kStep<kHead>>(s, queries, strip, k, key);
        multiply_transposed<kHead, kStep<kHead>>(dp, grads, strip, v, key);
#pragma unroll
        for (int i = 0; i < kStep<kHead> / 16; ++i) {
          uint32_t ds[4];
#pragma unroll
          for (int part = 0; part < 4; ++part) {
            const int half = part % 2, j = 2 * i + part / 2;
            float value[2];
#pragma unroll
            for (int e = 0; e < 2; ++e) {
              const bool valid = first_key + key + 8 * j + 2 * (lane % 4) + e < a.S;
              const float p = exp2f(fmaf(s[j][2 * half + e], a.scale * kLog2E, -log_sum[half]));
              value[e] = valid ? p * (dp[j][2 * half + e] - delta[half]) : 0.0f;
            }
            ds[part] = pack_bf16(value[0], value[1]);
          }
          multiply_rows<kHead>(grad_q, ds, k, key + 16 * i);
        }
      }
    }
    __syncthreads();
  }
  if (first_query + strip >= a.S) return;
  scale_and_rotate_back<kHead>(grad_q, a.scale, a.rope, first_query + strip, a.S);
  store_strip<kHead>(grad_q, queries, strip, unit.grad_q, unit.q.stride, first_query + strip, a.S);
}

/// grad k and grad v of kTileRows keys over all queries.   blocks: key tiles of head 0 of sequence 0, of head 1, ...
template <int kHead>
__global__ void attention_backward_keys_bf16(BackwardArguments a, int tiles) {
  constexpr int kTile = kTileRows * kHead;
  float* const log_sums = shared_memory<float>();  // two tiles [kTileRows]
  float* const deltas = log_sums + 2 * kTileRows;  // two tiles [kTileRows]
  bf16* const keys = reinterpret_cast<bf16*>(deltas + 2 * kTileRows);
  bf16* const values = keys + kTile;
  bf16* const queries = values + kTile;     // two tiles
  bf16* const grads = queries + 2 * kTile;  // two tiles

  const Unit<kHead> unit(a, static_cast<int>(blockIdx.x) / tiles);
  const int first_key = static_cast<int>(blockIdx.x) % tiles * kTileRows;
  const auto load_queries = [&](int first, int stage) {
    copy_tile_async<kHead, kTileRows, kStreamThreads>(queries + stage * kTile, unit.q, first);
    copy_tile_async<kHead, kTileRows, kStreamThreads>(grads + stage * kTile, unit.grad_out, first);
    load_log_sums<kTileRows>(log_sums + stage * kTileRows, a.log_sums + unit.statistics, first, a.S);
    const int row = threadIdx.x;
    if (row < kTileRows) {
      deltas[stage * kTileRows + row] = first + row < a.S ? a.deltas[unit.statistics + first + row] : 0.0f;
    }
  };
  copy_tile_async<kHead, kTileRows, kStreamThreads>(keys, unit.k, first_key);
  copy_tile_async<kHead, kTileRows, kStreamThreads>(values, unit.v, first_key);
  load_queries(0, 0);
  copy_async_commit();

  const int lane = threadIdx.x % 32, strip = static_cast<int>(threadIdx.x) / 32 * kStrip;
  const bool valid[2] = {first_key + strip + lane / 4 < a.S, first_key + strip + lane / 4 + 8 < a.S};
  float grad_k[kHead / 8][4] = {}, grad_v[kHead / 8][4] = {};
  for (int first_query = 0, stage = 0; first_query < a.S; first_query += kTileRows, stage ^= 1) {
    if (first_query + kTileRows < a.S) load_queries(first_query + kTileRows, stage ^ 1);
    copy_async_commit();
    copy_async_wait<1>();
    __syncthreads();
    if (first_key + strip < a.S) {
#pragma unroll 1
      for (int query = 0; query < kTileRows; query += kStep<kHead>) {
        uint32_t ds[kStep<kHead> / 16][4];
        add_key_gradients<kHead>(grad_k, grad_v, ds, keys, values, strip, valid, queries + stage * kTile,
                                 grads + stage * kTile, query, log_sums + stage * kTileRows, deltas + stage * kTileRows,
                                 a.scale * kLog2E);
      }
    }
    __syncthreads();
  }
  if (first_key + strip >= a.S) return;
  store_strip<kHead>(grad_v, values, strip, unit.grad_v, unit.q.stride, first_key + strip, a.S);
  scale_and_rotate_back<kHead>(grad_k, a.scale, a.rope, first_key + strip, a.S);
  store_strip<kHead>(grad_k, values, strip, unit.grad_k, unit.q.stride, first_key + strip, a.S);
}

template <int kHead, int kRows>
void launch_whole(Device& device, const BlockSizes& sizes, const BackwardArguments& arguments) {
  static_assert(whole_shared<kHead, kRows>() <= kSharedLimit);
  const Launch launch{.blocks_x = static_cast<unsigned>(sizes.batch * sizes.heads),
                      .threads = kRows / kStrip * 32,
                      .shared = whole_shared<kHead, kRows>()};
  device.launch(launch, attention_backward_whole_bf16<kHead, kRows>, arguments);
}

/// Longest sequence that fits into one block, on every GPU.
constexpr int64_t whole_limit(int64_t head_size) { return head_size < 128 ? 128 : 96; }

template <int kHead>
void backward_bf16(Device& device, const BlockSizes& sizes, const BackwardArguments& arguments) {
  if (sizes.S <= 96) return launch_whole<kHead, 96>(device, sizes, arguments);
  if constexpr (whole_limit(kHead) == 128) {
    if (sizes.S <= 128) return launch_whole<kHead, 128>(device, sizes, arguments);
  }
  static_assert(streamed_shared<kHead>() <= kSharedLimit);
  const int64_t tiles = (sizes.S + kTileRows - 1) / kTileRows;
  const Launch launch{.blocks_x = static_cast<unsigned>(sizes.batch * sizes.heads * tiles),
                      .threads = kStreamThreads,
                      .shared = streamed_shared<kHead>()};
  device.launch(launch, attention_backward_queries_bf16<kHead>, arguments, static_cast<int>(tiles));
  device.launch(launch, attention_backward_keys_bf16<kHead>, arguments, static_cast<int>(tiles));
}

}  // namespace

size_t attention_backward_workspace(const Device&, Format format, const BlockSizes& sizes) {
  if (format == Format::bf16 && sizes.S <= whole_limit(head_size_of(sizes))) return 0;
  return sizeof(float) * static_cast<size_t>(sizes.batch * sizes.heads * sizes.S);  // the deltas
}

void attention_backward(Device& device, Format format, const BlockSizes& sizes, const void* qkv, const void* out,
                        const float* log_sums, const void* grad_out, RopeTable rope, void* grad_qkv, void* workspace) {
  if (format == Format::f32) {
    return attention_backward_f32(device, sizes, static_cast<const float*>(qkv), static_cast<const float*>(out),
                                  log_sums, static_cast<const float*>(grad_out), rope, static_cast<float*>(grad_qkv),
                                  static_cast<float*>(workspace));
  }
  const BackwardArguments arguments{.qkv = static_cast<const bf16*>(qkv),
                                    .out = static_cast<const bf16*>(out),
                                    .log_sums = log_sums,
                                    .grad_out = static_cast<const bf16*>(grad_out),
                                    .rope = rope,
                                    .grad_qkv = static_cast<bf16*>(grad_qkv),
                                    .deltas = static_cast<float*>(workspace),
                                    .S = static_cast<int>(sizes.S),
                                    .heads = static_cast<int>(sizes.heads),
                                    .scale = attention_scale(sizes)};
  switch (head_size_of(sizes)) {
    case 32:
      return backward_bf16<32>(device, sizes, arguments);
    case 64:
      return backward_bf16<64>(device, sizes, arguments);
    case 128:
      return backward_bf16<128>(device, sizes, arguments);
    default:
      reject_head_size(head_size_of(sizes));
  }
}

}  // namespace hrm::cuda
