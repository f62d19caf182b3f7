#include "cpu/simd/int8_backend.h"

#include "core/error.h"
#include "cpu/reference/quantised.h"
#include "cpu/simd/block_stages.h"
#include "cpu/storage.h"

namespace hrm::simd {

/// The stages of ForwardStages, without a tape. What enters a linear layer is quantised a chunk of rows at a time.
struct Int8ForwardStages {
  using Slot = Int8Backend::Slot;

  /// Rows of a chunk: what the MLP keeps of them, 4 F bytes each, shares a second-level cache with a panel.
  static constexpr int64_t kChunkRows = 84;  // 7 register tiles of AVX-512; one sequence of the 9x9 Sudoku

  const Kernels& kernels;
  const Int8Kernels& int8_kernels;
  const BlockParams& params;
  const reference::RopeTable<float>* table;  // null without RoPE
  const float *qkv_panels, *o_panels, *gate_up_panels, *down_panels;
  Rows x;             // [B S, D]
  Rows qkv, context;  // [B S, 3D], [B S, D]
  Slot* slot;

  const int64_t S = params.shapes.S(), D = params.shapes.D, F = params.shapes.F, NH = params.shapes.NH;
  const int64_t HS = params.shapes.HS();

  void prepare(Slot& space, int64_t rows) const {
    space.codes.reserve(kChunkRows, code_floats(std::max(D, F)));
    space.code_scales.reserve(kChunkRows);
    space.hidden.reserve(kChunkRows, F);
    space.scores.reserve(kernels.attention_scratch(S, HS));
    space.qkv.reserve(rows, 3 * D);
    space.context.reserve(rows, D);
  }

  void enter(Slot& space, int64_t first, int64_t rows) {
    slot = &space;
    if (rows == 0) return;
    qkv = space.qkv.view();
    context = space.context.view();
    qkv.first = context.first = first;
  }

  void project(int64_t first, int64_t last) {
    for_chunks(first, last, kChunkRows, [this](int64_t from, int64_t to) {
      const int64_t rows = to - from;
      const CodeRows codes = quantise(rows, D, x.at(from), x.row);
      int8_kernels.matmul({rows, D, 3 * D, codes, qkv_panels, qkv.at(from), qkv.row, nullptr});
      if (table)
        kernels.rope({from, rows, S, NH, HS, table->cos.data(), table->sin.data(), qkv.at(from), qkv.row, false});
    });
  }

  void attend(int64_t first, int64_t last) {
    for (int64_t index = first; index < last; ++index) {
      const int64_t row = index / NH * S, column = index % NH * HS;
      const float* q = qkv.at(row) + column;
      kernels.attention({S, HS, q, q + D, q + 2 * D, qkv.row, context.at(row) + column, context.row, nullptr, nullptr,
                         slot->scores.data()});
    }
  }

  void finish(int64_t first, int64_t last) {
    for_chunks(first, last, kChunkRows, [this](int64_t from, int64_t to) {
      const int64_t rows = to - from;
      const Rows& hidden = slot->hidden.view();
      add_linear(from, rows, D, context.at(from), context.row, o_panels);
      const CodeRows codes = quantise(rows, D, x.at(from), x.row);
      int8_kernels.matmul_swiglu({rows, D, F, codes, gate_up_panels, hidden.data, hidden.row});
      add_linear(from, rows, F, hidden.data, hidden.row, down_panels);
    });
  }

 private:
  /// Floats that hold a row of codes.
  int64_t code_floats(int64_t width) const { return (width * int8_kernels.code_bytes + 3) / 4; }

  CodeRows quantise(int64_t rows, int64_t width, const float* values, int64_t row) const {
    const CodeRows codes{slot->codes.view().data, 4 * padded_row(code_floats(width)), slot->code_scales.data()};
    int8_kernels.quantise({rows, width, values, row, codes});
    return codes;
  }

  /// x <- norm(x + values W^T)
  void add_linear(int64_t from, int64_t rows, int64_t in, const float* values, int64_t row, const float* panels) const {
    const CodeRows codes = quantise(rows, in, values, row);
    int8_kernels.matmul({rows, in, D, codes, panels, x.at(from), x.row, x.at(from)});
    kernels.rms_norm({rows, D, static_cast<float>(params.norm_eps), x.at(from), x.row, nullptr, 0, nullptr});
  }
};

std::string Int8Backend::describe() const {
  return std::string("cpu ") + int8_kernels_.isa + " int8, " + std::to_string(threads_) +
         (threads_ == 1 ? " thread" : " threads");
}

std::unique_ptr<BlockTape> Int8Backend::make_tape(const BlockParams&, int64_t) {
  throw Error("ERR_HRM_CONFIG", reference::kNoInt8Training);
}

const float* Int8Backend::panels_of(const Tensor& weight, int64_t out, int64_t in) {
  const int64_t panels = (out + int8_kernels_.panel - 1) / int8_kernels_.panel;
  return panels_.get(weight, Layout::forward, panels, int8_kernels_.panel_size(in), [&](int64_t panel, float* target) {
    int8_kernels_.pack(data_of<float>(weight), out, in, panel, panel + 1, target);
  });
}

const float* Int8Backend::gate_up_panels_of(const Tensor& weight, int64_t inner, int64_t in) {
  const int64_t half = int8_kernels_.panel / 2, panels = (inner + half - 1) / half;
  return panels_.get(weight, Layout::gate_up, panels, int8_kernels_.panel_size(in), [&](int64_t panel, float* target) {
    int8_kernels_.pack_gate_up(data_of<float>(weight), inner, in, panel, panel + 1, target);
  });
}

void Int8Backend::block_forward(const BlockParams& params, int64_t batch, const BlockWeights& weights, const Tensor& x,
                                BlockTape*) {
  const Shapes& shapes = params.shapes;
  const int64_t D = shapes.D, F = shapes.F;
  run_stages(shapes, batch,
             Int8ForwardStages{kernels_, int8_kernels_, params, rope_table(params), panels_of(weights.qkv, 3 * D, D),
                               panels_of(weights.o, D, D), gate_up_panels_of(weights.gate_up, F, D),
                               panels_of(weights.down, D, F), Rows{data_of<float>(x), D, 0},
                               reserve_shared(qkv_, shapes, batch, 3 * D), reserve_shared(context_, shapes, batch, D),
                               nullptr});
}

}  // namespace hrm::simd
