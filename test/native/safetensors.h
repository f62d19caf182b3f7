#pragma once
// A reader for the golden files: little-endian u64 header length, JSON header, tensor bytes.

#include <map>
#include <string>
#include <vector>

namespace hrm::optable {

struct GoldenTensor {
  std::string dtype;  // "F32", "F64" or "I32"
  std::vector<int64_t> shape;
  std::vector<double> values;  // row-major
};

/// Throws hrm::Error ERR_HRM_CORRUPT or ERR_HRM_IO.
std::map<std::string, GoldenTensor> read_safetensors(const std::string& path);

}  // namespace hrm::optable
