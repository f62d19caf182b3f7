#include "test/cuda/harness.h"

#include <bit>
#include <cmath>
#include <cstdio>
#include <limits>
#include <numbers>

#include "core/error.h"

namespace hrm::cuda::test {
namespace {

constexpr uint16_t kPoison = 0xffb5;  // NaN as bf16, float and double

struct Case {
  const char* name;
  void (*body)(Test& test);
};

std::vector<Case>& cases() {
  static std::vector<Case> all;
  return all;
}

std::vector<uint16_t> encoded(const std::vector<float>& values) {
  std::vector<uint16_t> bits;
  for (const float value : values) bits.push_back(to_bf16_bits(value));
  return bits;
}

std::vector<unsigned char> poison(size_t bytes) {
  std::vector<unsigned char> memory(bytes);
  for (size_t i = 0; i < bytes; ++i) memory[i] = static_cast<unsigned char>(i % 2 ? kPoison >> 8 : kPoison & 0xff);
  return memory;
}

}  // namespace

uint16_t to_bf16_bits(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value), rest = bits & 0xffff;
  if (std::isnan(value)) return 0x7fff;
  const uint32_t kept = bits >> 16, up = rest > 0x8000 || (rest == 0x8000 && kept % 2 == 1);
  return static_cast<uint16_t>(kept + up);
}

float from_bf16_bits(uint16_t bits) { return std::bit_cast<float>(uint32_t{bits} << 16); }

double relative_error(const std::vector<float>& got, const std::vector<double>& expected) {
  double difference = 0, size = 0;
  for (size_t i = 0; i < got.size() && i < expected.size(); ++i) {
    difference += (got[i] - expected[i]) * (got[i] - expected[i]);
    size += expected[i] * expected[i];
  }
  if (got.size() != expected.size() || !std::isfinite(difference)) return std::numeric_limits<double>::infinity();
  return difference == 0 ? 0 : std::sqrt(difference / size);
}

Test::Test(Device& device, const std::string& name) : device_(device), name_(name), random_(0x9e3779b97f4a7c15u) {
  for (const char letter : name) random_ = (random_ ^ static_cast<unsigned char>(letter)) * 0x100000001b3u;  // FNV-1a
  random_ |= 1;
}

uint32_t Test::draw() {
  random_ ^= random_ << 13;
  random_ ^= random_ >> 7;
  random_ ^= random_ << 17;
  return static_cast<uint32_t>(random_ >> 32);
}

double Test::uniform() { return draw() / 4294967296.0; }

int64_t Test::integer(int64_t low, int64_t high) {
  return low + static_cast<int64_t>(uniform() * static_cast<double>(high - low + 1));
}

std::vector<float> Test::normal(size_t count, double deviation) {
  std::vector<float> values(count);
  for (float& value : values) {
    const double radius = std::sqrt(-2 * std::log(1 - uniform()));
    value = static_cast<float>(deviation * radius * std::cos(2 * std::numbers::pi * uniform()));
  }
  return values;
}

std::vector<float> Test::normal(Format format, size_t count, double deviation) {
  return rounded(format, normal(count, deviation));
}

std::vector<float> Test::rounded(Format format, std::vector<float> values) {
  if (format == Format::bf16)
    for (float& value : values) value = from_bf16_bits(to_bf16_bits(value));
  return values;
}

void* Test::input(Format format, const std::vector<float>& values) {
  return format == Format::bf16 ? static_cast<void*>(input(encoded(values))) : input(values);
}

void* Test::in_out(Format format, const std::vector<float>& values) {
  return format == Format::bf16 ? static_cast<void*>(in_out(encoded(values))) : in_out(values);
}

void* Test::output(Format format, size_t count) {
  return format == Format::bf16 ? static_cast<void*>(output<uint16_t>(count)) : output<float>(count);
}

std::vector<float> Test::read(Format format, const void* buffer) {
  if (format == Format::f32) return read(static_cast<const float*>(buffer));
  std::vector<float> values;
  for (const uint16_t bits : read(static_cast<const uint16_t*>(buffer))) values.push_back(from_bf16_bits(bits));
  return values;
}

