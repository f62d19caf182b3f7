// One transformer block: x <- norm(x + attention(x)); x <- norm(x + swiglu(x)).

#include <cstring>

#include "cpu/simd/block_stages.h"
#include "cpu/storage.h"

namespace hrm::simd {

struct ForwardStages {
  using Slot = SimdBackend::Slot;

  const Kernels& kernels;
  const BlockParams& params;
  const reference::RopeTable<float>* table;  // null without RoPE
  const float *qkv_panels, *o_panels, *gate_up_panels, *down_panels;
  Rows x;             // [B S, D]
  Tape* tape;         // or null
  Rows qkv, context;  // [B S, 3D], [B S, D]
  Slot* slot;

  const int64_t S = params.shapes.S(), D = params.shapes.D, F = params.shapes.F, NH = params.shapes.NH;
  const int64_t HS = params.shapes.HS();

  void prepare(Slot& space, int64_t rows) const {
    space.hidden.reserve(kTaskRows, F);
    space.scores.reserve(kernels.attention_scratch(S, HS));
    if (tape) return;
    space.qkv.reserve(rows, 3 * D);
    space.context.reserve(rows, D);
  }

  void enter(Slot& space, int64_t first, int64_t rows) {
    slot = &space;
    if (tape || rows == 0) return;
    qkv = space.qkv.view();
    context = space.context.view();
    qkv.first = context.first = first;
  }

  void project(int64_t first, int64_t last) {
    for_chunks(first, last, kTaskRows, [this](int64_t from, int64_t to) {
      const int64_t rows = to - from;
      if (tape)
        for (int64_t r = from; r < to; ++r)
          std::memcpy(tape->input.view().at(r), x.at(r), static_cast<size_t>(D) * sizeof(float));
      linear(rows, D, 3 * D, x.at(from), x.row, qkv_panels, qkv.at(from), qkv.row, nullptr);
      if (table)
        kernels.rope({from, rows, S, NH, HS, table->cos.data(), table->sin.data(), qkv.at(from), qkv.row, false});
    });
  }

  void attend(int64_t first, int64_t last) {
    const int64_t kept = (S + kernels.panel - 1) / kernels.panel * kernels.panel;
    for (int64_t index = first; index < last; ++index) {
      const int64_t row = index / NH * S, column = index % NH * HS;
      const float* q = qkv.at(row) + column;
      kernels.attention({S, HS, q, q + D, q + 2 * D, qkv.row, context.at(row) + column, context.row,
                         tape ? tape->largest_scores.data() + index * kept : nullptr,
                         tape ? tape->inverse_sums.data() + index * kept : nullptr, slot->scores.data()});
    }
  }

  void finish(int64_t first, int64_t last) {
    for_chunks(first, last, kTaskRows, [this](int64_t from, int64_t to) {
      const int64_t rows = to - from;
      const Rows& hidden = slot->hidden.view();
      linear(rows, D, D, context.at(from), context.row, o_panels, x.at(from), x.row, x.at(from));
      normalize(from, rows, tape ? &tape->middle : nullptr, tape ? tape->middle_inverse_rms.data() : nullptr);
      kernels.matmul_swiglu({rows, D, F, x.at(from), x.row, gate_up_panels, hidden.data, hidden.row,
                             tape ? tape->gate_up.view().at(from) : nullptr, tape ? tape->gate_up.view().row : 0});
      linear(rows, F, D, hidden.data, hidden.row, down_panels, x.at(from), x.row, x.at(from));
      normalize(from, rows, tape ? &tape->output : nullptr, tape ? tape->output_inverse_rms.data() : nullptr);
    });
  }

 private:
  /// y <- a W^T (+ residual, which has y's row length).
  void linear(int64_t rows, int64_t in, int64_t out, const float* a, int64_t a_row, const float* panels, float* y,
              int64_t y_row, const float* residual) const {
    kernels.matmul(
        {rows, out, in, a, a_row, 1, panels, in * kernels.panel, kernels.panel, y, y_row, residual, y_row, false});
  }

  void normalize(int64_t from, int64_t rows, const Matrix* kept, float* inverse_rms) const {
    kernels.rms_norm({rows, D, static_cast<float>(params.norm_eps), x.at(from), x.row,
                      kept ? kept->view().at(from) : nullptr, kept ? kept->view().row : 0,
                      inverse_rms ? inverse_rms + from : nullptr});
  }
};

Tape::Tape(const ByteCount& bytes, const Shapes& shapes, int64_t panel, int64_t capacity)
    : capacity(capacity),
      input(bytes),
      qkv(bytes),
      context(bytes),
      middle(bytes),
      gate_up(bytes),
      output(bytes),
      middle_inverse_rms(bytes),
      output_inverse_rms(bytes),
      largest_scores(bytes),
      inverse_sums(bytes) {
  const int64_t rows = capacity * shapes.S(), lanes = panel / 2;
  for (Matrix* kept : {&input, &context, &middle, &output}) kept->reserve(rows, shapes.D);
  qkv.reserve(rows, 3 * shapes.D);
  gate_up.reserve(rows, (shapes.F + lanes - 1) / lanes * panel);
  for (Buffer<float>* kept : {&middle_inverse_rms, &output_inverse_rms}) kept->reserve(rows);
  const int64_t queries = (shapes.S() + panel - 1) / panel * panel;
  for (Buffer<float>* kept : {&largest_scores, &inverse_sums}) kept->reserve(capacity * shapes.NH * queries);
}

std::unique_ptr<BlockTape> SimdBackend::make_tape(const BlockParams& params, int64_t batch) {
  return std::make_unique<Tape>(bytes_, params.shapes, kernels_.panel, batch);
}

void SimdBackend::block_forward(const BlockParams& params, int64_t batch, const BlockWeights& weights, const Tensor& x,
                                BlockTape* tape) {
  const Shapes& shapes = params.shapes;
  const int64_t D = shapes.D, F = shapes.F;
  auto* kept = static_cast<Tape*>(tape);
  const Rows qkv = kept ? kept->qkv.view() : reserve_shared(qkv_, shapes, batch, 3 * D);
  const Rows context = kept ? kept->context.view() : reserve_shared(context_, shapes, batch, D);
  run_stages(
      shapes, batch,
      ForwardStages{kernels_, params, rope_table(params), packed_.forward(weights.qkv, 3 * D, D),
                    packed_.forward(weights.o, D, D), packed_.gate_up(weights.gate_up, F, D),
                    packed_.forward(weights.down, D, F), Rows{data_of<float>(x), D, 0}, kept, qkv, context, nullptr});
}

}  // namespace hrm::simd
