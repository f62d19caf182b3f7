#include "cuda/host/warp.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <string>

namespace hrm::cuda::host {
namespace {

constexpr int kLanes = 32;

/// PTX ISA, ldmatrix: lane l holds elements 2 (l % 4) and 2 (l % 4) + 1 of row l / 4 of each 8x8 matrix; with .trans,
/// of its transpose.
void load_matrices(void* const (&arguments)[kLanes], bool transposed, const BlockView& block) {
  const unsigned char* rows[kLanes];
  for (int lane = 0; lane < kLanes; ++lane) {
    rows[lane] = static_cast<const unsigned char*>(static_cast<const LoadMatrices*>(arguments[lane])->row);
    require_shared(block, rows[lane], 16);
  }
  for (int matrix = 0; matrix < 4; ++matrix) {
    uint16_t elements[8][8];
    for (int row = 0; row < 8; ++row) std::memcpy(elements[row], rows[matrix * 8 + row], 16);
    for (int lane = 0; lane < kLanes; ++lane) {
      const int row = lane / 4, column = lane % 4 * 2;
      const uint16_t low = transposed ? elements[column][row] : elements[row][column];
      const uint16_t high = transposed ? elements[column + 1][row] : elements[row][column + 1];
      static_cast<const LoadMatrices*>(arguments[lane])->registers[matrix] = low | uint32_t{high} << 16;
    }
  }
}

using Row = float __attribute__((vector_size(32)));  // of 8 floats

/// PTX ISA, mma.m16n8k16: lane l holds of A (16x16) elements 2 (l % 4) and the next of row l / 4 in a[0], of row l / 4
/// + 8 in a[1], and the same 8 columns further in a[2], a[3]; of B (16x8) rows 2 (l % 4) and the next of column l / 4
/// in b[0], 8 rows further in b[1]; of D (16x8) columns 2 (l % 4) and the next of row l / 4 in d[0], d[1], of row l / 4
/// + 8 in d[2], d[3]. Each element of D takes its 16 products in ascending order of k, one fp32 addition each. Products
/// of two bf16 are exact in fp32, so that fusing them with the addition would change nothing.
void multiply_add(void* const (&arguments)[kLanes]) {
  float a[16][16];  // [row][k]
  Row b[16], d[16];
  for (int lane = 0; lane < kLanes; ++lane) {
    const auto& call = *static_cast<const MultiplyAdd*>(arguments[lane]);
    const int group = lane / 4, pair = lane % 4 * 2;
    const auto low = [](uint32_t packed) { return std::bit_cast<float>(packed << 16); };
    const auto high = [](uint32_t packed) { return std::bit_cast<float>(packed & 0xffff0000u); };
    for (int half = 0; half < 2; ++half) {
      for (int part = 0; part < 2; ++part) {
        const uint32_t packed = call.a[half * 2 + part];
        a[group + part * 8][pair + half * 8] = low(packed);
        a[group + part * 8][pair + half * 8 + 1] = high(packed);
      }
      b[pair + half * 8][group] = low(call.b[half]);
      b[pair + half * 8 + 1][group] = high(call.b[half]);
      d[group + half * 8][pair] = call.d[half * 2];
      d[group + half * 8][pair + 1] = call.d[half * 2 + 1];
    }
  }
  for (int row = 0; row < 16; row += 4) {
    Row sums[4] = {d[row], d[row + 1], d[row + 2], d[row + 3]};
    for (int k = 0; k < 16; ++k)
      for (int i = 0; i < 4; ++i) sums[i] += a[row + i][k] * b[k];
    for (int i = 0; i < 4; ++i) d[row + i] = sums[i];
  }
  for (int lane = 0; lane < kLanes; ++lane) {
    float* result = static_cast<const MultiplyAdd*>(arguments[lane])->d;
    const int group = lane / 4, pair = lane % 4 * 2;
    for (int i = 0; i < 4; ++i) result[i] = d[group + i / 2 * 8][pair + i % 2];
  }
}

void shuffle(void* const (&arguments)[kLanes], uint32_t mask) {
  for (int lane = 0; lane < kLanes; ++lane) {
    if (!(mask >> lane & 1)) continue;
    auto& call = *static_cast<Shuffle*>(arguments[lane]);
    if (!(mask >> call.source & 1))
      throw "lane " + std::to_string(lane) + " takes the value of lane " + std::to_string(call.source) +
          ", which is not in the mask";
    call.result = static_cast<const Shuffle*>(arguments[call.source])->value;
  }
}

}  // namespace

void execute(WarpCall call, uint32_t mask, void* const (&arguments)[kLanes], const BlockView& block) {
  switch (call) {
    case WarpCall::synchronise:
      return;
    case WarpCall::shuffle:
      return shuffle(arguments, mask);
    case WarpCall::load_matrices:
      return load_matrices(arguments, false, block);
    case WarpCall::load_matrices_transposed:
      return load_matrices(arguments, true, block);
    case WarpCall::multiply_add:
      return multiply_add(arguments);
  }
}

void require_shared(const BlockView& block, const void* address, size_t bytes) {
  const uintptr_t start = reinterpret_cast<uintptr_t>(block.shared), at = reinterpret_cast<uintptr_t>(address);
  const auto offset = static_cast<intptr_t>(at - start);
  if (at < start || at + bytes > start + block.shared_size)
    throw "access of byte " + std::to_string(offset) + " of " + std::to_string(block.shared_size) +
        " bytes of shared memory";
  if (at % bytes != 0)
    throw "access of byte " + std::to_string(offset) + ", which is not aligned to " + std::to_string(bytes);
}

void poison(void* memory, size_t bytes) {
  auto* at = static_cast<unsigned char*>(memory);
  constexpr uint64_t pattern = 0x0001000100010001u * kPoison;
  for (; bytes >= sizeof pattern; bytes -= sizeof pattern, at += sizeof pattern)
    std::memcpy(at, &pattern, sizeof pattern);
  std::memcpy(at, &pattern, bytes);
}

std::ptrdiff_t first_not_poison(const void* memory, size_t bytes) {
  const auto* at = static_cast<const uint16_t*>(memory);
  const uint16_t* end = at + bytes / 2;
  const uint16_t* found = std::find_if(at, end, [](uint16_t value) { return value != kPoison; });
  return found == end ? -1 : (found - at) * 2;
}

}  // namespace hrm::cuda::host
