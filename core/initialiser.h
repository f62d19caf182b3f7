#pragma once
#include <cstdint>
#include <span>

namespace hrm {

/// Variance-compensated truncated normal: a normal cut at two of its own deviations, widened so that the deviation
/// after the cut is `std`. Source: official models/common.py trunc_normal_init_ (JAX's initialiser).
class TruncatedNormal {
 public:
  explicit TruncatedNormal(double std);
  /// Maps u, uniform in [erf(-sqrt 2), erf(sqrt 2)], to the distribution.
  double from_erf(double u) const;
  /// Fills values[i] from draw i of sub-stream `part` of the seed's initialisation stream.
  void fill(std::span<double> values, uint64_t seed, uint32_t part) const;

 private:
  double underlying_std_;
};

/// Maps a uniform word to the standard normal distribution; at most 6.4 in size.
double normal_from_word(uint32_t word);

}  // namespace hrm
