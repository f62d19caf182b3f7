#pragma once
// Inference with the linear layers of the blocks in int8: weights quantised per output channel, activations per row as
// they come. Norms, softmax, attention, residuals, embedding and heads are those of SimdBackend.

#include <memory>
#include <string>

#include "cpu/simd/int8_kernels.h"
#include "cpu/simd/simd_backend.h"

namespace hrm::simd {

class Int8Backend : public SimdBackend {
 public:
  Int8Backend(const Kernels& kernels, const Int8Kernels& int8_kernels, int threads)
      : SimdBackend(kernels, threads), int8_kernels_(int8_kernels), panels_(bytes_, threads) {}

  std::string describe() const override;
  /// Throws ERR_HRM_CONFIG: there is no backward in int8.
  std::unique_ptr<BlockTape> make_tape(const BlockParams& params, int64_t batch) override;
  void block_forward(const BlockParams& params, int64_t batch, const BlockWeights& weights, const Tensor& x,
                     BlockTape* tape) override;

 private:
  friend struct Int8ForwardStages;

  const float* panels_of(const Tensor& weight, int64_t out, int64_t in);
  const float* gate_up_panels_of(const Tensor& weight, int64_t inner, int64_t in);

  const Int8Kernels& int8_kernels_;
  PanelCache panels_;
};

}  // namespace hrm::simd
