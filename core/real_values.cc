#include "core/real_values.h"

namespace hrm {

std::vector<double> download_real(Backend& backend, const Tensor& tensor, size_t count) {
  if (tensor->dtype == DType::f64) {
    std::vector<double> values(count);
    backend.download(tensor, values.data(), 0, count);
    return values;
  }
  std::vector<float> values(count);
  backend.download(tensor, values.data(), 0, count);
  return {values.begin(), values.end()};
}

void upload_real(Backend& backend, const std::vector<double>& values, const Tensor& tensor, size_t offset) {
  if (tensor->dtype == DType::f64) {
    backend.upload(tensor, values.data(), offset, values.size());
    return;
  }
  const std::vector<float> narrow(values.begin(), values.end());
  backend.upload(tensor, narrow.data(), offset, narrow.size());
}

}  // namespace hrm
