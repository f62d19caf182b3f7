#pragma once
// Matrix products for both formats: one kernel whose tile shapes, operand layouts and epilogues are parameters.
//
//   out [rows, columns] = a b, summed over `depth`
//
// An element of out is one chain of additions in fp32 along depth: bf16 in steps of 16 (mma.sync m16n8k16), float one
// by one. It is the same chain in every tile shape, so results depend neither on the shape nor on the rows around.
//
// Threads hold sums as m16n8 tiles, in both formats: with group = lane / 4 and quad lane = lane % 4, elements 0, 1 of a
// tile are row group, columns 2 * quad lane and the next; elements 2, 3 the same of row group + 8 (PTX ISA,
// mma.m16n8k16).

#include <cstdint>
#include <type_traits>

#include "cuda/launches.h"

namespace hrm::cuda {

/// Rows that a tile of mma.sync has, and its columns.
inline constexpr int kTileRows = 16, kTileColumns = 8;
/// Tiles side by side that an epilogue gets at once: 32 columns, as many as share a partial sum of squares.
inline constexpr int kGroupTiles = 4, kGroupColumns = kGroupTiles * kTileColumns;

/// Register j of quad lane i <-> register i of quad lane j.
__device__ __forceinline__ void transpose_quad(uint32_t (&r)[4]) {
  const bool odd = threadIdx.x & 1, upper = threadIdx.x & 2;
#pragma unroll
  for (int j = 0; j < 4; j += 2) {
    const uint32_t other = __shfl_xor_sync(0xffffffffu, odd ? r[j] : r[j + 1], 1);
    (odd ? r[j] : r[j + 1]) = other;
  }
#pragma unroll
  for (int j = 0; j < 2; ++j) {
    const uint32_t other = __shfl_xor_sync(0xffffffffu, upper ? r[j] : r[j + 2], 2);
    (upper ? r[j] : r[j + 2]) = other;
  }
}

/// One row of four tiles, to eight consecutive elements each, from address(tile) on; null: to nowhere. To be called by
/// whole warps. In bf16 lane i writes tile i, 16 bytes at once.
template <typename T, typename Address>
__device__ __forceinline__ void store_row(const float (&values)[kGroupTiles][2], Address address) {
  const int quad_lane = threadIdx.x % 4;
  if constexpr (std::is_same_v<T, bf16>) {
    uint32_t packed[4];
#pragma unroll
    for (int j = 0; j < 4; ++j) packed[j] = pack_bf16(values[j][0], values[j][1]);
    transpose_quad(packed);
    if (T* target = address(quad_lane)) {
      *reinterpret_cast<uint4*>(target) = make_uint4(packed[0], packed[1], packed[2], packed[3]);
    }
  } else {
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      if (T* target = address(j)) {
        *reinterpret_cast<float2*>(target + 2 * quad_lane) = make_float2(values[j][0], values[j][1]);
      }
    }
  }
}

/// The reverse of store_row(), with the same elements per lane; zeros from nowhere.
template <typename T, typename Address>
__device__ __forceinline__ void load_row(float (&values)[kGroupTiles][2], Address address) {
  const int quad_lane = threadIdx.x % 4;
  if constexpr (std::is_same_v<T, bf16>) {
    uint32_t packed[4] = {0, 0, 0, 0};
    if (const T* source = address(quad_lane)) {
      const uint4 run = *reinterpret_cast<const uint4*>(source);
      packed[0] = run.x, packed[1] = run.y, packed[2] = run.z, packed[3] = run.w;
    }
    transpose_quad(packed);
#pragma unroll
    for (int j = 0; j < 4; ++j) unpack_bf16(packed[j], values[j][0], values[j][1]);
  } else {
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const T* source = address(j);
      const float2 run = source ? *reinterpret_cast<const float2*>(source + 2 * quad_lane) : make_float2(0.0f, 0.0f);
      values[j][0] = run.x, values[j][1] = run.y;
    }
  }
}

/// How an operand lies in memory: [rows or columns of out, depth], or [depth, rows or columns of out].
enum class Layout { depth_inner, depth_outer };

