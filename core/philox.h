#pragma once
#include <array>
#include <cstdint>

namespace hrm {

/// Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011): four random words as a pure
/// function of key and counter, so that any draw can be repeated from (seed, position) alone.
inline std::array<uint32_t, 4> philox(std::array<uint32_t, 2> key, std::array<uint32_t, 4> counter) {
  constexpr uint32_t kMultiply0 = 0xD2511F53, kMultiply1 = 0xCD9E8D57;
  constexpr uint32_t kWeyl0 = 0x9E3779B9, kWeyl1 = 0xBB67AE85;
  constexpr int kRounds = 10;
  for (int round = 0; round < kRounds; ++round) {
    const uint64_t product0 = uint64_t{kMultiply0} * counter[0];
    const uint64_t product1 = uint64_t{kMultiply1} * counter[2];
    counter = {static_cast<uint32_t>(product1 >> 32) ^ counter[1] ^ key[0], static_cast<uint32_t>(product1),
               static_cast<uint32_t>(product0 >> 32) ^ counter[3] ^ key[1], static_cast<uint32_t>(product0)};
    key = {key[0] + kWeyl0, key[1] + kWeyl1};
  }
  return counter;
}

/// What a stream of draws is for; the last counter word, so that streams of one seed never meet.
enum class PhiloxStream : uint32_t { initialisation = 1, exploration = 2, start_noise = 3 };

/// Words for draw `index` of sub-stream `part` (a parameter, a training step).
inline std::array<uint32_t, 4> philox_draw(uint64_t seed, PhiloxStream stream, uint32_t part, uint64_t index) {
  return philox(
      {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)},
      {static_cast<uint32_t>(index), static_cast<uint32_t>(index >> 32), part, static_cast<uint32_t>(stream)});
}

/// Uniform in [0, 1) with 53 random bits.
inline double uniform_double(uint32_t high, uint32_t low) {
  return static_cast<double>((uint64_t{high} << 32 | low) >> 11) * 0x1p-53;
}

/// Uniform in [0, 1) with 24 random bits.
inline float uniform_float(uint32_t word) { return static_cast<float>(word >> 8) * 0x1p-24f; }

}  // namespace hrm
