// The words of cuda/primitives.h on random bits, against their definitions: the PTX ISA's tables of fragments, and
// plain matrix products.

#include <algorithm>

#include "cuda/primitives.h"
#include "test/cuda/harness.h"

namespace hrm::cuda::test {
namespace {

constexpr int kLanes = 32;

__global__ void load_fragments(const uint16_t* matrices, uint32_t* registers, int transposed) {
  auto* shared = shared_memory<uint16_t>();
  const unsigned lane = threadIdx.x;
  for (unsigned i = lane; i < 256; i += kLanes) shared[i] = matrices[i];
  __syncthreads();
  uint32_t r[4];
  if (transposed)
    load_matrices_transposed(r, shared + lane * 8);
  else
    load_matrices(r, shared + lane * 8);
  for (int i = 0; i < 4; ++i) registers[lane * 4 + i] = r[i];
}

/// d [16, 8] <- c + a b, with a [16, 16] and b [16, 8] row-major: a by ldmatrix, b by ldmatrix.trans.
__global__ void multiply(const uint16_t* a, const uint16_t* b, const float* c, float* d) {
  auto* shared = shared_memory<uint16_t>();
  const unsigned lane = threadIdx.x;
  for (unsigned i = lane; i < 256; i += kLanes) shared[i] = a[i];
  for (unsigned i = lane; i < 128; i += kLanes) shared[256 + i] = b[i];
  __syncthreads();
  uint32_t fragment_a[4], fragment_b[4];
  load_matrices(fragment_a, shared + lane % 16 * 16 + lane / 16 * 8);
  load_matrices_transposed(fragment_b, shared + 256 + lane % 16 * 8);
  const uint32_t columns[2] = {fragment_b[0], fragment_b[1]};
  const unsigned row = lane / 4, column = lane % 4 * 2;
  float sums[4];
  for (unsigned i = 0; i < 4; ++i) sums[i] = c[(row + i / 2 * 8) * 8 + column + i % 2];
  multiply_add(sums, fragment_a, columns);
  for (unsigned i = 0; i < 4; ++i) d[(row + i / 2 * 8) * 8 + column + i % 2] = sums[i];
}

/// Three groups of copies of 16 bytes each, the second not valid at odd threads; taken up as they arrive.
__global__ void stream(const uint32_t* source, uint32_t* target) {
  auto* shared = shared_memory<uint32_t>();
  const unsigned thread = threadIdx.x, threads = blockDim.x;
  for (unsigned group = 0; group < 3; ++group) {
    const unsigned at = (group * threads + thread) * 4;
    copy_async(shared + at, source + at, group != 1 || thread % 2 == 0);
    copy_async_commit();
  }
  const auto take = [&](unsigned group) {
    __syncthreads();
    const unsigned at = (group * threads + (thread + 1) % threads) * 4;  // the neighbour's
    for (unsigned i = 0; i < 4; ++i) target[at + i] = shared[at + i];
  };
  copy_async_wait<2>();
  take(0);
  copy_async_wait<1>();
  take(1);
  copy_async_wait<0>();
  take(2);
}

/// Per thread: shuffles of its own value, in the order of the host loop below.
__global__ void exchange(const float* values, float* results) {
  const unsigned thread = threadIdx.x;
  const float own = values[thread];
  float* out = results + thread * 6;
  out[0] = __shfl_sync(0xffffffffu, own, 5);
  out[1] = __shfl_sync(0xffffffffu, own, 5, 8);
  out[2] = __shfl_xor_sync(0xffffffffu, own, 16);
  out[3] = __shfl_xor_sync(0xffffffffu, own, 3, 4);
  out[4] = __shfl_down_sync(0xffffffffu, own, 7);
  out[5] = __shfl_down_sync(0xffffffffu, own, 1, 4);
}

__global__ void round_values(const uint32_t* values, uint16_t* rounded, uint32_t* packed, uint32_t* widened,
                             int64_t count) {
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= count) return;
  const float value = __uint_as_float(values[i]);
  rounded[i] = to_bf16(value).bits;
  packed[i] = pack_bf16(value, -value);
  float low, high;
  unpack_bf16(values[i], low, high);
  widened[2 * i] = __float_as_uint(low);
  widened[2 * i + 1] = __float_as_uint(high);
}

/// order[0]: how many were there before; each launch or copy of a sequence leaves its mark.
__global__ void append(int32_t* order, int32_t mark) {
  if (threadIdx.x == 0) {
    order[0] += 1;
    order[order[0]] = mark;
  }
}

std::vector<uint16_t> bf16_values(Test& test, size_t count) {
  std::vector<uint16_t> bits;
  for (const float value : test.normal(count)) bits.push_back(to_bf16_bits(value));
  return bits;
}

KERNEL_TEST("ldmatrix") {
  std::vector<uint16_t> matrices(4 * 64);
  for (uint16_t& value : matrices) value = static_cast<uint16_t>(test.draw());
  for (const int transposed : {0, 1}) {
    std::vector<uint32_t> expected(kLanes * 4);
    for (int lane = 0; lane < kLanes; ++lane)
      for (int matrix = 0; matrix < 4; ++matrix) {
        const auto element = [&](int row, int column) {
          return uint32_t{
              matrices[static_cast<size_t>(matrix * 64 + (transposed ? column * 8 + row : row * 8 + column))]};
        };
        expected[static_cast<size_t>(lane * 4 + matrix)] =
            element(lane / 4, lane % 4 * 2) | element(lane / 4, lane % 4 * 2 + 1) << 16;
      }
    auto* registers = test.output<uint32_t>(kLanes * 4);
    test.device().launch({.threads = kLanes, .shared = 512}, load_fragments, test.input(matrices), registers,
                         transposed);
    test.equal(transposed ? "transposed" : "plain", test.read(registers), expected);
  }
}

KERNEL_TEST("mma") {
  double worst = 0;
  for (int round = 0; round < 20; ++round) {
    const std::vector<uint16_t> a = bf16_values(test, 256), b = bf16_values(test, 128);
    const std::vector<float> c = test.normal(128);
    std::vector<double> expected(c.begin(), c.end());
    for (size_t row = 0; row < 16; ++row)
      for (size_t column = 0; column < 8; ++column)
        for (size_t k = 0; k < 16; ++k)
          expected[row * 8 + column] += double{from_bf16_bits(a[row * 16 + k])} * from_bf16_bits(b[k * 8 + column]);
    auto* d = test.output<float>(128);
    test.device().launch({.threads = kLanes, .shared = 768}, multiply, test.input(a), test.input(b), test.input(c), d);
    worst = std::max(worst, relative_error(test.read(d), expected));
  }
  test.check("c + a b", worst, 1e-6);
}

KERNEL_TEST("cp.async") {
  for (const unsigned threads : {32u, 96u, 256u}) {
    std::vector<uint32_t> source(3 * threads * 4);
    for (uint32_t& value : source) value = test.draw();
    std::vector<uint32_t> expected = source;
    for (unsigned i = 0; i < threads * 4; ++i)
      if (i / 4 % 2 == 1) expected[threads * 4 + i] = 0;
    auto* target = test.output<uint32_t>(source.size());
    test.device().launch({.threads = threads, .shared = source.size() * 4}, stream, test.input(source), target);
    test.equal(std::to_string(threads) + " threads", test.read(target), expected);
  }
}

KERNEL_TEST("shuffles") {
  const std::vector<float> values = test.normal(96);
  std::vector<float> expected;
  for (size_t thread = 0; thread < 96; ++thread) {
    const size_t warp = thread / 32 * 32, lane = thread % 32;
    const auto of = [&](size_t other) { return values[warp + other]; };
    expected.insert(expected.end(), {of(5), of(lane / 8 * 8 + 5), of(lane ^ 16), of(lane ^ 3),
                                     of(lane + 7 < 32 ? lane + 7 : lane), of(lane % 4 < 3 ? lane + 1 : lane)});
  }
  auto* results = test.output<float>(expected.size());
  test.device().launch({.threads = 96}, exchange, test.input(values), results);
  test.equal("sync, xor and down", test.read(results), expected);
}

KERNEL_TEST("rounding to bf16") {
  std::vector<uint32_t> values = {0x00000000, 0x80000000, 0x3f800000, 0x3f808000, 0x3f818000, 0x3f808001,
                                  0x3f817fff, 0xbf808000, 0xbf818000, 0x7f7fffff, 0xff7fffff, 0x7f7f7fff,
                                  0x7f800000, 0xff800000, 0x7fc00000, 0x7f800001, 0xffffffff, 0x00000001,
                                  0x00008000, 0x00008001, 0x00018000, 0x807fffff, 0x00800000};
  for (int i = 0; i < 4000; ++i) values.push_back(i % 2 ? test.draw() : test.draw() | 0x8000u >> (i % 16));
  std::vector<uint16_t> rounded;
  std::vector<uint32_t> packed, widened;
  for (const uint32_t bits : values) {
    float value;
    std::memcpy(&value, &bits, sizeof value);
    rounded.push_back(to_bf16_bits(value));
    packed.push_back(to_bf16_bits(value) | uint32_t{to_bf16_bits(-value)} << 16);
    widened.push_back(bits << 16);
    widened.push_back(bits & 0xffff0000u);
  }
  const size_t count = values.size();
  auto* out_rounded = test.output<uint16_t>(count);
  auto *out_packed = test.output<uint32_t>(count), *out_widened = test.output<uint32_t>(2 * count);
  test.device().launch({.blocks_x = static_cast<unsigned>(count + 127) / 128, .threads = 128}, round_values,
                       test.input(values), out_rounded, out_packed, out_widened, static_cast<int64_t>(count));
  test.equal("ties, NaN, infinities, subnormals", test.read(out_rounded), rounded);
  test.equal("two at once", test.read(out_packed), packed);
  test.equal("and back", test.read(out_widened), widened);
}

KERNEL_TEST("graphs replay launches and copies in order") {
  Device& device = test.device();
  auto* order = test.in_out(std::vector<int32_t>(12, 0));
  auto* copy = test.in_out(std::vector<int32_t>(12, 0));
  device.begin_capture();
  for (int32_t mark = 1; mark <= 3; ++mark) device.launch({.threads = 32}, append, order, mark);
  device.copy(copy, order, 12 * sizeof(int32_t));
  device.launch({.threads = 32}, append, order, 4);
  const std::unique_ptr<Graph> graph = device.end_capture();
  test.equal("nothing happens at the capture", test.read(order), std::vector<int32_t>(12, 0));
  device.replay(*graph);
  device.launch({.threads = 32}, append, order, 5);
  device.replay(*graph);
  test.equal("launches", test.read(order), {9, 1, 2, 3, 4, 5, 1, 2, 3, 4, 0, 0});
  test.equal("copy", test.read(copy), {8, 1, 2, 3, 4, 5, 1, 2, 3, 0, 0, 0});
  device.begin_capture();
  device.launch({.threads = 32}, append, order, 6);
  device.abandon_capture();
  device.launch({.threads = 32}, append, order, 7);
  test.equal("an abandoned capture leaves nothing", test.read(order), {10, 1, 2, 3, 4, 5, 1, 2, 3, 4, 7, 0});
}

KERNEL_TEST("memory") {
  Device& device = test.device();
  const size_t before = device.free_memory(), bytes = (8 << 20) + 7;
  auto* memory = static_cast<unsigned char*>(device.allocate(bytes));
  std::vector<unsigned char> values(bytes, 1);
  device.download(values.data(), memory, bytes);
  test.equal("is zero at first", values, std::vector<unsigned char>(bytes, 0));
  test.check("is aligned to 256 bytes", static_cast<double>(reinterpret_cast<uintptr_t>(memory) % 256), 0);
  test.check("is taken from what is free", device.free_memory() + bytes <= before ? 0 : 1, 0);
  for (size_t i = 0; i < bytes; ++i) values[i] = static_cast<unsigned char>(test.draw());
  const std::vector<unsigned char> kept = values;
  device.upload(memory, values.data(), bytes);
  std::fill(values.begin(), values.end(), static_cast<unsigned char>(0));
  device.download(values.data(), memory, bytes);
  test.equal("keeps what the source held at the upload", values, kept);
  device.release(memory);
  test.check("comes back", device.free_memory() >= before ? 0 : 1, 0);
  test.throws("has an end", "ERR_HRM_OUT_OF_MEMORY", std::to_string(size_t{1} << 50),
              [&] { device.allocate(size_t{1} << 50); });
  test.equal("works after that", test.read(test.input(kept)), kept);
}

}  // namespace
}  // namespace hrm::cuda::test
