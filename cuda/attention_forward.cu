// Attention of layers.py Attention.forward (flash_attn_func, causal = False): out = softmax(q k^T / sqrt(head size)) v,
// with scores, softmax and sums in fp32 and the probabilities rounded to bf16 for the product with v.

#include "cuda/attention.h"
#include "cuda/attention_tile.h"

namespace hrm::cuda {
namespace {

/// Bytes of shared memory of attention_forward_bf16.
template <int kHead, int kWarps, int kKeys, bool kStreamed>
constexpr size_t forward_shared() {
  return size_t{2} * kHead * (kStrip * kWarps + (kStreamed ? 2 : 1) * 2 * kKeys);
}

/// One block computes kStrip * kWarps queries of one (sequence, head), one strip a warp, over all keys: kKeys at a time
/// where kStreamed, with the next tile under way, else S <= kKeys and all are there at once. The softmax is online
/// (arXiv 1805.02867): what is summed so far is rescaled whenever a tile raises the row's maximum.
///   blocks: query tiles of head 0 of sequence 0, of head 1, ...; scale: 1 / sqrt(kHead)
template <int kHead, int kWarps, int kKeys, bool kStreamed>
__global__ void attention_forward_bf16(int S, int heads, int query_tiles, float scale, const bf16* __restrict__ qkv,
                                       bf16* __restrict__ out, float* __restrict__ log_sums) {
  constexpr int kThreads = 32 * kWarps, kQueries = kStrip * kWarps, kTile = kKeys * kHead;
  bf16* const queries = shared_memory<bf16>();    // [kQueries, kHead]
  bf16* const keys = queries + kQueries * kHead;  // [kStreamed ? 2 : 1] tiles [kKeys, kHead]
  bf16* const values = keys + (kStreamed ? 2 : 1) * kTile;

  const int unit = static_cast<int>(blockIdx.x) / query_tiles;  // of sequences x heads
  const int first_query = static_cast<int>(blockIdx.x) % query_tiles * kQueries;
  const int D = heads * kHead;
  const int64_t first_row = int64_t{unit / heads} * S;
  const bf16* const base = qkv + first_row * 3 * D + unit % heads * kHead;
  const HeadRows query_rows{base, 3 * D, S}, key_rows{base + D, 3 * D, S}, value_rows{base + 2 * D, 3 * D, S};

  copy_tile_async<kHead, kQueries, kThreads>(queries, query_rows, first_query);
  copy_tile_async<kHead, kKeys, kThreads>(keys, key_rows, 0);
  copy_tile_async<kHead, kKeys, kThreads>(values, value_rows, 0);
  copy_async_commit();

  const int lane = threadIdx.x % 32, strip = static_cast<int>(threadIdx.x) / 32 * kStrip;
  const float scale2 = scale * kLog2E;  // exponentials are powers of 2
  float sum[kHead / 8][4] = {};
  float maximum[2] = {-INFINITY, -INFINITY};  // of rows lane / 4 and + 8
  float exponentials[2] = {};                 // their sum, this lane's share

  for (int first_key = 0, stage = 0; first_key < S; first_key += kKeys, stage ^= 1) {
    if constexpr (kStreamed) {
      if (first_key + kKeys < S) {
        copy_tile_async<kHead, kKeys, kThreads>(keys + (stage ^ 1) * kTile, key_rows, first_key + kKeys);
        copy_tile_async<kHead, kKeys, kThreads>(values + (stage ^ 1) * kTile, value_rows, first_key + kKeys);
      }
      copy_async_commit();
      copy_async_wait<1>();
    } else {
      copy_async_wait<0>();
    }
    __syncthreads();
    if (first_query + strip < S) {
      float scores[kKeys / 8][4] = {};
      multiply_transposed<kHead, kKeys>(scores, queries, strip, keys + stage * kTile, 0);
      float largest[2] = {maximum[0], maximum[1]};
#pragma unroll
      for (int j = 0; j < kKeys / 8; ++j) {
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          if (first_key + 8 * j + 2 * (lane % 4) + e % 2 >= S) scores[j][e] = -INFINITY;
          largest[e / 2] = fmaxf(largest[e / 2], scores[j][e]);
        }
      }
      float offset[2];
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        largest[half] = fmaxf(largest[half], __shfl_xor_sync(0xffffffffu, largest[half], 1));
        largest[half] = fmaxf(largest[half], __shfl_xor_sync(0xffffffffu, largest[half], 2));
        const float correction = exp2f((maximum[half] - largest[half]) * scale2);
        maximum[half] = largest[half];
        offset[half] = -largest[half] * scale2;
        exponentials[half] *= correction;
#pragma unroll
        for (int j = 0; j < kHead / 8; ++j) {
          sum[j][2 * half] *= correction;
          sum[j][2 * half + 1] *= correction;
        }
      }
#pragma unroll
      for (int k = 0; k < kKeys / 16; ++k) {
        uint32_t p[4];
#pragma unroll
        for (int part = 0; part < 4; ++part) {
          const int half = part % 2, j = 2 * k + part / 2;
          const float low = exp2f(fmaf(scores[j][2 * half], scale2, offset[half]));
          const float high = exp2f(fmaf(scores[j][2 * half + 1], scale2, offset[half]));
          exponentials[half] += low + high;
          p[part] = pack_bf16(low, high);
        }
        multiply_rows<kHead>(sum, p, values + stage * kTile, 16 * k);
      }
    }
    if constexpr (!kStreamed) break;
    __syncthreads();
  }
  if (first_query + strip >= S) return;

#pragma unroll
  for (int half = 0; half < 2; ++half) {
    exponentials[half] += __shfl_xor_sync(0xffffffffu, exponentials[half], 1);
    exponentials[half] += __shfl_xor_sync(0xffffffffu, exponentials[half], 2);
    const float inverse = 1.0f / exponentials[half];
#pragma unroll
    for (int j = 0; j < kHead / 8; ++j) {
      sum[j][2 * half] *= inverse;
      sum[j][2 * half + 1] *= inverse;
    }
    const int query = first_query + strip + lane / 4 + 8 * half;
    if (log_sums != nullptr && lane % 4 == 0 && query < S) {
      log_sums[int64_t{unit} * S + query] = fmaf(maximum[half], scale, logf(exponentials[half]));
    }
  }
  store_strip<kHead>(sum, queries, strip, out + first_row * D + unit % heads * kHead, D, first_query + strip, S);
}

