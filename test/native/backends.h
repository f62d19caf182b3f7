#pragma once
// The one place of the op table that makes backends.

#include <memory>
#include <string>
#include <vector>

#include "core/backend.h"

namespace hrm::optable {

/// name: "reference-f32", "reference-f64" or "simd:ISA"; with linear layers in int8 "int8-reference-f32",
/// "int8-reference-f64" or "int8:ISA"; on a GPU, or what stands in for one, "cuda:f32" or "cuda:bf16"; threads: 0 for
/// all cores.
std::unique_ptr<Backend> make_backend(const std::string& name, int threads);

/// Whether the backend of this name is that of a GPU, which takes hidden sizes in steps of 32.
bool is_cuda(const std::string& name);

/// Whether the backend of this name has its linear layers in int8; it then has no backward.
bool is_int8(const std::string& name);

/// The names above that this machine can run.
std::vector<std::string> backend_names();

}  // namespace hrm::optable
