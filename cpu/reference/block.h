#pragma once
// One post-norm transformer block: x <- norm(x + attention(x)); x <- norm(x + swiglu(x)).
// Source: HRM models/hrm/hrm_act_v1.py HierarchicalReasoningModel_ACTV1Block

#include <algorithm>
#include <cstdint>
#include <vector>

#include "core/backend.h"
#include "cpu/memory.h"
#include "cpu/reference/attention.h"
#include "cpu/reference/linear.h"
#include "cpu/reference/rms_norm.h"
#include "cpu/reference/rope.h"
#include "cpu/reference/swiglu.h"

namespace hrm::reference {

/// What the forward keeps, for up to `capacity` sequences.
template <typename T>
struct Tape : BlockTape {
  Tape(const ByteCount& bytes, const Shapes& shapes, int64_t capacity)
      : capacity(capacity),
        input(bytes),
        qkv(bytes),
        context(bytes),
        middle(bytes),
        gate_up(bytes),
        hidden(bytes),
        output(bytes),
        middle_inverse_rms(bytes),
        output_inverse_rms(bytes) {
    const int64_t rows = capacity * shapes.S(), D = shapes.D, F = shapes.F;
    for (Buffer<T>* kept : {&input, &context, &middle, &output}) kept->reserve(rows * D);
    qkv.reserve(rows * 3 * D);
    gate_up.reserve(rows * 2 * F);
    hidden.reserve(rows * F);
    for (Buffer<T>* kept : {&middle_inverse_rms, &output_inverse_rms}) kept->reserve(rows);
  }

  const int64_t capacity;                            // sequences, B
  Buffer<T> input;                                   // [B, S, D]
  Buffer<T> qkv;                                     // [B, S, 3D], q and k after RoPE
  Buffer<T> context;                                 // [B, S, D], attention before its output projection
  Buffer<T> middle;                                  // [B, S, D], after the first norm
  Buffer<T> gate_up;                                 // [B, S, 2F]
  Buffer<T> hidden;                                  // [B, S, F], silu(gate) up
  Buffer<T> output;                                  // [B, S, D], after the second norm
  Buffer<T> middle_inverse_rms, output_inverse_rms;  // [B, S]
};

template <typename T>
struct BlockPointers {
  T* qkv;      // [3D, D]
  T* o;        // [D, D]
  T* gate_up;  // [2F, D]
  T* down;     // [D, F]
};

/// x: [B, S, D], in place. `table` is null without RoPE. `seen(stage, values)` is called after each sub-module with
/// "self_attn" and "mlp" (before the residual) and "block". `linear` computes all four linear layers.
template <typename T, typename Seen>
void block_forward(const BlockParams& params, int64_t batch, const BlockPointers<T>& weights, const RopeTable<T>* table,
                   Linear<T> linear, T* x, Tape<T>& tape, Seen seen) {
  const Shapes& shapes = params.shapes;
  const int64_t rows = batch * shapes.S(), D = shapes.D, F = shapes.F;
  const T eps = static_cast<T>(params.norm_eps);
  std::vector<T> branch(static_cast<size_t>(rows * D));

  std::copy_n(x, rows * D, tape.input.data());
  linear(rows, D, 3 * D, x, weights.qkv, tape.qkv.data());
  if (table) rope_heads(batch, shapes.S(), shapes.NH, shapes.HS(), *table, tape.qkv.data(), rope_forward<T>);
  attention_forward(shapes, batch, tape.qkv.data(), tape.context.data());
  linear(rows, D, D, tape.context.data(), weights.o, branch.data());
  seen("self_attn", branch.data());
  for (int64_t i = 0; i < rows * D; ++i) x[i] += branch[i];
  rms_norm_forward(rows, D, eps, x, tape.middle_inverse_rms.data());

  std::copy_n(x, rows * D, tape.middle.data());
  linear(rows, D, 2 * F, x, weights.gate_up, tape.gate_up.data());
  swiglu_forward(rows, F, tape.gate_up.data(), tape.hidden.data());
  linear(rows, F, D, tape.hidden.data(), weights.down, branch.data());
  seen("mlp", branch.data());
  for (int64_t i = 0; i < rows * D; ++i) x[i] += branch[i];
  rms_norm_forward(rows, D, eps, x, tape.output_inverse_rms.data());
  std::copy_n(x, rows * D, tape.output.data());
  seen("block", x);
}

/// grad [B, S, D]: gradient of the output on entry, of the input on return. Weight gradients are overwritten.
template <typename T>
void block_backward(const BlockParams& params, int64_t batch, const BlockPointers<T>& weights,
                    const RopeTable<T>* table, const Tape<T>& tape, T* grad, const BlockPointers<T>& grads) {
  const Shapes& shapes = params.shapes;
  const int64_t rows = batch * shapes.S(), D = shapes.D, F = shapes.F;
  std::vector<T> grad_branch(static_cast<size_t>(rows * D));  // gradient of what enters the residual sum's branch

  rms_norm_backward(rows, D, tape.output.data(), tape.output_inverse_rms.data(), grad);
  std::vector<T> grad_hidden(static_cast<size_t>(rows * F)), grad_gate_up(static_cast<size_t>(rows * 2 * F));
  linear_backward_weight(rows, F, D, grad, tape.hidden.data(), grads.down);
  linear_backward_input(rows, F, D, grad, weights.down, grad_hidden.data());
  swiglu_backward(rows, F, tape.gate_up.data(), grad_hidden.data(), grad_gate_up.data());
  linear_backward_weight(rows, D, 2 * F, grad_gate_up.data(), tape.middle.data(), grads.gate_up);
  linear_backward_input(rows, D, 2 * F, grad_gate_up.data(), weights.gate_up, grad_branch.data());
  for (int64_t i = 0; i < rows * D; ++i) grad[i] += grad_branch[i];

  rms_norm_backward(rows, D, tape.middle.data(), tape.middle_inverse_rms.data(), grad);
  std::vector<T> grad_context(static_cast<size_t>(rows * D)), grad_qkv(static_cast<size_t>(rows * 3 * D));
  linear_backward_weight(rows, D, D, grad, tape.context.data(), grads.o);
  linear_backward_input(rows, D, D, grad, weights.o, grad_context.data());
  attention_backward(shapes, batch, tape.qkv.data(), grad_context.data(), grad_qkv.data());
  if (table) rope_heads(batch, shapes.S(), shapes.NH, shapes.HS(), *table, grad_qkv.data(), rope_backward<T>);
  linear_backward_weight(rows, D, 3 * D, grad_qkv.data(), tape.input.data(), grads.qkv);
  linear_backward_input(rows, D, 3 * D, grad_qkv.data(), weights.qkv, grad_branch.data());
  for (int64_t i = 0; i < rows * D; ++i) grad[i] += grad_branch[i];
}

}  // namespace hrm::reference
