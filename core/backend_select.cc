#include "core/backend_select.h"

#include "core/error.h"
#include "cpu/cpu_backend.h"

namespace hrm {

std::unique_ptr<Backend> select_backend(const BackendOptions& options) {
  if (options.device != "cpu" && options.device != "auto")
    throw Error("ERR_HRM_NO_DEVICE", "[device] expected a device of this build (cpu), got " + options.device +
                                         "; use device: 'cpu' or 'auto'");
  return make_cpu_backend({.precision = options.precision, .isa = options.isa, .threads = options.threads});
}

CpuFeatures cpu_features() {
  const CpuInfo info = cpu_info();
  return {.isa = info.isa, .isas = info.isas, .threads = info.threads};
}

double measure_peak_gflops(const std::string& isa, int threads, double milliseconds) {
  return fma_gflops(isa, threads, milliseconds);
}

}  // namespace hrm
