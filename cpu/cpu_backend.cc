#include "cpu/cpu_backend.h"

#include <algorithm>
#include <chrono>
#include <numeric>

#include "core/error.h"
#include "cpu/reference/reference_backend.h"
#include "cpu/simd/kernels.h"
#include "cpu/simd/simd_backend.h"
#include "cpu/thread_pool.h"

namespace hrm {
namespace {

constexpr const char* kReference = "reference";

/// The kernel sets that this CPU runs, best first.
std::vector<const simd::Kernels*> kernels_here() {
  std::vector<const simd::Kernels*> sets;
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl"))
    sets.push_back(&simd::kAvx512Kernels);
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) sets.push_back(&simd::kAvx2Kernels);
#endif
  sets.push_back(&simd::kPortableKernels);
  return sets;
}

/// Also for the reference, which has none of its own: the portable ones.
const simd::Kernels& kernels_of(const std::string& isa) {
  for (const simd::Kernels* kernels : kernels_here())
    if (isa == kernels->isa) return *kernels;
  return simd::kPortableKernels;
}

std::string joined(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

/// The instruction set to use for what the caller asked for.
std::string checked_isa(const std::string& asked) {
  const std::vector<std::string> known = {"avx512", "avx2", "portable", kReference};
  const CpuInfo info = cpu_info();
  const std::string isa = asked.empty() ? info.isa : asked;
  if (std::ranges::find(known, isa) == known.end())
    throw Error("ERR_HRM_ARGUMENT", "[cpu] expected an instruction set among " + joined(known) + ", got '" + isa +
                                        "'; correct the name or leave it out");
  if (std::ranges::find(info.isas, isa) == info.isas.end())
    throw Error("ERR_HRM_NO_DEVICE", "[cpu] expected a CPU with " + isa + ", got one with " + joined(info.isas) +
                                         "; choose one of these or leave the choice out");
  return isa;
}

}  // namespace

CpuInfo cpu_info() {
  CpuInfo info;
  for (const simd::Kernels* kernels : kernels_here()) info.isas.emplace_back(kernels->isa);
  info.isas.emplace_back(kReference);
  info.isa = info.isas.front();
  info.threads = available_threads();
  return info;
}

std::unique_ptr<Backend> make_cpu_backend(const CpuOptions& options) {
  const std::string isa = checked_isa(options.isa);
  if (options.f64) return std::make_unique<ReferenceBackend<double>>();
  if (isa == kReference) return std::make_unique<ReferenceBackend<float>>();
  const int threads = options.threads > 0 ? options.threads : available_threads();
  return std::make_unique<simd::SimdBackend>(kernels_of(isa), threads);
}

double fma_gflops(const std::string& isa, int threads, double milliseconds) {
  using Clock = std::chrono::steady_clock;
  const simd::Kernels& kernels = kernels_of(checked_isa(isa));
  if (threads <= 0) threads = available_threads();
  const std::chrono::duration<double, std::milli> total(milliseconds), window(1);
  std::vector<double> best(static_cast<size_t>(threads));
  ThreadPool::shared().run(threads, threads, [&](int64_t thread, int) {
    double& rate = best[static_cast<size_t>(thread)];
    const auto begin = Clock::now();
    do {
      const auto start = Clock::now();
      std::chrono::duration<double> elapsed{};
      double operations = 0;
      do {
        operations += kernels.multiply_add_peak(1000);
        elapsed = Clock::now() - start;
      } while (elapsed < window);
      rate = std::max(rate, operations / elapsed.count() * 1e-9);
    } while (Clock::now() - begin < total);
  });
  return std::accumulate(best.begin(), best.end(), 0.0);
}

}  // namespace hrm
