#include "core/backend_select.h"

#include "core/error.h"
#include "cpu/cpu_backend.h"
#include "cuda/cuda_backend.h"

namespace hrm {

namespace {

/// The index in "cuda" or "cuda:N", or -1 for another text.
int gpu_index(const std::string& device) {
  const std::string cuda = "cuda";
  if (device == cuda) return 0;
  const std::string digits = device.starts_with(cuda + ":") ? device.substr(cuda.size() + 1) : "";
  const bool number =
      !digits.empty() && digits.size() <= 3 && digits.find_first_not_of("0123456789") == std::string::npos;
  return number ? std::stoi(digits) : -1;
}

}  // namespace

std::unique_ptr<Backend> select_backend(const BackendOptions& options) {
  const bool gpu_can = options.precision == Precision::bf16 || options.precision == Precision::fp32;
  if (options.device == "auto" && gpu_can && !cuda_info().devices.empty())
    return make_cuda_backend(0, options.precision);
  if (const int index = gpu_index(options.device); index >= 0) return make_cuda_backend(index, options.precision);
  if (options.device != "cpu" && options.device != "auto")
    throw Error("ERR_HRM_NO_DEVICE",
                "[device] expected auto, cpu, cuda or cuda:N, got " + options.device + "; use one of these");
  if (options.precision == Precision::bf16)
    throw Error("ERR_HRM_NO_DEVICE", "[device] expected a GPU for precision bf16, got the CPU; use fp32, int8 or fp64");
  return make_cpu_backend({.precision = options.precision, .isa = options.isa, .threads = options.threads});
}

GpuFeatures gpu_features() {
  const CudaInfo info = cuda_info();
  GpuFeatures features{.devices = {}, .reason = info.reason, .unusable = info.unusable};
  for (const CudaInfo::Device& device : info.devices)
    features.devices.push_back(
        {device.name, device.capability, device.multiprocessors, static_cast<int64_t>(device.memory)});
  return features;
}

CpuFeatures cpu_features() {
  const CpuInfo info = cpu_info();
  return {.isa = info.isa, .isas = info.isas, .threads = info.threads};
}

double measure_gpu_peak_gflops(const std::string& device, Precision precision, double milliseconds) {
  const int index = gpu_index(device);
  if (index < 0) throw Error("ERR_HRM_ARGUMENT", "[peak] expected cuda or cuda:N, got " + device + "; name a GPU");
  return cuda_peak_gflops(index, precision, milliseconds);
}

double measure_peak_gflops(const std::string& isa, int threads, double milliseconds) {
  return fma_gflops(isa, threads, milliseconds);
}

}  // namespace hrm
