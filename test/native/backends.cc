#include "test/native/backends.h"

#include "core/error.h"
#include "cpu/cpu_backend.h"
#include "cpu/reference/reference_backend.h"

namespace hrm::optable {

std::unique_ptr<Backend> make_backend(const std::string& name, int threads) {
  if (name == "reference-f32") return std::make_unique<ReferenceBackend<float>>();
  if (name == "reference-f64") return std::make_unique<ReferenceBackend<double>>();
  const std::string prefix = "simd:";
  if (name.rfind(prefix, 0) == 0)
    return make_cpu_backend({.f64 = false, .isa = name.substr(prefix.size()), .threads = threads});
  throw Error("ERR_HRM_ARGUMENT", "[optable] expected --backend reference-f32, reference-f64 or simd:ISA, got " + name +
                                      "; name one of these");
}

std::vector<std::string> backend_names() {
  std::vector<std::string> names = {"reference-f32", "reference-f64"};
  for (const std::string& isa : cpu_info().isas)
    if (isa != "reference") names.push_back("simd:" + isa);
  return names;
}

}  // namespace hrm::optable
