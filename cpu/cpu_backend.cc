#include "cpu/cpu_backend.h"

#include <algorithm>
#include <chrono>
#include <numeric>

#include "core/error.h"
#include "cpu/reference/quantised_backend.h"
#include "cpu/simd/int8_backend.h"
#include "cpu/simd/simd_backend.h"
#include "cpu/thread_pool.h"

namespace hrm {
namespace {

constexpr const char* kReference = "reference";

/// An instruction set by the name that users give it, and what runs best on it.
struct KernelSet {
  const char* isa;
  const simd::Kernels& kernels;
  const simd::Int8Kernels& int8_kernels;
};

constexpr KernelSet kPortable = {"portable", simd::kPortableKernels, simd::kPortableInt8Kernels};

/// The kernel sets that this CPU runs, best first.
std::vector<KernelSet> kernels_here() {
  std::vector<KernelSet> sets;
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl")) {
    if (__builtin_cpu_supports("avx512vnni"))
      sets.push_back({"avx512vnni", simd::kAvx512Kernels, simd::kAvx512VnniInt8Kernels});
    sets.push_back({"avx512", simd::kAvx512Kernels, simd::kAvx2Int8Kernels});
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
    sets.push_back({"avx2", simd::kAvx2Kernels, simd::kAvx2Int8Kernels});
#elif defined(__aarch64__)
  sets.push_back({"neon", simd::kNeonKernels, simd::kPortableInt8Kernels});
#endif
  sets.push_back(kPortable);
  return sets;
}

/// Also for the reference, which has none of its own: the portable ones.
KernelSet kernels_of(const std::string& isa) {
  for (const KernelSet& set : kernels_here())
    if (isa == set.isa) return set;
  return kPortable;
}

std::string joined(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

/// The instruction set to use for what the caller asked for.
std::string checked_isa(const std::string& asked) {
  const std::vector<std::string> known = {"avx512vnni", "avx512", "avx2", "neon", "portable", kReference};
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
  for (const KernelSet& set : kernels_here()) info.isas.emplace_back(set.isa);
  info.isas.emplace_back(kReference);
  info.isa = info.isas.front();
  info.threads = available_threads();
  return info;
}

std::unique_ptr<Backend> make_cpu_backend(const CpuOptions& options) {
  const std::string isa = checked_isa(options.isa);
  if (options.precision == Precision::fp64) return std::make_unique<ReferenceBackend<double>>();
  const bool int8 = options.precision == Precision::int8;
  if (isa == kReference && int8) return std::make_unique<QuantisedReferenceBackend<float>>();
  if (isa == kReference) return std::make_unique<ReferenceBackend<float>>();
  const int threads = options.threads > 0 ? options.threads : available_threads();
  const KernelSet set = kernels_of(isa);
  if (int8) return std::make_unique<simd::Int8Backend>(set.kernels, set.int8_kernels, threads);
  return std::make_unique<simd::SimdBackend>(set.kernels, threads);
}

double fma_gflops(const std::string& isa, int threads, double milliseconds) {
  using Clock = std::chrono::steady_clock;
  const simd::Kernels& kernels = kernels_of(checked_isa(isa)).kernels;
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
