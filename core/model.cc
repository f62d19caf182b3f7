#include "core/model.h"

namespace hrm {

Model::Model(const ModelConfig& config, std::shared_ptr<Backend> backend)
    : config_(config), shapes_(config.shapes()), block_(config.block()), backend_(std::move(backend)) {
  weights_ = allocate_weights();
  const DType real = backend_->real();
  if (shapes_.E > 0)
    puzzle_table_ = backend_->allocate(real, static_cast<size_t>(config_.num_puzzle_identifiers * shapes_.E));
  init_h_ = backend_->allocate(real, static_cast<size_t>(shapes_.D));
  init_l_ = backend_->allocate(real, static_cast<size_t>(shapes_.D));
}

// --- forward: paper section 2, figure 4 ------------------------------------------------------------------------

void Model::embed(int64_t batch, const Tensor& tokens, const Tensor& puzzle_rows, const Tensor& x) const {
  backend_->embed_forward(shapes_, batch, weights_.embed, tokens, puzzle_rows, x);
}

void Model::think(int64_t batch, const States& z, const Tensor& x) const {
  for (int64_t h = 0; h < config_.h_cycles; ++h) {
    const bool last_cycle = h == config_.h_cycles - 1;
    for (int64_t l = 0; l < config_.l_cycles - last_cycle; ++l) update_l(batch, z, x, nullptr);
    if (!last_cycle) update_h(batch, z, nullptr);
  }
}

void Model::last_update(int64_t batch, const States& z, const Tensor& x, OneStepTape* tape) const {
  update_l(batch, z, x, tape);
  update_h(batch, z, tape);
}

// z_l <- L(z_l + (z_h + x))
void Model::update_l(int64_t batch, const States& z, const Tensor& x, OneStepTape* tape) const {
  backend_->inject(shapes_, batch, z.l, z.h, x);
  for (size_t i = 0; i < weights_.l_level.size(); ++i)
    backend_->block_forward(block_, batch, weights_.l_level[i], z.l, tape ? tape->l[i].get() : nullptr);
}

// z_h <- H(z_h + z_l)
void Model::update_h(int64_t batch, const States& z, OneStepTape* tape) const {
  backend_->inject(shapes_, batch, z.h, z.l, {});
  for (size_t i = 0; i < weights_.h_level.size(); ++i)
    backend_->block_forward(block_, batch, weights_.h_level[i], z.h, tape ? tape->h[i].get() : nullptr);
}

void Model::readout(int64_t batch, const Tensor& z_h, const Tensor& logits, const Tensor& q) const {
  backend_->readout_forward(shapes_, batch, weights_.head, z_h, logits, q);
}

// --- one-step gradient: paper section 2, "approximate gradient" ----------------------------------------------------

void Model::backward(int64_t batch, const Tensor& tokens, const Tensor& z_h, const Tensor& grad_logits,
                     const Tensor& grad_q, const OneStepTape& tape, const Tensor& grad, const Weights& grads,
                     const Tensor& grad_puzzle_rows) const {
  backend_->readout_backward(shapes_, batch, weights_.head, z_h, grad_logits, grad_q, grads.head, grad);
  for (size_t i = weights_.h_level.size(); i-- > 0;)
    backend_->block_backward(block_, batch, weights_.h_level[i], *tape.h[i], grad, grads.h_level[i]);
  // grad of H's input z_h + z_l is that of z_l, the output of L; z_h before it is a constant.
  for (size_t i = weights_.l_level.size(); i-- > 0;)
    backend_->block_backward(block_, batch, weights_.l_level[i], *tape.l[i], grad, grads.l_level[i]);
  // grad of L's input z_l + (z_h + x) is that of x.
  backend_->embed_backward(shapes_, batch, tokens, grad, grads.embed, grad_puzzle_rows);
}

States Model::allocate_states(int64_t batch) const {
  return {backend_->allocate_activations(shapes_, batch), backend_->allocate_activations(shapes_, batch)};
}

OneStepTape Model::make_tape(int64_t batch) const {
  OneStepTape tape;
  for (size_t i = 0; i < weights_.h_level.size(); ++i) tape.h.push_back(backend_->make_tape(block_, batch));
  for (size_t i = 0; i < weights_.l_level.size(); ++i) tape.l.push_back(backend_->make_tape(block_, batch));
  return tape;
}

}  // namespace hrm
