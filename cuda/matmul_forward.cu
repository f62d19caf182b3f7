// Linear layers of a block's forward pass, each with what follows it fused. Weights are [out, in]: both operands have
// depth innermost.

#include "cuda/kernels.h"
#include "cuda/matmul_tile.h"
#include "cuda/swiglu.h"

namespace hrm::cuda {
namespace {

/// Of pairs of columns that meet in the epilogue, eight first columns and eight second columns lie side by side in the
/// product, so that a thread has both of a pair.
struct Pair {
  int index;
  bool second;
};

__device__ __forceinline__ Pair pair_of(int column) { return {column / 16 * 8 + column % 8, column / 8 % 2 == 1}; }

/// Columns d and d + head size / 2 of a head are a pair.
template <typename T>
struct QkvEpilogue {
  static constexpr bool kNormed = true;
  Rows<T> in;
  RopeTable rope;
  int S, half_head;
  T* qkv;  // [rows, 3D]

  __device__ __forceinline__ float row_factor(int row) const { return in.factor(row); }

  __device__ __forceinline__ int weight_row(int column) const {
    const Pair pair = pair_of(column);
    return pair.index + (pair.index / half_head + pair.second) * half_head;
  }

  __device__ __forceinline__ void operator()(const Operands<T>& operands, int first_row, int column,
                                             const float (&tiles)[kGroupTiles][4], float low_factor,
                                             float high_factor) const {
    const int first = weight_row(column), d = column / 2 % half_head;
    const bool rotated = rope.cosines != nullptr && first < 2 * in.D;
#pragma unroll
    for (int high = 0; high < 2; ++high) {
      const int row = first_row + 8 * high;
      const bool inside = row < operands.rows && column < operands.columns;
      float values[kGroupTiles][2];
#pragma unroll
      for (int j = 0; j < kGroupTiles; ++j) {
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          values[j][i] = rounded<T>(tiles[j][2 * high + i] * (high ? high_factor : low_factor));
        }
      }
      if (inside && rotated) {
        // models/layers.py, apply_rotary_pos_emb: x cos + rotate_half(x) sin in fp32
        const int64_t offset = static_cast<int64_t>(row % S) * half_head + d + threadIdx.x % 4 * 2;
#pragma unroll
        for (int j = 0; j < kGroupTiles; j += 2) {
#pragma unroll
          for (int i = 0; i < 2; ++i) {
            const float cosine = rope.cosines[offset + j * 4 + i], sine = rope.sines[offset + j * 4 + i];
            const float x1 = values[j][i], x2 = values[j + 1][i];
            values[j][i] = fmaf(-x2, sine, x1 * cosine);
            values[j + 1][i] = fmaf(x1, sine, x2 * cosine);
          }
        }
      }
      store_row<T>(values, [&](int tile) {
        const int offset = first + tile % 2 * half_head + tile / 2 * kTileColumns;
        return inside ? qkv + static_cast<int64_t>(row) * operands.columns + offset : nullptr;
      });
    }
  }
};

template <typename T>
struct ResidualEpilogue {
  static constexpr bool kNormed = true;
  Rows<T> residual, out;  // the same x, perhaps; never the same sums

  __device__ __forceinline__ float row_factor(int row) const { return residual.factor(row); }
  __device__ __forceinline__ int weight_row(int column) const { return column; }

  __device__ __forceinline__ void operator()(const Operands<T>& operands, int first_row, int column,
                                             const float (&tiles)[kGroupTiles][4], float low_factor,
                                             float high_factor) const {
    static_assert(kGroupColumns == kNormGroup);
#pragma unroll
    for (int high = 0; high < 2; ++high) {
      const int row = first_row + 8 * high;
      const bool inside = row < operands.rows && column < operands.columns;
      const int64_t offset = static_cast<int64_t>(row) * operands.columns + column;
      float values[kGroupTiles][2];
      load_row<T>(values, [&](int tile) { return inside ? residual.x + offset + tile * kTileColumns : nullptr; });
      float sum = 0.0f;
#pragma unroll
      for (int j = 0; j < kGroupTiles; ++j) {
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          const float normed = rounded<T>(values[j][i] * (high ? high_factor : low_factor));
          values[j][i] = rounded<T>(normed + rounded<T>(tiles[j][2 * high + i]));
          sum = fmaf(values[j][i], values[j][i], sum);
        }
      }
      store_row<T>(values, [&](int tile) { return inside ? out.x + offset + tile * kTileColumns : nullptr; });
      sum += __shfl_xor_sync(0xffffffffu, sum, 1);
      sum += __shfl_xor_sync(0xffffffffu, sum, 2);
      if (inside && threadIdx.x % 4 == 0) out.sums[offset / kNormGroup] = sum;
    }
  }
};

