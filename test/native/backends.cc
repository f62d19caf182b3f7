#include "test/native/backends.h"

#include "core/error.h"
#include "cpu/reference/reference_backend.h"

namespace hrm::optable {

std::unique_ptr<Backend> make_backend(const std::string& name, int threads) {
  (void)threads;
  if (name == "reference-f32") return std::make_unique<ReferenceBackend<float>>();
  if (name == "reference-f64") return std::make_unique<ReferenceBackend<double>>();
  throw Error("ERR_HRM_ARGUMENT",
              "[optable] expected --backend reference-f32 or reference-f64, got " + name + "; name one of these");
}

}  // namespace hrm::optable
