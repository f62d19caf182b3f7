// Gradients of one transformer block, in two parallel steps: first those of the activations, sequence by sequence,
// then those of the weights, tile by tile of the weight, each summed over all rows in ascending order.

#include <array>

#include "cpu/simd/block_stages.h"
#include "cpu/storage.h"

namespace hrm::simd {

struct BackwardStages {
  using Slot = SimdBackend::Slot;

  const Kernels& kernels;
  const BlockParams& params;
  const reference::RopeTable<float>* table;  // null without RoPE
  // Weights packed for grad_x = grad_y W.
  const float *qkv_panels, *o_panels, *gate_up_panels, *down_panels;
  const Tape& tape;
  Rows grad;          // [B S, D], of the block's output on entry, of its input on return
  Rows grad_output;   // [B S, D], of the sum before the second norm
  Rows hidden;        // [B S, F]
  Rows grad_gate_up;  // [B S, 2F]
  Rows grad_middle;   // [B S, D], of the sum before the first norm
  Rows grad_context;  // [B S, D]
  Rows grad_qkv;      // [B S, 3D]
  Slot* slot;

  const int64_t S = params.shapes.S(), D = params.shapes.D, F = params.shapes.F, NH = params.shapes.NH;
  const int64_t HS = params.shapes.HS();

  void prepare(Slot& space, int64_t rows) const {
    space.grad_hidden.reserve(kTaskRows, F);
    space.scores.reserve(kernels.attention_scratch(S, HS));
    space.context.reserve(rows, D);
  }

  void enter(Slot& space, int64_t first, int64_t rows) {
    slot = &space;
    if (rows == 0) return;
    grad_context = space.context.view();
    grad_context.first = first;
  }

  void project(int64_t first, int64_t last) {
    for_chunks(first, last, kTaskRows, [this](int64_t from, int64_t to) {
      const int64_t rows = to - from;
      const Rows& grad_hidden = slot->grad_hidden.view();
      const Rows& gate_up = tape.gate_up.view();
      norm_backward(from, rows, tape.output, tape.output_inverse_rms, grad, grad_output);
      linear_backward(rows, D, F, grad_output, from, down_panels, grad_hidden.data, grad_hidden.row, nullptr, 0);
      kernels.swiglu_backward({rows, F, gate_up.at(from), gate_up.row, grad_hidden.data, grad_hidden.row,
                               hidden.at(from), hidden.row, grad_gate_up.at(from), grad_gate_up.row});
      linear_backward(rows, 2 * F, D, grad_gate_up, from, gate_up_panels, grad_middle.at(from), grad_middle.row,
                      grad_output.at(from), grad_output.row);
      norm_backward(from, rows, tape.middle, tape.middle_inverse_rms, grad_middle, grad_middle);
      linear_backward(rows, D, D, grad_middle, from, o_panels, grad_context.at(from), grad_context.row, nullptr, 0);
    });
  }

  void attend(int64_t first, int64_t last) {
    const int64_t kept = (S + kernels.panel - 1) / kernels.panel * kernels.panel;
    const Rows& qkv = tape.qkv.view();
    for (int64_t index = first; index < last; ++index) {
      const int64_t row = index / NH * S, column = index % NH * HS;
      const float* q = qkv.at(row) + column;
      float* grad_q = grad_qkv.at(row) + column;
      kernels.attention_backward({S, HS, q, q + D, q + 2 * D, qkv.row, tape.largest_scores.data() + index * kept,
                                  tape.inverse_sums.data() + index * kept, grad_context.at(row) + column,
                                  grad_context.row, grad_q, grad_q + D, grad_q + 2 * D, grad_qkv.row,
                                  slot->scores.data()});
    }
  }

  void finish(int64_t first, int64_t last) {
    for_chunks(first, last, kTaskRows, [this](int64_t from, int64_t to) {
      if (table)
        kernels.rope(
            {from, to - from, S, NH, HS, table->cos.data(), table->sin.data(), grad_qkv.at(from), grad_qkv.row, true});
      linear_backward(to - from, 3 * D, D, grad_qkv, from, qkv_panels, grad.at(from), grad.row, grad_middle.at(from),
                      grad_middle.row);
    });
  }

 private:
  /// grad_x <- grad_y W (+ residual).
  void linear_backward(int64_t rows, int64_t out, int64_t in, const Rows& grad_y, int64_t from, const float* panels,
                       float* grad_x, int64_t grad_x_row, const float* residual, int64_t residual_row) const {
    kernels.matmul({rows, in, out, grad_y.at(from), grad_y.row, 1, panels, out * kernels.panel, kernels.panel, grad_x,
                    grad_x_row, residual, residual_row, false});
  }

  void norm_backward(int64_t from, int64_t rows, const Matrix& y, const Buffer<float>& inverse_rms, const Rows& grad_y,
                     const Rows& grad_x) const {
    kernels.rms_norm_backward({rows, D, y.view().at(from), y.view().row, inverse_rms.data() + from, grad_y.at(from),
                               grad_y.row, grad_x.at(from), grad_x.row});
  }
};

void SimdBackend::block_backward(const BlockParams& params, int64_t batch, const BlockWeights& weights,
                                 const BlockTape& tape, const Tensor& grad, const BlockWeights& grads) {
  const Shapes& shapes = params.shapes;
  const int64_t rows = batch * shapes.S(), D = shapes.D, F = shapes.F;
  const auto& kept = static_cast<const Tape&>(tape);
  const Rows grad_output = grad_output_.reserve(rows, D), grad_middle = grad_middle_.reserve(rows, D);
  const Rows hidden = hidden_.reserve(rows, F), grad_gate_up = grad_gate_up_.reserve(rows, 2 * F);
  const Rows grad_qkv = grad_qkv_.reserve(rows, 3 * D);
  run_stages(
      shapes, batch,
      BackwardStages{kernels_, params, rope_table(params), packed_.transposed(weights.qkv, 3 * D, D),
                     packed_.transposed(weights.o, D, D), packed_.transposed(weights.gate_up, 2 * F, D),
                     packed_.transposed(weights.down, D, F), kept, Rows{data_of<float>(grad), D, 0}, grad_output,
                     hidden, grad_gate_up, grad_middle, reserve_shared(context_, shapes, batch, D), grad_qkv, nullptr});

  struct Weight {
    int64_t out, in;
    Rows grad_y, x;
    float* grad;
  };
  const std::array<Weight, 4> all = {Weight{2 * F, D, grad_gate_up, kept.middle.view(), data_of<float>(grads.gate_up)},
                                     Weight{3 * D, D, grad_qkv, kept.input.view(), data_of<float>(grads.qkv)},
                                     Weight{D, F, grad_output, hidden, data_of<float>(grads.down)},
                                     Weight{D, D, grad_middle, kept.context.view(), data_of<float>(grads.o)}};
  const int64_t step = 4 * kernels_.tile;  // output features of a task
  const auto tasks_of = [step](const Weight& weight) { return (weight.out + step - 1) / step; };
  int64_t tasks = 0;
  for (const Weight& weight : all) tasks += tasks_of(weight);
  pool_.run(threads_, tasks, [&](int64_t task, int) {
    const Weight* weight = all.data();
    for (; task >= tasks_of(*weight); ++weight) task -= tasks_of(*weight);
    kernels_.grad_weight({task * step, std::min(weight->out, (task + 1) * step), weight->in, rows, weight->grad_y.data,
                          weight->grad_y.row, weight->x.data, weight->x.row, weight->grad});
  });
}

}  // namespace hrm::simd
