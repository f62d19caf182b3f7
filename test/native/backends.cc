#include "test/native/backends.h"

#include "core/error.h"
#include "cpu/cpu_backend.h"
#include "cpu/reference/quantised_backend.h"
#include "cuda/cuda_backend.h"

namespace hrm::optable {

std::unique_ptr<Backend> make_backend(const std::string& name, int threads) {
  if (name == "reference-f32") return std::make_unique<ReferenceBackend<float>>();
  if (name == "reference-f64") return std::make_unique<ReferenceBackend<double>>();
  if (name == "int8-reference-f32") return std::make_unique<QuantisedReferenceBackend<float>>();
  if (name == "int8-reference-f64") return std::make_unique<QuantisedReferenceBackend<double>>();
  const std::string simd = "simd:", int8 = "int8:";
  if (name.starts_with(simd))
    return make_cpu_backend({.precision = Precision::fp32, .isa = name.substr(simd.size()), .threads = threads});
  if (name.starts_with(int8))
    return make_cpu_backend({.precision = Precision::int8, .isa = name.substr(int8.size()), .threads = threads});
  if (name == "cuda:f32") return make_cuda_backend(0, Precision::fp32);
  if (name == "cuda:bf16") return make_cuda_backend(0, Precision::bf16);
  throw Error("ERR_HRM_ARGUMENT",
              "[optable] expected --backend reference-f32, reference-f64, simd:ISA, int8-reference-f32, "
              "int8-reference-f64, int8:ISA, cuda:f32 or cuda:bf16, got " +
                  name + "; name one of these");
}

bool is_cuda(const std::string& name) { return name.starts_with("cuda"); }

bool is_int8(const std::string& name) { return name.starts_with("int8"); }

std::vector<std::string> backend_names() {
  std::vector<std::string> names = {"reference-f32", "reference-f64"};
  for (const std::string& isa : cpu_info().isas)
    if (isa != "reference") names.push_back("simd:" + isa);
  names.emplace_back("int8-reference-f32");
  for (const std::string& isa : cpu_info().isas)
    if (isa != "reference") names.push_back("int8:" + isa);
  if (!cuda_info().devices.empty()) names.insert(names.end(), {"cuda:f32", "cuda:bf16"});
  return names;
}

}  // namespace hrm::optable
