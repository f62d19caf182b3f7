// hrm_memory_fuzz [ITERATIONS] [SEED]
// What C++ maps, and copies by offset, length and dtype, with made-up values; built with sanitizers by
// scripts/fuzz-native.mjs. Nothing but an hrm::Error may come of a batch that does not fit.

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "core/carry.h"
#include "core/error.h"
#include "core/model.h"
#include "core/os.h"
#include "core/philox.h"
#include "cpu/reference/reference_backend.h"

namespace {

using namespace hrm;

/// Every draw is new: the n-th 32-bit word of a seed.
class Random {
 public:
  explicit Random(uint64_t seed) : seed_(seed) {}
  uint32_t word() { return philox_draw(seed_, PhiloxStream::exploration, 0, count_++)[0]; }
  size_t below(size_t bound) { return word() % bound; }
  /// Small, on an edge of int32, or anything.
  int32_t integer() {
    static constexpr int32_t kEdges[] = {0, -1, 1, INT32_MIN, INT32_MAX, 6, 7, 8};
    switch (below(3)) {
      case 0:
        return kEdges[below(8)];
      case 1:
        return static_cast<int32_t>(below(8));
      default:
        return static_cast<int32_t>(word());
    }
  }

 private:
  uint64_t seed_, count_ = 0;
};

void expect(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "memory fuzz: expected %s\n", what);
  std::exit(1);
}

/// A file of the given length, mapped: every byte at random offsets is what was written.
void map_file(Random& random, const std::string& path) {
  const size_t size = random.below(3) == 0 ? 4096 * random.below(3) : random.below(10000);
  std::vector<char> bytes(size);
  for (char& byte : bytes) byte = static_cast<char>(random.word());
  std::ofstream(path, std::ios::binary | std::ios::trunc).write(bytes.data(), static_cast<std::streamsize>(size));
  const MappedFile file(path);
  expect(file.size() == size, "the size of the file");
  for (int i = 0; i < 16 && size > 0; ++i) {
    const size_t offset = random.below(size), length = random.below(size - offset + 1);
    expect(std::memcmp(static_cast<const char*>(file.data()) + offset, bytes.data() + offset, length) == 0,
           "the bytes of the file");
  }
}

/// Uploads, downloads and views at random offsets of a tensor against a copy kept here.
void copy_range(Random& random, Backend& backend) {
  static constexpr DType kTypes[] = {DType::f32, DType::f64, DType::i32, DType::u8};
  const DType dtype = kTypes[random.below(4)];
  const size_t count = 1 + random.below(200), width = size_of(dtype);
  const Tensor tensor = backend.allocate(dtype, count);
  std::vector<unsigned char> kept(count * width), part(count * width);
  for (int i = 0; i < 4; ++i) {
    const size_t offset = random.below(count), length = random.below(count - offset + 1);
    for (size_t at = 0; at < length * width; ++at) part[at] = static_cast<unsigned char>(random.word());
    if (length > 0 && random.below(2) == 0)
      backend.upload(backend.view(tensor, offset, length), part.data(), 0, length);
    else
      backend.upload(tensor, part.data(), offset, length);
    std::memcpy(kept.data() + offset * width, part.data(), length * width);
  }
  const size_t offset = random.below(count), length = random.below(count - offset + 1);
  backend.download(tensor, part.data(), offset, length);
  expect(std::memcmp(part.data(), kept.data() + offset * width, length * width) == 0, "the elements written");
}

/// A batch of wrong sizes and values is refused; one that is not refused goes into the carry.
bool check(Random& random, const Model& model, Carry& carry, int64_t rows) {
  const auto values = [&](size_t usual, int64_t bound) {
    std::vector<int32_t> list(random.below(4) == 0 ? random.below(40) : usual);
    const bool valid = random.below(2) == 0;
    for (int32_t& value : list)
      value = valid ? static_cast<int32_t>(random.below(static_cast<size_t>(bound))) : random.integer();
    return list;
  };
  const auto tokens = static_cast<size_t>(rows * model.shapes().T);
  const int64_t V = model.shapes().V;
  const Batch batch{values(tokens, V), values(tokens, V), values(static_cast<size_t>(rows), 3)};
  try {
    check_batch(model, batch, rows, true);
  } catch (const Error&) {
    return false;
  }
  std::vector<uint8_t> halted(static_cast<size_t>(rows));
  for (uint8_t& flag : halted) flag = static_cast<uint8_t>(random.below(2));
  carry.set_halted(halted);
  carry.stage(batch);
  carry.replace_halted(rows, true);
  std::vector<int32_t> keep;
  for (int32_t row = 0; row < rows; ++row)
    if (random.below(2) == 0) keep.push_back(row);
  carry.compact(keep);
  return true;
}

}  // namespace

int main(int count, char** words) {
  const int64_t iterations = count > 1 ? std::atoll(words[1]) : 10'000'000;
  Random random(count > 2 ? std::strtoull(words[2], nullptr, 10) : 0);
  const std::string path = "/tmp/hrm-memory-fuzz-" + std::to_string(::getpid());
  const auto backend = std::make_shared<ReferenceBackend<float>>();
  constexpr int64_t kRows = 3;
  const Model model({.vocab_size = 7,
                     .seq_len = 5,
                     .puzzle_emb_ndim = 8,
                     .num_puzzle_identifiers = 3,
                     .h_cycles = 1,
                     .l_cycles = 1,
                     .h_layers = 1,
                     .l_layers = 1,
                     .hidden_size = 8,
                     .num_heads = 2,
                     .expansion = 1,
                     .rope = true,
                     .rope_theta = 10000,
                     .rms_norm_eps = 1e-5,
                     .halt_max_segments = 4,
                     .halt_exploration_prob = 0,
                     .loss_type = LossType::stablemax_cross_entropy},
                    backend);
  Carry carry(model, kRows, true);
  int64_t accepted = 0, refused = 0, mapped = 0, copied = 0;
  for (int64_t i = 0; i < iterations; ++i) {
    if (i % 1000 == 0) {
      map_file(random, path);
      ++mapped;
    } else if (i % 4 == 0) {
      copy_range(random, *backend);
      ++copied;
    } else {
      ++(check(random, model, carry, kRows) ? accepted : refused);
    }
  }
  ::unlink(path.c_str());
  expect(iterations < 1000 || (accepted > 0 && refused > 0), "batches of both kinds");
  std::printf("%lld files mapped, %lld ranges copied, %lld batches accepted, %lld refused, 0 reports\n",
              static_cast<long long>(mapped), static_cast<long long>(copied), static_cast<long long>(accepted),
              static_cast<long long>(refused));
}