/// What a block computes at a time: kRows x kColumns of out, kDepth of the depth in each of kStages buffers; a warp has
/// kRowTiles x kColumnTiles m16n8 tiles.
template <int row_warps, int column_warps, int row_tiles, int column_tiles, int depth, int stages>
struct BlockShape {
  static constexpr int kRowWarps = row_warps, kColumnWarps = column_warps;
  static constexpr int kRowTiles = row_tiles, kColumnTiles = column_tiles;
  static constexpr int kDepth = depth, kStages = stages;
  static constexpr int kThreads = 32 * row_warps * column_warps;
  static constexpr int kRows = kTileRows * row_tiles * row_warps;
  static constexpr int kColumns = kTileColumns * column_tiles * column_warps;
};

/// An operand's part in shared memory: runs of 16 bytes, exchanged inside a row so that the eight rows that ldmatrix
/// reads at a time lie in different banks: run ^ row % 8, or run ^ row / 2 % 4 where two rows fill the 128 bytes of the
/// banks.
template <typename T, Layout layout, int outer, int depth>
struct SharedTile {
  static constexpr Layout kLayout = layout;
  static constexpr int kOuter = outer, kDepth = depth;
  static constexpr int kRun = 16 / sizeof(T);
  static constexpr int kRows = layout == Layout::depth_inner ? outer : depth;
  static constexpr int kRuns = (layout == Layout::depth_inner ? depth : outer) / kRun;  // a row
  static constexpr int kElements = outer * depth;
  static_assert(kRuns == 4 || kRuns % 8 == 0);

  /// Index of the first element of a run.
  static __host__ __device__ constexpr int run_offset(int row, int run) {
    return (row * kRuns + (run ^ (kRuns == 4 ? row / 2 % 4 : row % 8))) * kRun;
  }

  /// Whether the same run of rows 0-7, 8-15, … fills the 32 banks of 4 bytes, each once.
  static __host__ __device__ constexpr bool spreads_over_banks() {
    for (int row = 0; row < kRows; row += 8) {
      for (int run = 0; run < kRuns; ++run) {
        unsigned met = 0;  // bit i: banks 4i … 4i + 3
        for (int i = 0; i < 8; ++i) met |= 1u << run_offset(row + i, run) / kRun % 8;
        if (met != 0xff) return false;
      }
    }
    return true;
  }

  static __device__ __forceinline__ int element_offset(int outer_index, int depth_index) {
    const int row = layout == Layout::depth_inner ? outer_index : depth_index;
    const int column = layout == Layout::depth_inner ? depth_index : outer_index;
    return run_offset(row, column / kRun) + column % kRun;
  }
};

/// Copies an operand's parts to shared memory, zeros where there are none.
template <typename T, typename Tile, int threads>
struct TileCopy {
  static constexpr int kCopies = Tile::kRows * Tile::kRuns / threads;
  static_assert(kCopies * threads == Tile::kRows * Tile::kRuns);

  const T* sources[kCopies];
  unsigned inside = 0;  // bit i: source i is inside the matrix, as to rows or columns of out
  int64_t stride;       // elements from one index of depth to the next

  /// row_of(i): which row of a depth-inner matrix is i of this tile, negative: none.  width: columns of a depth-outer
  /// matrix that are left from `matrix` on; length: elements from one row of the matrix to the next
  template <typename RowOf>
  __device__ __forceinline__ TileCopy(const T* matrix, int64_t length, int width, RowOf row_of)
      : stride(Tile::kLayout == Layout::depth_inner ? 1 : length) {
#pragma unroll
    for (int i = 0; i < kCopies; ++i) {
      const int index = static_cast<int>(threadIdx.x) + i * threads;
      const int row = index / Tile::kRuns, column = index % Tile::kRuns * Tile::kRun;
      sources[i] = matrix;
      if constexpr (Tile::kLayout == Layout::depth_inner) {
        const int64_t source_row = row_of(row);
        if (source_row < 0) continue;
        sources[i] += source_row * length + column;
        inside |= 1u << i;
      } else {
        if (column >= width) continue;
        sources[i] += row * length + column;
        inside |= 1u << i;
      }
    }
  }

