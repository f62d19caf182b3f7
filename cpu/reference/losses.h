#pragma once
// Cross-entropies over the vocabulary and the Q losses, all evaluated in double.
// Source: HRM models/losses.py (the official softmax_cross_entropy is in float32; double differs only by its rounding)

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "core/backend.h"

namespace hrm::reference {

/// s(x) = x + 1 for x >= 0, 1 / (1 - x) for x < 0; the official 1e-30 guards the untaken branch at x = 1.
inline double stablemax(double x) { return x < 0 ? 1 / (1 - x + 1e-30) : x + 1; }
inline double stablemax_slope(double x) { return x < 0 ? stablemax(x) * stablemax(x) : 1; }

/// -log p[label] with p = s / sum(s); grad (may be null): [V] overwritten,
///   grad_i = s'_i / sum(s) - [i = label] s'_i / s_i
template <typename T>
double stablemax_cross_entropy(int64_t vocab, const T* logits, int32_t label, double* grad) {
  double sum = 0;
  for (int64_t v = 0; v < vocab; ++v) sum += stablemax(logits[v]);
  const double chosen = stablemax(logits[label]);
  if (grad) {
    for (int64_t v = 0; v < vocab; ++v) grad[v] = stablemax_slope(logits[v]) / sum;
    grad[label] -= stablemax_slope(logits[label]) / chosen;
  }
  return -std::log(chosen / sum);
}

/// log sum_v exp(x_v) - x[label];   grad_i = p_i - [i = label]
template <typename T>
double softmax_cross_entropy(int64_t vocab, const T* logits, int32_t label, double* grad) {
  const double largest = *std::max_element(logits, logits + vocab);
  double sum = 0;
  for (int64_t v = 0; v < vocab; ++v) sum += std::exp(double(logits[v]) - largest);
  if (grad) {
    for (int64_t v = 0; v < vocab; ++v) grad[v] = std::exp(double(logits[v]) - largest) / sum;
    grad[label] -= 1;
  }
  return std::log(sum) + largest - double(logits[label]);
}

/// Binary cross-entropy of sigmoid(x) against a target in 0..1, without overflow; its gradient is sigmoid(x) - target.
inline double bce_with_logits(double x, double target) {
  return std::max(x, 0.0) - x * target + std::log1p(std::exp(-std::abs(x)));
}
inline double bce_with_logits_grad(double x, double target) { return 1 / (1 + std::exp(-x)) - target; }

/// Losses and statistics of one row; gradients of scale * [lm_loss + (q_halt_loss + q_continue_loss) / 2] where given.
///   logits, grad_logits: [T, V]; q, grad_q: [2]; labels: [T]; target_q_continue: [1] or null; stats: [kRowStats]
///   scratch: [V]
template <typename T>
void row_loss(const Shapes& shapes, LossType type, double scale, const T* logits, const T* q, const int32_t* labels,
              const T* target_q_continue, double* stats, T* grad_logits, T* grad_q, double* scratch) {
  const int64_t V = shapes.V;
  const auto labelled = std::count_if(labels, labels + shapes.T, [](int32_t label) { return label >= 0; });
  const double divisor = static_cast<double>(std::max<int64_t>(labelled, 1));
  double loss_sum = 0;
  int64_t correct = 0;
  if (grad_logits) std::fill_n(grad_logits, shapes.T * V, T(0));
  for (int64_t t = 0; t < shapes.T; ++t) {
    if (labels[t] < 0) continue;
    const T* token_logits = logits + t * V;
    double* token_grad = grad_logits ? scratch : nullptr;
    loss_sum +=
        (type == LossType::stablemax_cross_entropy ? stablemax_cross_entropy(V, token_logits, labels[t], token_grad)
                                                   : softmax_cross_entropy(V, token_logits, labels[t], token_grad)) /
        divisor;
    if (grad_logits)
      for (int64_t v = 0; v < V; ++v) grad_logits[t * V + v] = T(scale / divisor * scratch[v]);
    correct += std::max_element(token_logits, token_logits + V) - token_logits == labels[t];
  }
  const double row_correct = correct == labelled ? 1 : 0;
  stats[kLmLoss] = loss_sum;
  stats[kQHaltLoss] = bce_with_logits(q[0], row_correct);
  stats[kQContinueLoss] = target_q_continue ? bce_with_logits(q[1], *target_q_continue) : 0;
  stats[kLabelCount] = static_cast<double>(labelled);
  stats[kCorrectCount] = static_cast<double>(correct);
  stats[kRowCorrect] = row_correct;
  if (grad_q) {
    grad_q[0] = T(scale / 2 * bce_with_logits_grad(q[0], row_correct));
    grad_q[1] = target_q_continue ? T(scale / 2 * bce_with_logits_grad(q[1], *target_q_continue)) : T(0);
  }
}

}  // namespace hrm::reference
