#pragma once
#include <cstdint>

// Kernels draw too.
#ifdef __CUDACC__
#define HRM_ALSO_ON_DEVICE __host__ __device__
#else
#define HRM_ALSO_ON_DEVICE
#endif

namespace hrm {

/// Four random words.
struct PhiloxWords {
  uint32_t words[4];
  HRM_ALSO_ON_DEVICE uint32_t operator[](uint64_t i) const { return words[i]; }
};

/// Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011): four random words as a pure
/// function of key and counter, so that any draw can be repeated from (seed, position) alone.
HRM_ALSO_ON_DEVICE inline PhiloxWords philox(uint32_t key0, uint32_t key1, PhiloxWords counter) {
  constexpr uint32_t kMultiply0 = 0xD2511F53, kMultiply1 = 0xCD9E8D57;
  constexpr uint32_t kWeyl0 = 0x9E3779B9, kWeyl1 = 0xBB67AE85;
  constexpr int kRounds = 10;
  for (int round = 0; round < kRounds; ++round) {
    const uint64_t product0 = uint64_t{kMultiply0} * counter[0];
    const uint64_t product1 = uint64_t{kMultiply1} * counter[2];
    counter = {static_cast<uint32_t>(product1 >> 32) ^ counter[1] ^ key0, static_cast<uint32_t>(product1),
               static_cast<uint32_t>(product0 >> 32) ^ counter[3] ^ key1, static_cast<uint32_t>(product0)};
    key0 += kWeyl0;
    key1 += kWeyl1;
  }
  return counter;
}

/// What a stream of draws is for; the last counter word, so that streams of one seed never meet.
enum class PhiloxStream : uint32_t { initialisation = 1, exploration = 2, start_noise = 3 };

/// Words for draw `index` of sub-stream `part` (a parameter, a training step).
HRM_ALSO_ON_DEVICE inline PhiloxWords philox_draw(uint64_t seed, PhiloxStream stream, uint32_t part, uint64_t index) {
  return philox(
      static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32),
      {static_cast<uint32_t>(index), static_cast<uint32_t>(index >> 32), part, static_cast<uint32_t>(stream)});
}

/// Uniform in [0, 1) with 53 random bits.
inline double uniform_double(uint32_t high, uint32_t low) {
  return static_cast<double>((uint64_t{high} << 32 | low) >> 11) * 0x1p-53;
}

/// Uniform in [0, 1) with 24 random bits.
HRM_ALSO_ON_DEVICE inline float uniform_float(uint32_t word) { return static_cast<float>(word >> 8) * 0x1p-24f; }

}  // namespace hrm