  /// Indices first … first + kDepth - 1 of depth, of which those from `end` on are zero.
  __device__ __forceinline__ void issue(T* shared, int first, int end) const {
#pragma unroll
    for (int i = 0; i < kCopies; ++i) {
      const int index = static_cast<int>(threadIdx.x) + i * threads;
      const int row = index / Tile::kRuns, run = index % Tile::kRuns;
      const int depth = first + (Tile::kLayout == Layout::depth_inner ? run * Tile::kRun : row);
      copy_async(shared + Tile::run_offset(row, run), sources[i] + first * stride, (inside >> i & 1) && depth < end);
    }
  }
};

/// sums += a b over one part of depth.   outer: where this warp's rows of a and columns of b begin in the tiles
template <typename A, typename B, int row_tiles, int column_tiles>
__device__ __forceinline__ void multiply_part(const bf16* a, const bf16* b, int a_outer, int b_outer,
                                              float (&sums)[row_tiles][column_tiles][4]) {
  constexpr int kStep = 16;
  const int lane = threadIdx.x % 32;
  // Lane i points at row i % 8 of 8x8 matrix i / 8. Register 1 of a is the lower rows and register 2 the second half of
  // depth; of b, which has two tiles here, register 1 is the second half of depth and register 2 the second tile.
  // Transposed the rows in memory are depth.
  const int rows_first = lane % 16, depth_second = lane / 16 * 8;
  const int rows_second = lane % 8 + lane / 16 * 8, depth_first = lane / 8 % 2 * 8;
  uint32_t a_parts[2][row_tiles][4], b_parts[2][column_tiles / 2][4];
  const auto load = [&](int buffer, int depth) {
#pragma unroll
    for (int m = 0; m < row_tiles; ++m) {
      const int first = a_outer + m * kTileRows;
      if constexpr (A::kLayout == Layout::depth_inner) {
        load_matrices(a_parts[buffer][m], a + A::element_offset(first + rows_first, depth + depth_second));
      } else {
        load_matrices_transposed(a_parts[buffer][m], a + A::element_offset(first + depth_first, depth + rows_second));
      }
    }
#pragma unroll
    for (int n = 0; n < column_tiles / 2; ++n) {
      const int first = b_outer + n * 2 * kTileColumns;
      if constexpr (B::kLayout == Layout::depth_inner) {
        load_matrices(b_parts[buffer][n], b + B::element_offset(first + rows_second, depth + depth_first));
      } else {
        load_matrices_transposed(b_parts[buffer][n], b + B::element_offset(first + depth_second, depth + rows_first));
      }
    }
  };
  load(0, 0);
#pragma unroll
  for (int depth = 0; depth < A::kDepth; depth += kStep) {
    const int buffer = depth / kStep % 2;
    if (depth + kStep < A::kDepth) load(1 - buffer, depth + kStep);
#pragma unroll
    for (int m = 0; m < row_tiles; ++m) {
#pragma unroll
      for (int n = 0; n < column_tiles; ++n) {
        const uint32_t(&pair)[4] = b_parts[buffer][n / 2];
        const uint32_t column[2] = {pair[n % 2 * 2], pair[n % 2 * 2 + 1]};
        multiply_add(sums[m][n], a_parts[buffer][m], column);
      }
    }
  }
}

template <typename A, typename B, int row_tiles, int column_tiles>
__device__ __forceinline__ void multiply_part(const float* a, const float* b, int a_outer, int b_outer,
                                              float (&sums)[row_tiles][column_tiles][4]) {
  const int group = threadIdx.x % 32 / 4, quad_lane = threadIdx.x % 4;
#pragma unroll 4
  for (int depth = 0; depth < A::kDepth; ++depth) {
    float row[row_tiles][2];
#pragma unroll
    for (int m = 0; m < row_tiles; ++m) {
#pragma unroll
      for (int i = 0; i < 2; ++i) row[m][i] = a[A::element_offset(a_outer + m * kTileRows + i * 8 + group, depth)];
    }
#pragma unroll
    for (int n = 0; n < column_tiles; ++n) {
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        const float column = b[B::element_offset(b_outer + n * kTileColumns + 2 * quad_lane + j, depth)];
#pragma unroll
        for (int m = 0; m < row_tiles; ++m) {
#pragma unroll
          for (int i = 0; i < 2; ++i) sums[m][n][2 * i + j] = fmaf(row[m][i], column, sums[m][n][2 * i + j]);
        }
      }
    }
  }
}

