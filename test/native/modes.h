#pragma once
// The modes of the executable.

#include "test/native/report.h"

namespace hrm::optable {

/// Backend under test against the references, row by row and thread by thread.
void run_test(const Options& options, Report& report);
/// The int8 kernels against plain loops, bit for bit, and int8 blocks against exact ones.
void run_int8(const Options& options, Report& report);
/// Every backward op against finite differences of its forward, in double.
void run_grad(const Options& options, Report& report);
/// The whole model's one-step gradient, as the trainer computes it, against finite differences in double.
void run_model_grad(const Options& options, Report& report);
/// Time of every op at real sizes, backend against reference.
void run_perf(const Options& options, Report& report);
/// The references and the backend against what PyTorch computed (ops.safetensors).
void run_golden(const Options& options, Report& report);

}  // namespace hrm::optable
