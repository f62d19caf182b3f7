// Gradients of linear layers: those of inputs with the weight [out, in] as it is, that is with depth outermost, and
// those of weights with both operands depth outermost.

#include <algorithm>

#include "cuda/kernels.h"
#include "cuda/matmul_tile.h"
#include "cuda/swiglu.h"

namespace hrm::cuda {
namespace {

template <typename T>
struct AddendEpilogue {
  static constexpr bool kNormed = false;
  const T* addend;  // [rows, columns] or null
  T* out;           // [rows, columns], may be addend

  __device__ __forceinline__ void operator()(const Operands<T>& operands, int first_row, int column,
                                             const float (&tiles)[kGroupTiles][4], float, float) const {
#pragma unroll
    for (int high = 0; high < 2; ++high) {
      const int row = first_row + 8 * high;
      const bool inside = row < operands.rows && column < operands.columns;
      const int64_t offset = static_cast<int64_t>(row) * operands.columns + column;
      const bool added = addend != nullptr && inside;
      float values[kGroupTiles][2];
      load_row<T>(values, [&](int tile) { return added ? addend + offset + tile * kTileColumns : nullptr; });
#pragma unroll
      for (int j = 0; j < kGroupTiles; ++j) {
#pragma unroll
        for (int i = 0; i < 2; ++i) values[j][i] += tiles[j][2 * high + i];
      }
      store_row<T>(values, [&](int tile) { return inside ? out + offset + tile * kTileColumns : nullptr; });
    }
  }
};

/// The product is the gradient of hidden = silu(gate) * up, kept in fp32.
template <typename T>
struct SwigluGradientEpilogue {
  static constexpr bool kNormed = false;
  const T* gate_up;  // [rows, 2F]
  T* grad_gate_up;   // [rows, 2F], may be gate_up
  T* hidden;         // [rows, F]

  __device__ __forceinline__ void operator()(const Operands<T>& operands, int first_row, int column,
                                             const float (&tiles)[kGroupTiles][4], float, float) const {
    const int F = operands.columns;
#pragma unroll
    for (int high = 0; high < 2; ++high) {
      const int row = first_row + 8 * high;
      const bool inside = row < operands.rows && column < F;
      const int64_t offset = static_cast<int64_t>(row) * F + column;
      const int64_t gate_offset = static_cast<int64_t>(row) * 2 * F + column;
      float gate[kGroupTiles][2], up[kGroupTiles][2], product[kGroupTiles][2];
      const auto gate_of = [&](auto* matrix) {
        return [=](int tile) { return inside ? matrix + gate_offset + tile * kTileColumns : nullptr; };
      };
      const auto up_of = [&](auto* matrix) {
        return [=](int tile) { return inside ? matrix + gate_offset + F + tile * kTileColumns : nullptr; };
      };
      load_row<T>(gate, gate_of(gate_up));
      load_row<T>(up, up_of(gate_up));
#pragma unroll
      for (int j = 0; j < kGroupTiles; ++j) {
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          const float grad = tiles[j][2 * high + i], g = gate[j][i], u = up[j][i];
          const float activated = rounded<T>(silu(g));
          product[j][i] = activated * u;
          gate[j][i] = grad * u * silu_slope(g);
          up[j][i] = grad * activated;
        }
      }
      store_row<T>(product, [&](int tile) { return inside ? hidden + offset + tile * kTileColumns : nullptr; });
      store_row<T>(gate, gate_of(grad_gate_up));
      store_row<T>(up, up_of(grad_gate_up));
    }
  }
};

/// Block z of the grid writes the z-th matrix of `out`.
template <typename T>
struct PartialEpilogue {
  static constexpr bool kNormed = false;
  float* out;  // [splits, rows, columns]

