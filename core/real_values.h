#pragma once
#include <vector>

#include "core/backend.h"

namespace hrm {

/// The first `count` values of a tensor of the backend's real() type.
std::vector<double> download_real(Backend& backend, const Tensor& tensor, size_t count);

/// Copies values, rounded to the tensor's type, to element `offset` on.
void upload_real(Backend& backend, const std::vector<double>& values, const Tensor& tensor, size_t offset);

}  // namespace hrm