void* Test::add(const void* values, size_t count, size_t width, bool constant) {
  const size_t zone = kSentinels * width, bytes = count * width;
  std::vector<unsigned char> whole = poison(bytes + 2 * zone);
  if (values && bytes) std::memcpy(whole.data() + zone, values, bytes);
  auto* memory = static_cast<unsigned char*>(device_.allocate(whole.size()));
  device_.upload(memory, whole.data(), whole.size());
  Buffer& buffer = buffers_.emplace_back(Buffer{memory, memory + zone, count, width, {}});
  if (constant) buffer.was = std::move(whole);
  return buffer.data;
}

size_t Test::count_of(const void* data) const {
  for (const Buffer& buffer : buffers_)
    if (buffer.data == data) return buffer.count;
  throw Error("ERR_HRM_INTERNAL", "[read] expected a buffer of this case");
}

void Test::check(const std::string& what, double error, double limit) {
  const bool ok = error <= limit;
  (ok ? passed_ : failed_) += 1;
  std::printf("%s %s: %s %.3g %.3g\n", ok ? "ok" : "FAIL", name_.c_str(), what.c_str(), error, limit);
}

void Test::near(const std::string& what, const std::vector<float>& got, const std::vector<double>& expected,
                double limit) {
  check(what, relative_error(got, expected), limit);
}

void Test::check_thrown(const std::string& what, const std::string& code, const std::string& part,
                        void (*run)(const void*), const void* body) {
  std::string got = "nothing";
  try {
    run(body);
  } catch (const Error& error) {
    if (error.code() == code && std::string(error.what()).find(part) != std::string::npos) return check(what, 0, 0);
    got = error.code() + " " + error.what();
  }
  std::printf("     expected %s with \"%s\", got %s\n", code.c_str(), part.c_str(), got.c_str());
  check(what, 1, 0);
}

void Test::finish() {
  size_t stray = 0, changed = 0;
  for (const Buffer& buffer : buffers_) {
    const size_t zone = kSentinels * buffer.width, bytes = buffer.count * buffer.width;
    std::vector<unsigned char> now(bytes + 2 * zone);
    device_.download(now.data(), buffer.zone, now.size());
    const std::vector<unsigned char> clean = poison(now.size());
    for (size_t i = 0; i < now.size(); ++i)
      if (i < zone || i >= zone + bytes)
        stray += now[i] != clean[i];
      else if (!buffer.was.empty())
        changed += now[i] != buffer.was[i];
    device_.release(buffer.zone);
  }
  buffers_.clear();
  if (stray || changed) {
    check("bytes written beside its outputs", static_cast<double>(stray), 0);
    check("bytes changed in its inputs", static_cast<double>(changed), 0);
  }
}

void Test::abandon() noexcept {
  for (const Buffer& buffer : buffers_) device_.release(buffer.zone);
  buffers_.clear();
}

Registration::Registration(const char* name, void (*body)(Test& test)) { cases().push_back({name, body}); }

/// Runs the cases whose names contain one of the words; all without words. Returns the number of failures.
int run(const std::vector<std::string>& words) {
  int passed = 0, failed = 0;
  for (const Case& each : cases()) {
    bool chosen = words.empty();
    for (const std::string& word : words) chosen |= std::string(each.name).find(word) != std::string::npos;
    if (!chosen) continue;
    try {
      Device device(0);
      Test test(device, each.name);
      try {
        each.body(test);
        test.finish();
      } catch (const Error& error) {
        test.abandon();
        std::printf("     %s: %s\n", error.code().c_str(), error.what());
        test.check("ends without an error", 1, 0);
      }
      passed += test.passed();
      failed += test.failed();
      if (test.passed() + test.failed() == 0) {
        std::printf("FAIL %s: checks nothing 0 1\n", each.name);
        ++failed;
      }
    } catch (const Error& error) {
      std::printf("FAIL %s: %s\n", each.name, error.what());
      ++failed;
    }
    std::fflush(stdout);
  }
  std::printf("%d passed, %d failed\n", passed, failed);
  return passed + failed == 0 ? 1 : failed;
}

}  // namespace hrm::cuda::test

int main(int count, char** words) {
  return hrm::cuda::test::run(std::vector<std::string>(words + 1, words + count)) == 0 ? 0 : 1;
}
