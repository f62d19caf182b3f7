#pragma once
// Int8 inference in plain loops: the reference with the linear layers of its blocks quantised.

#include "cpu/reference/reference_backend.h"

namespace hrm {

/// Has no backward.
template <typename T>
class QuantisedReferenceBackend : public ReferenceBackend<T> {
 public:
  std::string describe() const override;
  /// Throws ERR_HRM_CONFIG.
  std::unique_ptr<BlockTape> make_tape(const BlockParams& params, int64_t batch) override;

 protected:
  reference::Linear<T> block_linear() const override;
};

extern template class QuantisedReferenceBackend<float>;
extern template class QuantisedReferenceBackend<double>;

}  // namespace hrm
