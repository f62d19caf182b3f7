#include "cpu/reference/quantised_backend.h"

#include "core/error.h"
#include "cpu/reference/quantised.h"

namespace hrm {

template <typename T>
std::string QuantisedReferenceBackend<T>::describe() const {
  return ReferenceBackend<T>::describe() + " int8";
}

template <typename T>
std::unique_ptr<BlockTape> QuantisedReferenceBackend<T>::make_tape(const BlockParams&, int64_t) {
  throw Error("ERR_HRM_CONFIG", reference::kNoInt8Training);
}

template <typename T>
reference::Linear<T> QuantisedReferenceBackend<T>::block_linear() const {
  return reference::quantised_linear_forward<T>;
}

template class QuantisedReferenceBackend<float>;
template class QuantisedReferenceBackend<double>;

}  // namespace hrm
