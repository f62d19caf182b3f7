#pragma once
// What the bf16 attention kernels share: tiles of one head in shared memory, and their products on tensor cores.
//
// A tile is [rows, kWidth] bf16. A warp computes strips of 16 rows; in the accumulator float c[columns / 8][4] of a
// strip, lane l has columns 8 j + 2 (l % 4) + {0, 1} of row l / 4 in c[j][0], c[j][1], and of row l / 4 + 8 in c[j][2],
// c[j][3] (mma.m16n8k16). As the left operand of a product over the strip's columns, the same lane has the same
// numbers, packed in pairs: a[j / 2][j % 2 * 2 + {0, 1}] for the two rows.

#include <cstddef>
#include <cstdint>

#include "cuda/primitives.h"

namespace hrm::cuda {

inline constexpr int kStrip = 16;                  // rows
inline constexpr int kChunk = 8;                   // bf16 in 16 bytes, what copies and ldmatrix move
inline constexpr size_t kSharedLimit = 99 * 1024;  // bytes of a block on compute capabilities 8.6, 8.9 and 12.0
inline constexpr float kLog2E = 1.44269504f;

struct alignas(16) Chunk {
  uint32_t words[kChunk / 2];
};

/// Where a sequence's rows of one head are: row i at rows + i * stride. A sequence has fewer than 2^31 elements.
struct HeadRows {
  const bf16* rows;
  int stride, count;
};

/// Offset of chunk `chunk` of row `row` in a tile. The exclusive or puts the chunks of 8 neighbouring rows, which
/// ldmatrix reads at once, into different banks: two rows of 32 share a line of all banks.
template <int kWidth>
__host__ __device__ constexpr int tile_offset(int row, int chunk) {
  static_assert(kWidth == 32 || kWidth == 64 || kWidth == 128);
  return row * kWidth + (chunk ^ (kWidth == 32 ? row / 2 % 4 : row % 8)) * kChunk;
}

/// Whether a chunk of rows 0 … 7 fills the 32 banks of 4 bytes, each once; further rows repeat the pattern.
template <int kWidth>
constexpr bool spreads_over_banks() {
  for (int chunk = 0; chunk < kWidth / kChunk; ++chunk) {
    unsigned met = 0;  // bit i: banks 4 i … 4 i + 3
    for (int row = 0; row < 8; ++row) met |= 1u << tile_offset<kWidth>(row, chunk) / kChunk % 8;
    if (met != 0xff) return false;
  }
  return true;
}
static_assert(spreads_over_banks<32>() && spreads_over_banks<64>() && spreads_over_banks<128>());

/// Begins to copy rows first … first + kRows - 1 into a tile, zeros for those from head.count on.
template <int kWidth, int kRows, int kThreads>
__device__ __forceinline__ void copy_tile_async(bf16* tile, const HeadRows& head, int first) {
  constexpr int kChunks = kWidth / kChunk;
  static_assert(kRows * kChunks % kThreads == 0);
#pragma unroll 4
  for (int step = 0; step < kRows * kChunks / kThreads; ++step) {
    const int index = step * kThreads + static_cast<int>(threadIdx.x);
    const int row = index / kChunks, chunk = index % kChunks;
    const bool valid = first + row < head.count;
    copy_async(tile + tile_offset<kWidth>(row, chunk),
               head.rows + (valid ? first + row : 0) * head.stride + chunk * kChunk, valid);
  }
}

// --- operands of a warp's products: 16 x 16, from row `row` (a multiple of 8) and column 16 k of a tile -----------
/// Offset of a lane's row in an operand whose four 8 x 8 matrices are taken rows first.
template <int kWidth>
__device__ __forceinline__ int rows_first(int row, int k) {
  const int lane = threadIdx.x % 32;
  return row * kWidth + (tile_offset<kWidth>(lane % 16, lane / 16) ^ k * 16);
}

/// Offset of a lane's row in an operand whose four 8 x 8 matrices are taken columns first.
template <int kWidth>
__device__ __forceinline__ int columns_first(int row, int k) {
  const int lane = threadIdx.x % 32;
  return row * kWidth + (tile_offset<kWidth>(lane % 8 + lane / 16 * 8, lane / 8 % 2) ^ k * 16);
}

/// Left operand: the matrix itself.
template <int kWidth>
__device__ __forceinline__ void load_left(uint32_t (&a)[4], const bf16* tile, int row, int k) {
  load_matrices(a, tile + rows_first<kWidth>(row, k));
}

/// Left operand: its transpose.
template <int kWidth>
__device__ __forceinline__ void load_left_transposed(uint32_t (&a)[4], const bf16* tile, int row, int k) {
  load_matrices_transposed(a, tile + columns_first<kWidth>(row, k));
}

/// Right operand: the matrix itself, as two of 8 columns in b[0..1] and b[2..3].
template <int kWidth>
__device__ __forceinline__ void load_right(uint32_t (&b)[4], const bf16* tile, int row, int k) {
  load_matrices_transposed(b, tile + rows_first<kWidth>(row, k));
}

/// Right operand: its transpose.
template <int kWidth>
__device__ __forceinline__ void load_right_transposed(uint32_t (&b)[4], const bf16* tile, int row, int k) {
  load_matrices(b, tile + columns_first<kWidth>(row, k));
}

__device__ __forceinline__ void multiply_add_pair(float (&c0)[4], float (&c1)[4], const uint32_t (&a)[4],
                                                  const uint32_t (&b)[4]) {
  const uint32_t first[2] = {b[0], b[1]}, second[2] = {b[2], b[3]};
  multiply_add(c0, a, first);
  multiply_add(c1, a, second);
}

/// c [16, kColumns] += left strip * (rows `right_row` … of right)^T.   both tiles [*, kWidth]
template <int kWidth, int kColumns>
__device__ __forceinline__ void multiply_transposed(float (&c)[kColumns / 8][4], const bf16* left, int left_row,
                                                    const bf16* right, int right_row) {
#pragma unroll
  for (int k = 0; k < kWidth / 16; ++k) {
    uint32_t a[4];
    load_left<kWidth>(a, left, left_row, k);
#pragma unroll
    for (int n = 0; n < kColumns / 16; ++n) {
      uint32_t b[4];
      load_right_transposed<kWidth>(b, right, right_row + 16 * n, k);
      multiply_add_pair(c[2 * n], c[2 * n + 1], a, b);
    }
  }
}

/// c [16, kWidth] += a [16, 16] * rows right_row … right_row + 15 of right [*, kWidth].
template <int kWidth>
__device__ __forceinline__ void multiply_rows(float (&c)[kWidth / 8][4], const uint32_t (&a)[4], const bf16* right,
                                              int right_row) {
#pragma unroll
  for (int n = 0; n < kWidth / 16; ++n) {
    uint32_t b[4];
    load_right<kWidth>(b, right, right_row, n);
    multiply_add_pair(c[2 * n], c[2 * n + 1], a, b);
  }
}

/// Puts c [16, kWidth] into rows row … row + 15 of a tile, rounded; nothing else may be using them.
template <int kWidth>
__device__ __forceinline__ void round_to_tile(const float (&c)[kWidth / 8][4], bf16* tile, int row) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int j = 0; j < kWidth / 8; ++j) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      bf16* const place = tile + tile_offset<kWidth>(row + lane / 4 + 8 * half, j) + 2 * (lane % 4);
      *reinterpret_cast<uint32_t*>(place) = pack_bf16(c[j][2 * half], c[j][2 * half + 1]);
    }
  }
}

/// rows first … first + 15, up to count, of one head <- c, rounded. Goes by way of rows row … row + 15 of a tile, which
/// this warp alone uses, so that memory is written 16 bytes at a time.
template <int kWidth>
__device__ __forceinline__ void store_strip(const float (&c)[kWidth / 8][4], bf16* tile, int row, bf16* rows,
                                            int stride, int first, int count) {
  constexpr int kChunks = kWidth / kChunk;
  __syncwarp();
  round_to_tile<kWidth>(c, tile, row);
  __syncwarp();
#pragma unroll
  for (int step = 0; step < kStrip * kChunks / 32; ++step) {
    const int index = step * 32 + static_cast<int>(threadIdx.x % 32);
    const int r = index / kChunks, chunk = index % kChunks;
    if (first + r < count) {
      *reinterpret_cast<Chunk*>(rows + (first + r) * stride + chunk * kChunk) =
          *reinterpret_cast<const Chunk*>(tile + tile_offset<kWidth>(row + r, chunk));
    }
  }
}

}  // namespace hrm::cuda