template <int kHead, int kWarps, int kKeys, bool kStreamed>
void launch_bf16(Device& device, const BlockSizes& sizes, const void* qkv, void* out, float* log_sums) {
  static_assert(forward_shared<kHead, kWarps, kKeys, kStreamed>() <= kSharedLimit);
  const int64_t tiles = kStreamed ? (sizes.S + kStrip * kWarps - 1) / (kStrip * kWarps) : 1;
  const Launch launch{.blocks_x = static_cast<unsigned>(sizes.batch * sizes.heads * tiles),
                      .threads = 32 * kWarps,
                      .shared = forward_shared<kHead, kWarps, kKeys, kStreamed>()};
  device.launch(launch, attention_forward_bf16<kHead, kWarps, kKeys, kStreamed>, static_cast<int>(sizes.S),
                static_cast<int>(sizes.heads), static_cast<int>(tiles), attention_scale(sizes),
                static_cast<const bf16*>(qkv), static_cast<bf16*>(out), log_sums);
}

/// A whole sequence in one block where it is short enough, else streamed.
template <int kHead>
void forward_bf16(Device& device, const BlockSizes& sizes, const void* qkv, void* out, float* log_sums) {
  if (sizes.S <= 96) return launch_bf16<kHead, 6, 96, false>(device, sizes, qkv, out, log_sums);
  if constexpr (kHead < 128) {
    if (sizes.S <= 128) return launch_bf16<kHead, 8, 128, false>(device, sizes, qkv, out, log_sums);
  }
  launch_bf16<kHead, 4, 64, true>(device, sizes, qkv, out, log_sums);
}

}  // namespace

void attention_forward(Device& device, Format format, const BlockSizes& sizes, const void* qkv, void* out,
                       float* log_sums) {
  if (format == Format::f32) {
    return attention_forward_f32(device, sizes, static_cast<const float*>(qkv), static_cast<float*>(out), log_sums);
  }
  switch (head_size_of(sizes)) {
    case 32:
      return forward_bf16<32>(device, sizes, qkv, out, log_sums);
    case 64:
      return forward_bf16<64>(device, sizes, qkv, out, log_sums);
    case 128:
      return forward_bf16<128>(device, sizes, qkv, out, log_sums);
    default:
      reject_head_size(head_size_of(sizes));
  }
}

}  // namespace hrm::cuda
