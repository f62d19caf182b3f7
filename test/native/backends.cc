#include "test/native/backends.h"

#include "core/error.h"
#include "cpu/reference/reference_backend.h"
#if __has_include("cpu/cpu_backend.h")
#include "cpu/cpu_backend.h"
#define HRM_OPTABLE_SIMD 1
#endif

namespace hrm::optable {

std::unique_ptr<Backend> make_backend(const std::string& name, [[maybe_unused]] int threads) {
  if (name == "reference-f32") return std::make_unique<ReferenceBackend<float>>();
  if (name == "reference-f64") return std::make_unique<ReferenceBackend<double>>();
#ifdef HRM_OPTABLE_SIMD
  const std::string prefix = "simd:";
  if (name.rfind(prefix, 0) == 0)
    return make_cpu_backend({.f64 = false, .isa = name.substr(prefix.size()), .threads = threads});
#endif
  throw Error("ERR_HRM_ARGUMENT", "[optable] expected --backend reference-f32, reference-f64 or simd:ISA, got " + name +
                                      "; name one of these");
}

std::vector<std::string> backend_names() {
  std::vector<std::string> names = {"reference-f32", "reference-f64"};
#ifdef HRM_OPTABLE_SIMD
  for (const std::string& isa : cpu_info().isas)
    if (isa != "reference") names.push_back("simd:" + isa);
#endif
  return names;
}

}  // namespace hrm::optable