/// a: [rows, depth] or [depth, rows]; b: [columns, depth] or [depth, columns], by the kernel's layouts. Block z of the
/// grid sums depth from z * split_depth on, split_depth of it at most.
template <typename T>
struct Operands {
  const T *a, *b;
  int rows, columns, depth, split_depth;
};

/// Bytes of shared memory: the buffers, and one factor a row.
template <typename T, typename Shape>
constexpr size_t shared_bytes() {
  return Shape::kStages * (Shape::kRows + Shape::kColumns) * Shape::kDepth * sizeof(T) + Shape::kRows * sizeof(float);
}

/// Grid: (column blocks, row blocks, parts of depth). An epilogue has:
///   kNormed                            whether it wants a factor for each row
///   row_factor(row)
///   weight_row(column)                 which row of a depth-inner b is column `column` of the product
///   operator()(operands, row, column, tiles, low_factor, high_factor)
///                                      writes four tiles side by side, that is columns column … column + 31 of rows
///                                      row and row + 8; whole warps call it, also outside of the matrix
template <typename T, typename Shape, Layout a_layout, Layout b_layout, typename Epilogue>
__global__ void __launch_bounds__(Shape::kThreads) matmul(Operands<T> operands, Epilogue epilogue) {
  using A = SharedTile<T, a_layout, Shape::kRows, Shape::kDepth>;
  using B = SharedTile<T, b_layout, Shape::kColumns, Shape::kDepth>;
  static_assert(A::spreads_over_banks() && B::spreads_over_banks());
  constexpr int kRowTiles = Shape::kRowTiles, kColumnTiles = Shape::kColumnTiles, kStages = Shape::kStages;
  T* const buffers = shared_memory<T>();
  T* const a_buffers = buffers;
  T* const b_buffers = buffers + kStages * A::kElements;
  float* const factors = reinterpret_cast<float*>(b_buffers + kStages * B::kElements);
  const int first_row = static_cast<int>(blockIdx.y) * Shape::kRows;
  const int first_column = static_cast<int>(blockIdx.x) * Shape::kColumns;
  const int first_depth = static_cast<int>(blockIdx.z) * operands.split_depth;
  const int end_depth = min(first_depth + operands.split_depth, operands.depth);

  constexpr bool a_inner = a_layout == Layout::depth_inner, b_inner = b_layout == Layout::depth_inner;
  const TileCopy<T, A, Shape::kThreads> copy_a(
      a_inner ? operands.a : operands.a + first_row, a_inner ? operands.depth : operands.rows,
      operands.rows - first_row, [&](int row) { return first_row + row < operands.rows ? first_row + row : -1; });
  const TileCopy<T, B, Shape::kThreads> copy_b(
      b_inner ? operands.b : operands.b + first_column, b_inner ? operands.depth : operands.columns,
      operands.columns - first_column, [&](int column) {
        if constexpr (b_inner) {
          return first_column + column < operands.columns ? epilogue.weight_row(first_column + column) : -1;
        } else {
          return -1;
        }
      });
  const int parts = (end_depth - first_depth + Shape::kDepth - 1) / Shape::kDepth;
  const auto issue = [&](int part) {  // one group a part, so that waiting counts parts; empty beyond the last
    if (part < parts) {
      const int first = first_depth + part * Shape::kDepth, buffer = part % kStages;
      copy_a.issue(a_buffers + buffer * A::kElements, first, end_depth);
      copy_b.issue(b_buffers + buffer * B::kElements, first, end_depth);
    }
    copy_async_commit();
  };

#pragma unroll
  for (int part = 0; part < kStages - 1; ++part) issue(part);
  if constexpr (Epilogue::kNormed) {  // read after the barriers of the loop
    for (int row = threadIdx.x; row < Shape::kRows; row += Shape::kThreads) {
      factors[row] = first_row + row < operands.rows ? epilogue.row_factor(first_row + row) : 0.0f;
    }
  }

  float sums[kRowTiles][kColumnTiles][4];
#pragma unroll
  for (int m = 0; m < kRowTiles; ++m) {
#pragma unroll
    for (int n = 0; n < kColumnTiles; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) sums[m][n][i] = 0.0f;
    }
  }
  const int warp = threadIdx.x / 32, group = threadIdx.x % 32 / 4;
  const int warp_row = warp / Shape::kColumnWarps * kRowTiles * kTileRows;
  const int warp_column = warp % Shape::kColumnWarps * kColumnTiles * kTileColumns;
  for (int part = 0; part < parts; ++part) {
    // One barrier a part: behind it this part is there for all threads, and all are done with the part before, whose
    // buffer the next copies go to.
    copy_async_wait<kStages - 2>();
    __syncthreads();
    issue(part + kStages - 1);
    const int buffer = part % kStages;
    multiply_part<A, B>(a_buffers + buffer * A::kElements, b_buffers + buffer * B::kElements, warp_row, warp_column,
                        sums);
  }

