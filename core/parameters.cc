// The parameters of the model: their shapes, official names and initial values.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/initialiser.h"
#include "core/model.h"
#include "core/real_values.h"

namespace hrm {

namespace {

int64_t element_count(const std::vector<int64_t>& shape) {
  return std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
}

}  // namespace

Weights Model::allocate_weights() const {
  const auto& [T, P, D, NH, F, V, E] = shapes_;
  const auto allocate = [&](int64_t count) { return backend_->allocate(backend_->real(), static_cast<size_t>(count)); };
  const auto level = [&](int64_t layers) {
    std::vector<BlockWeights> blocks;
    for (int64_t i = 0; i < layers; ++i)
      blocks.push_back(
          {.qkv = allocate(3 * D * D), .o = allocate(D * D), .gate_up = allocate(2 * F * D), .down = allocate(D * F)});
    return blocks;
  };
  return {.embed = {.tokens = allocate(V * D), .positions = config_.rope ? Tensor() : allocate(shapes_.S() * D)},
          .head = {.lm = allocate(V * D), .q = allocate(2 * D), .q_bias = allocate(2)},
          .h_level = level(config_.h_layers),
          .l_level = level(config_.l_layers)};
}

std::vector<NamedTensor> Model::name_weights(const Weights& weights) const {
  const auto& [T, P, D, NH, F, V, E] = shapes_;
  std::vector<NamedTensor> named = {{"inner.embed_tokens.embedding_weight", {V, D}, weights.embed.tokens}};
  if (weights.embed.positions)
    named.push_back({"inner.embed_pos.embedding_weight", {shapes_.S(), D}, weights.embed.positions});
  named.push_back({"inner.lm_head.weight", {V, D}, weights.head.lm});
  named.push_back({"inner.q_head.weight", {2, D}, weights.head.q});
  named.push_back({"inner.q_head.bias", {2}, weights.head.q_bias});
  const auto level = [&](const char* name, const std::vector<BlockWeights>& blocks) {
    for (size_t i = 0; i < blocks.size(); ++i) {
      const std::string prefix = std::string("inner.") + name + ".layers." + std::to_string(i) + ".";
      named.push_back({prefix + "self_attn.qkv_proj.weight", {3 * D, D}, blocks[i].qkv});
      named.push_back({prefix + "self_attn.o_proj.weight", {D, D}, blocks[i].o});
      named.push_back({prefix + "mlp.gate_up_proj.weight", {2 * F, D}, blocks[i].gate_up});
      named.push_back({prefix + "mlp.down_proj.weight", {D, F}, blocks[i].down});
    }
  };
  level("H_level", weights.h_level);
  level("L_level", weights.l_level);
  return named;
}

std::vector<NamedTensor> Model::tensors() const {
  std::vector<NamedTensor> named = name_weights(weights_);
  if (puzzle_table_)
    named.push_back({"inner.puzzle_emb.weights", {config_.num_puzzle_identifiers, shapes_.E}, puzzle_table_});
  named.push_back({"inner.H_init", {shapes_.D}, init_h_});
  named.push_back({"inner.L_init", {shapes_.D}, init_l_});
  return named;
}

int64_t Model::num_parameters() const {
  int64_t count = 0;
  for (const NamedTensor& weight : name_weights(weights_)) count += element_count(weight.shape);
  return count;
}

void Model::initialise(uint64_t seed) {
  const double embed_std = 1 / std::sqrt(static_cast<double>(shapes_.D));
  uint32_t part = 0;
  for (const NamedTensor& weight : name_weights(weights_)) {
    // Linear layers: std 1/sqrt(fan_in); embeddings: 1/sqrt(D), which is also their row length.
    const double std = weight.shape.size() == 2 ? 1 / std::sqrt(static_cast<double>(weight.shape[1])) : embed_std;
    const bool q_head = weight.tensor == weights_.head.q || weight.tensor == weights_.head.q_bias;
    if (!q_head) fill(weight.tensor, std, seed, part);
    ++part;
  }
  fill(init_h_, 1, seed, part++);
  fill(init_l_, 1, seed, part++);
  // Q near zero at the start: weight 0, bias -5, so that nothing halts before it has learned to.
  const auto fill_constant = [&](const Tensor& tensor, double value) {
    if (!tensor) return;
    upload_real(*backend_, std::vector<double>(tensor->count, value), tensor, 0);
  };
  fill_constant(weights_.head.q, 0);
  fill_constant(weights_.head.q_bias, -5);
  fill_constant(puzzle_table_, 0);
}

void Model::fill(const Tensor& tensor, double std, uint64_t seed, uint32_t part) const {
  std::vector<double> values(tensor->count);
  TruncatedNormal(std).fill(values, seed, part);
  // Rounded to float in any precision, so that a seed means the same start in float and double.
  for (double& value : values) value = static_cast<float>(value);
  upload_real(*backend_, values, tensor, 0);
}

}  // namespace hrm
