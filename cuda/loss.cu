// Cross-entropies over the vocabulary and the Q losses, all evaluated in double: a block a sequence, a warp a token.
// Source: HRM models/losses.py

#include "cuda/launches.h"
#include "cuda/reduce.h"

namespace hrm::cuda {
namespace {

/// s(x) = x + 1 for x >= 0, 1 / (1 - x) for x < 0; the official 1e-30 guards the untaken branch at x = 1.
__device__ __forceinline__ double stablemax(double x) { return x < 0 ? 1 / (1 - x + 1e-30) : x + 1; }
__device__ __forceinline__ double stablemax_slope(double x, double value) { return x < 0 ? value * value : 1; }

/// -log p[label] with p = s / sum(s); grads[i] <- weight * (s'_i / sum(s) - [i = label] s'_i / s_i), or null.
__device__ __forceinline__ double stablemax_cross_entropy(int64_t vocab, const float* logits, int32_t label,
                                                          double weight, float* grads) {
  double own = 0;
  for (int64_t v = lane_index(); v < vocab; v += 32) own += stablemax(logits[v]);
  const double sum = warp_sum(own), chosen = stablemax(logits[label]);
  if (grads) {
    for (int64_t v = lane_index(); v < vocab; v += 32) {
      const double slope = stablemax_slope(logits[v], stablemax(logits[v]));
      grads[v] = static_cast<float>(weight * (v == label ? slope / sum - slope / chosen : slope / sum));
    }
  }
  return -log(chosen / sum);
}

/// log sum_v exp(x_v) - x[label];   grads[i] <- weight * (p_i - [i = label]), or null.
__device__ __forceinline__ double softmax_cross_entropy(int64_t vocab, const float* logits, int32_t label,
                                                        double weight, float* grads) {
  double largest = -INFINITY;
  for (int64_t v = lane_index(); v < vocab; v += 32) largest = fmax(largest, static_cast<double>(logits[v]));
  largest = warp_max(largest);
  double own = 0;
  for (int64_t v = lane_index(); v < vocab; v += 32) own += exp(logits[v] - largest);
  const double sum = warp_sum(own);
  if (grads)
    for (int64_t v = lane_index(); v < vocab; v += 32)
      grads[v] = static_cast<float>(weight * (exp(logits[v] - largest) / sum - (v == label ? 1 : 0)));
  return log(sum) + largest - logits[label];
}

/// Binary cross-entropy of sigmoid(x) against a target in 0..1, without overflow; its gradient is sigmoid(x) - target.
__device__ __forceinline__ double bce_with_logits(double x, double target) {
  return (x > 0 ? x : 0.0) - x * target + log1p(exp(-fabs(x)));
}
__device__ __forceinline__ double bce_with_logits_grad(double x, double target) { return 1 / (1 + exp(-x)) - target; }

/// What the loss of a sequence is made from; grad_logits and grad_q may be null.
struct LossTensors {
  const float *logits, *q;         // [B, T, V], [B, 2]
  const int32_t* labels;           // [B, T]
  const float* target_q_continue;  // [B] or null
  double* row_stats;               // [B, kRowStats]
  float *grad_logits, *grad_q;     // [B, T, V], [B, 2]
};

__global__ void sequence_loss(LossType type, double scale, int64_t tokens, int64_t vocab, LossTensors all) {
  double* const shared = shared_memory<double>();  // [warps]
  const int64_t b = blockIdx.x;
  const int32_t* const labels = all.labels + b * tokens;
  int own_labelled = 0;
  for (int64_t t = threadIdx.x; t < tokens; t += blockDim.x) own_labelled += labels[t] >= 0;
  const int labelled = block_sum(own_labelled, reinterpret_cast<int*>(shared));
  const double divisor = labelled > 0 ? labelled : 1;

  // Every lane of a warp has the warp's sums.
  double loss_sum = 0;
  int correct = 0;
  for (int64_t t = threadIdx.x / 32; t < tokens; t += blockDim.x / 32) {
    const int64_t at = (b * tokens + t) * vocab;
    const float* const logits = all.logits + at;
    float* const grads = all.grad_logits ? all.grad_logits + at : nullptr;
    const int32_t label = labels[t];
    if (label < 0) {
      if (grads)
        for (int64_t v = lane_index(); v < vocab; v += 32) grads[v] = 0.0f;
      continue;
    }
    const double weight = scale / divisor;
    loss_sum +=
        (type == LossType::stablemax_cross_entropy ? stablemax_cross_entropy(vocab, logits, label, weight, grads)
                                                   : softmax_cross_entropy(vocab, logits, label, weight, grads)) /
        divisor;
    correct += warp_argmax(vocab, logits) == label;
  }
  const bool first_lane = lane_index() == 0;
  const double lm_loss = block_sum(first_lane ? loss_sum : 0.0, shared);
  const int all_correct = block_sum(first_lane ? correct : 0, reinterpret_cast<int*>(shared));
  if (threadIdx.x > 0) return;

  const double row_correct = all_correct == labelled ? 1 : 0;
  const double q_halt = all.q[b * 2], q_continue = all.q[b * 2 + 1];
  const bool bootstrapped = all.target_q_continue != nullptr;
  const double target = bootstrapped ? all.target_q_continue[b] : 0;
  double* const stats = all.row_stats + b * kRowStats;
  stats[kLmLoss] = lm_loss;
  stats[kQHaltLoss] = bce_with_logits(q_halt, row_correct);
  stats[kQContinueLoss] = bootstrapped ? bce_with_logits(q_continue, target) : 0;
  stats[kLabelCount] = labelled;
  stats[kCorrectCount] = all_correct;
  stats[kRowCorrect] = row_correct;
  if (!all.grad_q) return;
  all.grad_q[b * 2] = static_cast<float>(scale / 2 * bce_with_logits_grad(q_halt, row_correct));
  all.grad_q[b * 2 + 1] =
      bootstrapped ? static_cast<float>(scale / 2 * bce_with_logits_grad(q_continue, target)) : 0.0f;
}

}  // namespace

void loss(Device& device, const Shapes& shapes, int64_t batch, LossType type, double scale, const float* logits,
          const float* q, const int32_t* labels, const float* target_q_continue, double* row_stats, float* grad_logits,
          float* grad_q) {
  device.launch(
      {.blocks_x = static_cast<unsigned>(batch), .threads = kBlockThreads, .shared = kBlockWarps * sizeof(double)},
      sequence_loss, type, scale, shapes.T, shapes.V,
      LossTensors{logits, q, labels, target_q_continue, row_stats, grad_logits, grad_q});
}

}  // namespace hrm::cuda
