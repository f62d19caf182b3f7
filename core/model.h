#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/backend.h"
#include "core/config.h"

namespace hrm {

/// A tensor with the name it has in checkpoints.
struct NamedTensor {
  std::string name;
  std::vector<int64_t> shape;
  Tensor tensor;
};

/// The two recurrent states: slow z_h and fast z_l, [B, S, D] each.
struct States {
  Tensor h, l;
};

/// What the last L and H update keep for the one-step gradient.
struct OneStepTape {
  std::vector<std::unique_ptr<BlockTape>> h, l;  // one per layer
};

/// Trainable dense weights, or their gradients, moments or averages: the same tree each time.
struct Weights {
  EmbedWeights embed;
  HeadWeights head;
  std::vector<BlockWeights> h_level, l_level;
};

/// The Hierarchical Reasoning Model (arXiv 2506.21734): two transformer modules, slow H and fast L, that update their
/// states in nested cycles; only the last L and the last H update carry a gradient.
class Model {
 public:
  Model(const ModelConfig& config, std::shared_ptr<Backend> backend);

  const ModelConfig& config() const { return config_; }
  const Shapes& shapes() const { return shapes_; }
  Backend& backend() const { return *backend_; }

  /// Draws every parameter and start state from the seed. Source: official initialisation (models/layers.py,
  /// hrm_act_v1.py).
  void initialise(uint64_t seed);

  /// Allocates a tree of the weights' shapes (for gradients, moments, averages).
  Weights allocate_weights() const;
  /// The leaves of a tree with their official names ("inner.…"), in a fixed order.
  std::vector<NamedTensor> name_weights(const Weights& weights) const;
  const Weights& weights() const { return weights_; }
  /// All that a checkpoint's model file holds: weights, puzzle embedding table, start states.
  std::vector<NamedTensor> tensors() const;
  const Tensor& puzzle_table() const { return puzzle_table_; }  // [num_puzzle_identifiers, E], empty if E == 0
  const Tensor& init_h() const { return init_h_; }              // [D], fixed
  const Tensor& init_l() const { return init_l_; }              // [D], fixed
  int64_t num_parameters() const;

  States allocate_states(int64_t batch) const;
  OneStepTape make_tape(int64_t batch) const;

  // The forward pass of one segment is embed, think, last_update, readout. x, z: [B, S, D].
  void embed(int64_t batch, const Tensor& tokens, const Tensor& puzzle_rows, const Tensor& x) const;
  /// All cycles but the last L and the last H update; never carries a gradient.
  void think(int64_t batch, const States& z, const Tensor& x) const;
  /// The last L and the last H update; with a tape, what the one-step gradient goes through.
  void last_update(int64_t batch, const States& z, const Tensor& x, OneStepTape* tape) const;
  /// logits [B, T, V] (may be empty), q [B, 2].
  void readout(int64_t batch, const Tensor& z_h, const Tensor& logits, const Tensor& q) const;

  /// One-step gradient: readout, H module, L module, input embedding. All of `grads` is overwritten.
  /// grad: scratch [B, S, D]; grad_puzzle_rows: [B, E], empty if E == 0
  void backward(int64_t batch, const Tensor& tokens, const Tensor& z_h, const Tensor& grad_logits, const Tensor& grad_q,
                const OneStepTape& tape, const Tensor& grad, const Weights& grads,
                const Tensor& grad_puzzle_rows) const;

 private:
  void update_l(int64_t batch, const States& z, const Tensor& x, OneStepTape* tape) const;
  void update_h(int64_t batch, const States& z, OneStepTape* tape) const;
  void fill(const Tensor& tensor, double std, uint64_t seed, uint32_t part) const;

  ModelConfig config_;
  Shapes shapes_;
  BlockParams block_;
  std::shared_ptr<Backend> backend_;
  Weights weights_;
  Tensor puzzle_table_, init_h_, init_l_;
};

}  // namespace hrm
