// In place of the backend in builds without CUDA code.
#include "core/error.h"
#include "cuda/cuda_backend.h"

namespace hrm {

namespace {
constexpr const char* kReason = "this build has no CUDA code";
}

CudaInfo cuda_info() { return {.devices = {}, .reason = kReason, .unusable = false}; }

namespace {

[[noreturn]] void no_device(int index) {
  throw Error("ERR_HRM_NO_DEVICE", "[device] expected cuda:" + std::to_string(index) + ", but " + kReason +
                                       "; compile one with a CUDA toolkit >= 12.4 installed, or use device 'cpu'");
}

}  // namespace

double cuda_peak_gflops(int index, Precision, double) { no_device(index); }

std::unique_ptr<Backend> make_cuda_backend(int index, Precision) { no_device(index); }

}  // namespace hrm