  __device__ __forceinline__ void operator()(const Operands<T>& operands, int first_row, int column,
                                             const float (&tiles)[kGroupTiles][4], float, float) const {
    if (column >= operands.columns) return;
#pragma unroll
    for (int high = 0; high < 2; ++high) {
      const int row = first_row + 8 * high;
      if (row >= operands.rows) continue;
      float* const target = out + (static_cast<int64_t>(blockIdx.z) * operands.rows + row) * operands.columns + column +
                            threadIdx.x % 4 * 2;
#pragma unroll
      for (int j = 0; j < kGroupTiles; ++j) {
        *reinterpret_cast<float2*>(target + j * kTileColumns) = make_float2(tiles[j][2 * high], tiles[j][2 * high + 1]);
      }
    }
  }
};

/// sum [count] <- the sum of the partial matrices [splits, count], in their order.   quads = count / 4
__global__ void sum_partials(const float4* partials, int splits, int64_t quads, float4* sum) {
  const int64_t i = thread_index();
  if (i >= quads) return;
  float4 total = partials[i];
  for (int split = 1; split < splits; ++split) {
    const float4 term = partials[split * quads + i];
    total.x += term.x, total.y += term.y, total.z += term.z, total.w += term.w;
  }
  sum[i] = total;
}

// Rows that one split of a weight gradient sums at least, and the blocks that splitting aims at: about two on each
// multiprocessor of a large GPU (an H200 has 132). Constants, so that sums have one order on all devices.
constexpr int64_t kSplitRows = 256, kSplitBlocks = 256;

struct RowSplits {
  int64_t rows;   // of each split, a multiple of 32; fewer in the last
  int64_t count;  // 1: no partial sums
};

RowSplits row_splits(int64_t rows, int64_t N, int64_t K) {
  const int64_t blocks = divide_up(N, LargeShape::kRows) * divide_up(K, LargeShape::kColumns);
  const int64_t wanted = std::clamp<int64_t>(kSplitBlocks / blocks, 1, divide_up(rows, kSplitRows));
  const int64_t split_rows = divide_up(divide_up(rows, wanted), 32) * 32;
  return {split_rows, divide_up(rows, split_rows)};
}

/// The product is grad_out W.   grad_out: [rows, out]; weight: [out, in]
template <typename T, typename Epilogue>
void linear_backward(Device& device, int64_t rows, int64_t out, int64_t in, const void* grad_out, const void* weight,
                     const Epilogue& epilogue) {
  const Operands<T> operands = {.a = static_cast<const T*>(grad_out),
                                .b = static_cast<const T*>(weight),
                                .rows = static_cast<int>(rows),
                                .columns = static_cast<int>(in),
                                .depth = static_cast<int>(out),
                                .split_depth = static_cast<int>(out)};
  launch_matmul<T, Layout::depth_inner, Layout::depth_outer>(device, operands, epilogue);
}

}  // namespace

void input_gradient(Device& device, Format format, int64_t rows, int64_t K, int64_t N, const void* grad_out,
                    const void* weight, const void* addend, void* grad_in) {
  with_format(format, [&]<typename T>() {
    linear_backward<T>(device, rows, K, N, grad_out, weight,
                       AddendEpilogue<T>{.addend = static_cast<const T*>(addend), .out = static_cast<T*>(grad_in)});
  });
}

void swiglu_input_gradient(Device& device, Format format, const BlockSizes& sizes, const void* grad_out,
                           const void* weight, const void* gate_up, void* grad_gate_up, void* hidden) {
  with_format(format, [&]<typename T>() {
    const SwigluGradientEpilogue<T> epilogue = {.gate_up = static_cast<const T*>(gate_up),
                                                .grad_gate_up = static_cast<T*>(grad_gate_up),
                                                .hidden = static_cast<T*>(hidden)};
    linear_backward<T>(device, sizes.rows(), sizes.D, sizes.F, grad_out, weight, epilogue);
  });
}

size_t weight_gradient_workspace(const Device&, Format, int64_t rows, int64_t N, int64_t K) {
  const int64_t splits = row_splits(rows, N, K).count;
  return splits == 1 ? 0 : static_cast<size_t>(splits * N * K) * sizeof(float);
}

void weight_gradient(Device& device, Format format, int64_t rows, int64_t N, int64_t K, const void* grad_out,
                     const void* in, float* grad, void* workspace) {
  const RowSplits splits = row_splits(rows, N, K);
  float* const partials = splits.count == 1 ? grad : static_cast<float*>(workspace);
  with_format(format, [&]<typename T>() {
    using Shape = std::conditional_t<std::is_same_v<T, float>, FloatShape, LargeShape>;
    const Operands<T> operands = {.a = static_cast<const T*>(grad_out),
                                  .b = static_cast<const T*>(in),
                                  .rows = static_cast<int>(N),
                                  .columns = static_cast<int>(K),
                                  .depth = static_cast<int>(rows),
                                  .split_depth = static_cast<int>(splits.rows)};
    launch_shape<T, Shape, Layout::depth_outer, Layout::depth_outer>(device, operands, PartialEpilogue<T>{partials});
  });
  if (splits.count == 1) return;
  const int64_t quads = N * K / 4;
  device.launch(thread_each(quads), sum_partials, reinterpret_cast<const float4*>(partials),
                static_cast<int>(splits.count), quads, reinterpret_cast<float4*>(grad));
}

}  // namespace hrm::cuda
