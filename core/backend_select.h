#pragma once
#include <memory>
#include <string>
#include <vector>

#include "core/backend.h"

namespace hrm {

struct BackendOptions {
  std::string device = "cpu";  // cpu, cuda, cuda:N, or auto: a GPU if there is one
  int threads = 0;             // 0: as many cores as the process may use
  Precision precision = Precision::fp32;
  std::string isa;  // "": the best the CPU has
};

/// Throws ERR_HRM_NO_DEVICE where the device or instruction set is absent.
std::unique_ptr<Backend> select_backend(const BackendOptions& options);

struct CpuFeatures {
  std::string isa;                // the best
  std::vector<std::string> isas;  // all usable ones
  int threads;
};

CpuFeatures cpu_features();

struct GpuFeatures {
  struct Device {
    std::string name;
    std::string capability;  // "9.0"
    int multiprocessors;
    int64_t memory_bytes;
  };
  std::vector<Device> devices;  // that this build can use, by index
  std::string reason;           // why there is none, else ""
  bool unusable = false;        // whether one, or a driver, is there all the same
};

GpuFeatures gpu_features();

/// Multiply-add throughput of a GPU, "cuda" or "cuda:N", in GFLOP/s, measured over `milliseconds`.
double measure_gpu_peak_gflops(const std::string& device, Precision precision, double milliseconds);

/// Fused multiply-add throughput of this CPU in GFLOP/s, measured over `milliseconds`.
double measure_peak_gflops(const std::string& isa, int threads, double milliseconds);

}  // namespace hrm
