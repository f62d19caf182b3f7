#pragma once
#include <memory>
#include <string>
#include <vector>

#include "core/backend.h"

namespace hrm {

struct CudaInfo {
  struct Device {
    std::string name;        // "NVIDIA H200"
    std::string capability;  // "9.0"
    int multiprocessors;
    size_t memory;  // bytes
  };
  std::vector<Device> devices;
  std::string reason;     // why there is none, else ""
  bool unusable = false;  // whether one, or a driver, is there all the same
};

/// The GPUs that this build can use. Never throws for want of a driver or a device.
CudaInfo cuda_info();

/// Multiply-add throughput of the GPU of that index in bf16 or fp32, in GFLOP/s, measured over `milliseconds`.
double cuda_peak_gflops(int index, Precision precision, double milliseconds);

/// A backend on the GPU of that index, in bf16 or fp32. Throws ERR_HRM_NO_DEVICE, naming the reason.
std::unique_ptr<Backend> make_cuda_backend(int index, Precision precision);

}  // namespace hrm