#pragma unroll
  for (int m = 0; m < kRowTiles; ++m) {
    const int row = warp_row + m * kTileRows + group;
    const float low_factor = Epilogue::kNormed ? factors[row] : 1.0f;
    const float high_factor = Epilogue::kNormed ? factors[row + 8] : 1.0f;
#pragma unroll
    for (int n = 0; n < kColumnTiles; n += kGroupTiles) {
      float tiles[kGroupTiles][4];
#pragma unroll
      for (int j = 0; j < kGroupTiles; ++j) {
#pragma unroll
        for (int i = 0; i < 4; ++i) tiles[j][i] = sums[m][n + j][i];
      }
      epilogue(operands, first_row + row, first_column + warp_column + n * kTileColumns, tiles, low_factor,
               high_factor);
    }
  }
}

template <typename T, typename Shape, Layout a_layout, Layout b_layout, typename Epilogue>
void launch_shape(Device& device, const Operands<T>& operands, const Epilogue& epilogue) {
  const auto blocks = [](int count, int size) { return static_cast<unsigned>(divide_up(count, size)); };
  const Launch launch = {.blocks_x = blocks(operands.columns, Shape::kColumns),
                         .blocks_y = blocks(operands.rows, Shape::kRows),
                         .blocks_z = blocks(operands.depth, operands.split_depth),
                         .threads = Shape::kThreads,
                         .shared = shared_bytes<T, Shape>()};
  device.launch(launch, matmul<T, Shape, a_layout, b_layout, Epilogue>, operands, epilogue);
}

// Buffers of 48 KB, 32 KB and 32 KB: two blocks a multiprocessor also where it has 100 KB (compute capabilities 8.6,
// 8.9, 12.0).
using LargeShape = BlockShape<2, 2, 4, 8, 32, 3>;   // 128 x 128, warps of 64 x 64
using MediumShape = BlockShape<2, 1, 2, 8, 32, 4>;  // 64 x 64, warps of 32 x 64
using SmallShape = BlockShape<2, 1, 1, 4, 64, 4>;   // 32 x 32, warps of 16 x 32
// For float, where buffers are twice as large.
using FloatShape = BlockShape<2, 1, 2, 8, 32, 3>;

/// The largest shape whose blocks fill the multiprocessors.
template <typename T, Layout a_layout, Layout b_layout, typename Epilogue>
void launch_matmul(Device& device, const Operands<T>& operands, const Epilogue& epilogue) {
  if constexpr (std::is_same_v<T, float>) {
    launch_shape<T, FloatShape, a_layout, b_layout>(device, operands, epilogue);
  } else {
    const auto fills = [&](int rows, int columns) {
      return divide_up(operands.rows, rows) * divide_up(operands.columns, columns) >= device.info().multiprocessors;
    };
    if (fills(LargeShape::kRows, LargeShape::kColumns)) {
      launch_shape<T, LargeShape, a_layout, b_layout>(device, operands, epilogue);
    } else if (fills(MediumShape::kRows, MediumShape::kColumns)) {
      launch_shape<T, MediumShape, a_layout, b_layout>(device, operands, epilogue);
    } else {
      launch_shape<T, SmallShape, a_layout, b_layout>(device, operands, epilogue);
    }
  }
}

}  // namespace hrm::cuda
