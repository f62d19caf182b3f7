// Gradients of linear layers: those of inputs with the weight [out, in] as it is, that is with depth outermost, and
// those of weights with both operands depth outermost.

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
          const float activated = round_to<T>(silu(g));
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

constexpr int kSumThreads = 256;

/// sum [count] <- the sum of the partial matrices [splits, count], in their order.   quads = count / 4
__global__ void __launch_bounds__(kSumThreads)
    sum_partials(const float4* partials, int splits, int64_t quads, float4* sum) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kSumThreads + threadIdx.x;
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

int64_t ceil_divide(int64_t a, int64_t b) { return (a + b - 1) / b; }

RowSplits row_splits(int64_t rows, int64_t N, int64_t K) {
  const int64_t blocks = ceil_divide(N, LargeShape::kRows) * ceil_divide(K, LargeShape::kColumns);
  const int64_t wanted = std::clamp<int64_t>(kSplitBlocks / blocks, 1, ceil_divide(rows, kSplitRows));
  const int64_t split_rows = ceil_divide(ceil_divide(rows, wanted), 32) * 32;
  return {split_rows, ceil_divide(rows, split_rows)};
}

template <typename T>
Operands<T> input_operands(int64_t rows, int64_t K, int64_t N, const void* grad_out, const void* weight) {
  return {static_cast<const T*>(grad_out),
          static_cast<const T*>(weight),
          static_cast<int>(rows),
          static_cast<int>(N),
          static_cast<int>(K),
          static_cast<int>(K)};
}

template <typename T>
void input_gradient_in(Device& device, int64_t rows, int64_t K, int64_t N, const void* grad_out, const void* weight,
                       const void* addend, void* grad_in) {
  const AddendEpilogue<T> epilogue = {static_cast<const T*>(addend), static_cast<T*>(grad_in)};
  launch_matmul<T, Layout::depth_inner, Layout::depth_outer>(device, input_operands<T>(rows, K, N, grad_out, weight),
                                                             epilogue);
}

template <typename T>
void swiglu_input_gradient_in(Device& device, const BlockSizes& sizes, const void* grad_out, const void* weight,
                              const void* gate_up, void* grad_gate_up, void* hidden) {
  const SwigluGradientEpilogue<T> epilogue = {static_cast<const T*>(gate_up), static_cast<T*>(grad_gate_up),
                                              static_cast<T*>(hidden)};
  launch_matmul<T, Layout::depth_inner, Layout::depth_outer>(
      device, input_operands<T>(sizes.rows(), sizes.D, sizes.F, grad_out, weight), epilogue);
}

template <typename T>
void weight_gradient_in(Device& device, int64_t rows, int64_t N, int64_t K, const void* grad_out, const void* in,
                        float* grad, void* workspace) {
  using Shape = std::conditional_t<std::is_same_v<T, float>, FloatShape, LargeShape>;
  const RowSplits splits = row_splits(rows, N, K);
  const Operands<T> operands = {
      static_cast<const T*>(grad_out), static_cast<const T*>(in),    static_cast<int>(N), static_cast<int>(K),
      static_cast<int>(rows),          static_cast<int>(splits.rows)};
  float* const partials = splits.count == 1 ? grad : static_cast<float*>(workspace);
  launch_shape<T, Shape, Layout::depth_outer, Layout::depth_outer>(device, operands, PartialEpilogue<T>{partials});
  if (splits.count == 1) return;
  const int64_t quads = N * K / 4;
  const Launch launch = {.blocks_x = static_cast<unsigned>(ceil_divide(quads, kSumThreads)), .threads = kSumThreads};
  device.launch(launch, sum_partials, reinterpret_cast<const float4*>(partials), static_cast<int>(splits.count), quads,
                reinterpret_cast<float4*>(grad));
}

}  // namespace

void input_gradient(Device& device, Format format, int64_t rows, int64_t K, int64_t N, const void* grad_out,
                    const void* weight, const void* addend, void* grad_in) {
  const auto run = format == Format::bf16 ? input_gradient_in<bf16> : input_gradient_in<float>;
  run(device, rows, K, N, grad_out, weight, addend, grad_in);
}

void swiglu_input_gradient(Device& device, Format format, const BlockSizes& sizes, const void* grad_out,
                           const void* weight, const void* gate_up, void* grad_gate_up, void* hidden) {
  const auto run = format == Format::bf16 ? swiglu_input_gradient_in<bf16> : swiglu_input_gradient_in<float>;
  run(device, sizes, grad_out, weight, gate_up, grad_gate_up, hidden);
}

size_t weight_gradient_workspace(const Device&, Format, int64_t rows, int64_t N, int64_t K) {
  const int64_t splits = row_splits(rows, N, K).count;
  return splits == 1 ? 0 : static_cast<size_t>(splits * N * K) * sizeof(float);
}

void weight_gradient(Device& device, Format format, int64_t rows, int64_t N, int64_t K, const void* grad_out,
                     const void* in, float* grad, void* workspace) {
  const auto run = format == Format::bf16 ? weight_gradient_in<bf16> : weight_gradient_in<float>;
  run(device, rows, N, K, grad_out, in, grad, workspace);
}

}  // namespace hrm::cuda
