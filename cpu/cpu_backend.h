#pragma once
// The CPU backends by name.

#include <memory>
#include <string>
#include <vector>

#include "core/backend.h"

namespace hrm {

struct CpuOptions {
  Precision precision = Precision::fp32;  // fp64: always by the reference
  std::string isa;                        // reference or one of CpuInfo; empty: the best that this CPU has
  int threads = 0;                        // 0: as many as this process may use
};

/// Throws ERR_HRM_NO_DEVICE for an instruction set that this CPU lacks, ERR_HRM_ARGUMENT for an unknown one.
std::unique_ptr<Backend> make_cpu_backend(const CpuOptions& options);

struct CpuInfo {
  std::string isa;                // the best
  std::vector<std::string> isas;  // all that run here, best first
  int threads;                    // what `threads = 0` means here
};

CpuInfo cpu_info();

/// Fused multiply-adds of `threads` threads (0: all) in GFLOP/s: the sum over threads of each one's best millisecond
/// within `milliseconds`. The reference's ceiling is that of the portable kernels.
double fma_gflops(const std::string& isa, int threads, double milliseconds);

}  // namespace hrm