/// Gate and up of a column are a pair.
template <typename T>
struct SwigluEpilogue {
  static constexpr bool kNormed = true;
  Rows<T> in;
  int F;
  T* gate_up;  // [rows, 2F] or null
  T* hidden;   // [rows, F]

  __device__ __forceinline__ float row_factor(int row) const { return in.factor(row); }

  __device__ __forceinline__ int weight_row(int column) const {
    const Pair pair = pair_of(column);
    return pair.index + (pair.second ? F : 0);
  }

  __device__ __forceinline__ void operator()(const Operands<T>& operands, int first_row, int column,
                                             const float (&tiles)[kGroupTiles][4], float low_factor,
                                             float high_factor) const {
    const int first = column / 2;
    float products[kGroupTiles][2];  // two tiles of the low row, two of the high row
#pragma unroll
    for (int high = 0; high < 2; ++high) {
      const int64_t row = first_row + 8 * high;
      const bool kept = gate_up != nullptr && row < operands.rows && column < operands.columns;
      float values[kGroupTiles][2];
#pragma unroll
      for (int j = 0; j < kGroupTiles; ++j) {
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          values[j][i] = rounded<T>(tiles[j][2 * high + i] * (high ? high_factor : low_factor));
        }
      }
#pragma unroll
      for (int j = 0; j < kGroupTiles; j += 2) {
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          products[2 * high + j / 2][i] = rounded<T>(silu(values[j][i])) * values[j + 1][i];
        }
      }
      store_row<T>(values, [&](int tile) {
        return kept ? gate_up + row * 2 * F + first + tile % 2 * F + tile / 2 * kTileColumns : nullptr;
      });
    }
    store_row<T>(products, [&](int tile) {
      const int64_t row = first_row + tile / 2 * 8;
      const bool inside = row < operands.rows && column < operands.columns;
      return inside ? hidden + row * F + first + tile % 2 * kTileColumns : nullptr;
    });
  }
};

/// The product is x W^T.   x: [rows, in]; weight: [out, in]
template <typename T, typename Epilogue>
void linear(Device& device, int64_t rows, int64_t in, int64_t out, const void* x, const void* weight,
            const Epilogue& epilogue) {
  const Operands<T> operands = {.a = static_cast<const T*>(x),
                                .b = static_cast<const T*>(weight),
                                .rows = static_cast<int>(rows),
                                .columns = static_cast<int>(out),
                                .depth = static_cast<int>(in),
                                .split_depth = static_cast<int>(in)};
  launch_matmul<T, Layout::depth_inner, Layout::depth_inner>(device, operands, epilogue);
}

}  // namespace

void qkv_forward(Device& device, Format format, const BlockSizes& sizes, Activation x, const void* weight,
                 RopeTable rope, void* qkv) {
  with_format(format, [&]<typename T>() {
    const QkvEpilogue<T> epilogue = {.in = {x, sizes.D, sizes.norm_eps},
                                     .rope = rope,
                                     .S = static_cast<int>(sizes.S),
                                     .half_head = static_cast<int>(sizes.D / sizes.heads / 2),
                                     .qkv = static_cast<T*>(qkv)};
    linear<T>(device, sizes.rows(), sizes.D, 3 * sizes.D, x.x, weight, epilogue);
  });
}

void residual_forward(Device& device, Format format, const BlockSizes& sizes, int64_t K, const void* a,
                      const void* weight, Activation residual, Activation out) {
  with_format(format, [&]<typename T>() {
    const ResidualEpilogue<T> epilogue = {.residual = {residual, sizes.D, sizes.norm_eps},
                                          .out = {out, sizes.D, sizes.norm_eps}};
    linear<T>(device, sizes.rows(), K, sizes.D, a, weight, epilogue);
  });
}

void swiglu_forward(Device& device, Format format, const BlockSizes& sizes, Activation x, const void* weight,
                    void* gate_up, void* hidden) {
  with_format(format, [&]<typename T>() {
    const SwigluEpilogue<T> epilogue = {.in = {x, sizes.D, sizes.norm_eps},
                                        .F = static_cast<int>(sizes.F),
                                        .gate_up = static_cast<T*>(gate_up),
                                        .hidden = static_cast<T*>(hidden)};
    linear<T>(device, sizes.rows(), sizes.D, 2 * sizes.F, x.x, weight, epilogue);
  });
}

}  // namespace hrm::cuda
