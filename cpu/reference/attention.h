#pragma once
// Full (non-causal) attention over all S positions: context_i = sum_j p_ij v_j, p_i = softmax_j(q_i . k_j / sqrt(HS)).
// qkv: [B, S, 3D]: per position the heads of q (already turned by RoPE), of k, of v; context: [B, S, D]
// Source: HRM models/layers.py Attention (flash attention computes the same function)

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "core/shapes.h"

namespace hrm::reference {

/// p <- softmax over all keys for one query.   query: [HS]; keys: [S, HS] with rows `stride` apart; p: [S]
template <typename T>
void attention_probabilities(int64_t positions, int64_t head_size, int64_t stride, const T* query, const T* keys,
                             T* p) {
  const T scale = T(1) / std::sqrt(T(head_size));
  for (int64_t j = 0; j < positions; ++j) {
    T dot = 0;
    for (int64_t i = 0; i < head_size; ++i) dot += query[i] * keys[j * stride + i];
    p[j] = dot * scale;
  }
  const T largest = *std::max_element(p, p + positions);
  T sum = 0;
  for (int64_t j = 0; j < positions; ++j) sum += p[j] = std::exp(p[j] - largest);
  for (int64_t j = 0; j < positions; ++j) p[j] /= sum;
}

template <typename T>
void attention_forward(const Shapes& shapes, int64_t batch, const T* qkv, T* context) {
  const int64_t S = shapes.S(), D = shapes.D, HS = shapes.HS(), stride = 3 * D;
  std::vector<T> p(static_cast<size_t>(S));
  for (int64_t b = 0; b < batch; ++b)
    for (int64_t head = 0; head < shapes.NH; ++head) {
      const T* q = qkv + b * S * stride + head * HS;
      const T *k = q + D, *v = k + D;
      for (int64_t i = 0; i < S; ++i) {
        attention_probabilities(S, HS, stride, q + i * stride, k, p.data());
        T* out = context + (b * S + i) * D + head * HS;
        std::fill_n(out, HS, T(0));
        for (int64_t j = 0; j < S; ++j)
          for (int64_t d = 0; d < HS; ++d) out[d] += p[j] * v[j * stride + d];
      }
    }
}

/// grad_qkv (overwritten) from grad_context. The probabilities are computed again instead of kept.
///   with gp_j = grad_context_i . v_j:  gs_j = p_j (gp_j - sum_l p_l gp_l);
///   grad_q_i = scale sum_j gs_j k_j;  grad_k_j += scale gs_j q_i;  grad_v_j += p_j grad_context_i
template <typename T>
void attention_backward(const Shapes& shapes, int64_t batch, const T* qkv, const T* grad_context, T* grad_qkv) {
  const int64_t S = shapes.S(), D = shapes.D, HS = shapes.HS(), stride = 3 * D;
  const T scale = T(1) / std::sqrt(T(HS));
  std::vector<T> p(static_cast<size_t>(S)), grad_p(static_cast<size_t>(S));
  std::fill_n(grad_qkv, batch * S * stride, T(0));
  for (int64_t b = 0; b < batch; ++b)
    for (int64_t head = 0; head < shapes.NH; ++head) {
      const int64_t origin = b * S * stride + head * HS;
      const T *q = qkv + origin, *k = q + D, *v = k + D;
      T *grad_q = grad_qkv + origin, *grad_k = grad_q + D, *grad_v = grad_k + D;
      for (int64_t i = 0; i < S; ++i) {
        attention_probabilities(S, HS, stride, q + i * stride, k, p.data());
        const T* grad_out = grad_context + (b * S + i) * D + head * HS;
        T weighted = 0;  // sum_l p_l gp_l
        for (int64_t j = 0; j < S; ++j) {
          T dot = 0;
          for (int64_t d = 0; d < HS; ++d) dot += grad_out[d] * v[j * stride + d];
          grad_p[j] = dot;
          weighted += p[j] * dot;
        }
        for (int64_t j = 0; j < S; ++j) {
          const T grad_score = scale * (p[j] * (grad_p[j] - weighted));
          for (int64_t d = 0; d < HS; ++d) {
            grad_q[i * stride + d] += grad_score * k[j * stride + d];
            grad_k[j * stride + d] += grad_score * q[i * stride + d];
            grad_v[j * stride + d] += p[j] * grad_out[d];
          }
        }
      }
    }
}

}  // namespace hrm::reference
