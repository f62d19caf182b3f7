#include "core/initialiser.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>

#include "core/philox.h"

namespace hrm {

namespace {

constexpr double kCut = 2.0;  // in underlying standard deviations

double polynomial(const std::array<double, 8>& c, double x) {
  double sum = c[7];
  for (int i = 6; i >= 0; --i) sum = sum * x + c[i];
  return sum;
}

/// Normal quantile of p = 1/2 + q for 1e-11 < p < 1 - 1e-11: Wichura's algorithm AS 241 (PPND16), relative error about
/// 1e-16. The far tail is never reached here and left out.
double normal_quantile(double q) {
  static constexpr std::array<double, 8> kCentreTop = {
      3.3871328727963666080e0,  1.3314166789178437745e+2, 1.9715909503065514427e+3, 1.3731693765509461125e+4,
      4.5921953931549871457e+4, 6.7265770927008700853e+4, 3.3430575583588128105e+4, 2.5090809287301226727e+3};
  static constexpr std::array<double, 8> kCentreBottom = {1.0,
                                                          4.2313330701600911252e+1,
                                                          6.8718700749205790830e+2,
                                                          5.3941960214247511077e+3,
                                                          2.1213794301586595867e+4,
                                                          3.9307895800092710610e+4,
                                                          2.8729085735721942674e+4,
                                                          5.2264952788528545610e+3};
  static constexpr std::array<double, 8> kTailTop = {
      1.42343711074968357734e0, 4.63033784615654529590e0,  5.76949722146069140550e0,  3.64784832476320460504e0,
      1.27045825245236838258e0, 2.41780725177450611770e-1, 2.27238449892691845833e-2, 7.74545014278341407640e-4};
  static constexpr std::array<double, 8> kTailBottom = {1.0,
                                                        2.05319162663775882187e0,
                                                        1.67638483018380384940e0,
                                                        6.89767334985100004550e-1,
                                                        1.48103976427480074590e-1,
                                                        1.51986665636164571966e-2,
                                                        5.47593808499534494600e-4,
                                                        1.05075007164441684324e-9};
  constexpr double kCentre = 0.425, kCentreConstant = 0.180625, kTailConstant = 1.6;
  if (std::abs(q) <= kCentre) {
    const double r = kCentreConstant - q * q;
    return q * polynomial(kCentreTop, r) / polynomial(kCentreBottom, r);
  }
  const double r = std::sqrt(-std::log(0.5 - std::abs(q))) - kTailConstant;
  return std::copysign(polynomial(kTailTop, r) / polynomial(kTailBottom, r), q);
}

}  // namespace

double normal_from_word(uint32_t word) { return normal_quantile((word + 0.5) * 0x1p-32 - 0.5); }

TruncatedNormal::TruncatedNormal(double std) {
  const double pdf = std::exp(-0.5 * kCut * kCut) / std::sqrt(2 * std::numbers::pi);
  const double mass = std::erf(kCut / std::numbers::sqrt2);
  underlying_std_ = std / std::sqrt(1 - 2 * kCut * pdf / mass);
}

double TruncatedNormal::from_erf(double u) const {
  return std::clamp(normal_quantile(u / 2), -kCut, kCut) * underlying_std_;
}

void TruncatedNormal::fill(std::span<double> values, uint64_t seed, uint32_t part) const {
  const double bound = std::erf(kCut / std::numbers::sqrt2);
  for (size_t i = 0; i < values.size(); i += 2) {
    const auto words = philox_draw(seed, PhiloxStream::initialisation, part, i / 2);
    values[i] = from_erf(bound * (2 * uniform_double(words[0], words[1]) - 1));
    if (i + 1 < values.size()) values[i + 1] = from_erf(bound * (2 * uniform_double(words[2], words[3]) - 1));
  }
}

}  // namespace hrm
