#pragma once
// Linear layers with weights and activations in 8 bits (W8A8): a row is held as scale code, codes in -127..127,
// scale = max |x| / 127, ties to even; a weight by its rows, the output channels. Sums of codes are exact integers.

#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

namespace hrm::reference {

inline constexpr const char* kNoInt8Training =
    "[train] expected a model of precision fp32 or fp64, got int8, which has no backward; load the checkpoint with "
    "fp32";

/// Returns the scale; NaN for a row with a value that is not finite.   x: [width]; codes: [width]
template <typename T>
T quantise_row(int64_t width, const T* x, int32_t* codes) {
  T magnitude = 0;
  for (int64_t i = 0; i < width; ++i) magnitude = std::fabs(x[i]) <= magnitude ? magnitude : std::fabs(x[i]);
  bool finite = true;
  for (int64_t i = 0; i < width; ++i) finite = finite && std::isfinite(x[i]);
  const bool usable = finite && magnitude >= T(1e-30f);  // the inverse of much less would overflow
  const T inverse = usable ? T(127) / magnitude : T(0);
  for (int64_t i = 0; i < width; ++i) codes[i] = usable ? static_cast<int32_t>(std::nearbyint(x[i] * inverse)) : 0;
  return finite ? magnitude / T(127) : std::numeric_limits<T>::quiet_NaN();
}

/// y <- x W^T of the quantised x and W.   x: [rows, in]; weight: [out, in]; y: [rows, out]
template <typename T>
void quantised_linear_forward(int64_t rows, int64_t in, int64_t out, const T* x, const T* weight, T* y) {
  std::vector<int32_t> codes(static_cast<size_t>(in)), weight_codes(static_cast<size_t>(out * in));
  std::vector<T> weight_scales(static_cast<size_t>(out));
  for (int64_t o = 0; o < out; ++o) weight_scales[o] = quantise_row(in, weight + o * in, &weight_codes[o * in]);
  for (int64_t r = 0; r < rows; ++r) {
    const T scale = quantise_row(in, x + r * in, codes.data());
    for (int64_t o = 0; o < out; ++o) {
      const int32_t* row = &weight_codes[o * in];
      int32_t sum = 0;
      for (int64_t i = 0; i < in; ++i) sum += codes[i] * row[i];
      y[r * out + o] = static_cast<T>(sum) * weight_scales[o] * scale;
    }
  }
}

}  // namespace hrm::reference
