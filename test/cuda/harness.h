#pragma once
// Cases of hrm_cuda_kernels: functions of cuda/kernels.h on buffers that notice every stray access, against references
// in double written beside them. A file of cases needs nothing but this header:
//
//   KERNEL_TEST("normalise") {
//     for (const Format format : {Format::bf16, Format::f32}) {
//       const std::vector<float> x = test.normal(format, rows * D);         // already rounded to the format
//       void* out = test.output(format, rows * D);
//       normalise(test.device(), format, sizes, {test.input(format, x), test.input(sums)}, out, nullptr);
//       test.near(name, test.read(format, out), expected, test.limit(format));   // expected: vector<double>
//     }
//   }
//
// Each buffer lies between two zones of kSentinels elements; what lies there, and in outputs before they are written,
// is NaN as bf16, float and double. At the end of a case its zones and inputs must be as they were.

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <type_traits>
#include <vector>

#include "cuda/device.h"
#include "cuda/kernels.h"

namespace hrm::cuda::test {

/// Elements before and behind each buffer.
inline constexpr size_t kSentinels = 1024;
/// Relative L2 error of bf16 results, and of fp32 ones.
inline constexpr double kBf16Limit = 5e-3, kFloatLimit = 1e-5;

/// Round to nearest even, in integers: independent of the kernels' own.
uint16_t to_bf16_bits(float value);
float from_bf16_bits(uint16_t bits);

/// sqrt(sum (got - expected)^2 / sum expected^2); infinite where a value is not finite or the lengths differ.
double relative_error(const std::vector<float>& got, const std::vector<double>& expected);

class Test {
 public:
  Test(Device& device, const std::string& name);

  Device& device() { return device_; }
  static double limit(Format format) { return format == Format::bf16 ? kBf16Limit : kFloatLimit; }

  // --- random values, the same in every run of a case ---------------------------------------------------------------
  uint32_t draw();
  /// In 0 … 1, without 1.
  double uniform();
  int64_t integer(int64_t low, int64_t high);
  std::vector<float> normal(size_t count, double deviation = 1.0);
  /// Rounded to the format.
  std::vector<float> normal(Format format, size_t count, double deviation = 1.0);
  static std::vector<float> rounded(Format format, std::vector<float> values);

  // --- buffers on the device, released at the end of the case -------------------------------------------------------
  /// Must not be changed.
  template <typename T>
  T* input(const std::vector<T>& values) {
    return static_cast<T*>(add(values.data(), values.size(), sizeof(T), true));
  }
  void* input(Format format, const std::vector<float>& values);
  /// Read and written.
  template <typename T>
  T* in_out(const std::vector<T>& values) {
    return static_cast<T*>(add(values.data(), values.size(), sizeof(T), false));
  }
  void* in_out(Format format, const std::vector<float>& values);
  /// NaN until it is written; also for workspaces, as uint8_t.
  template <typename T>
  T* output(size_t count) {
    return static_cast<T*>(add(nullptr, count, sizeof(T), false));
  }
  void* output(Format format, size_t count);
  void* workspace(size_t bytes) { return output<uint8_t>(bytes); }

  template <typename T>
  std::vector<T> read(const T* buffer) {
    std::vector<T> values(count_of(buffer));
    device_.download(values.data(), buffer, values.size() * sizeof(T));
    return values;
  }
  std::vector<float> read(Format format, const void* buffer);

  // --- checks: one line each, "ok|FAIL name error limit" ------------------------------------------------------------
  void check(const std::string& what, double error, double limit);
  void near(const std::string& what, const std::vector<float>& got, const std::vector<double>& expected, double limit);
  /// Every bit; error is the number of elements that differ.
  template <typename T>
  void equal(const std::string& what, const std::vector<T>& got, const std::vector<T>& expected) {
    static_assert(std::is_trivially_copyable_v<T>);
    size_t different = got.size() == expected.size() ? 0 : 1;
    for (size_t i = 0; i < got.size() && i < expected.size(); ++i)
      different += std::memcmp(&got[i], &expected[i], sizeof(T)) != 0;
    check(what, static_cast<double>(different), 0);
  }
  /// `body` must throw hrm::Error of this code, with `part` in its message.
  template <typename Body>
  void throws(const std::string& what, const std::string& code, const std::string& part, const Body& body) {
    check_thrown(
        what, code, part, +[](const void* b) { (*static_cast<const Body*>(b))(); }, &body);
  }

  /// Checks zones and inputs, releases everything and forgets it: also between the sizes of one case.
  void finish();
  /// Forgets everything without a look at it: after the loss of the device.
  void abandon() noexcept;

  int passed() const { return passed_; }
  int failed() const { return failed_; }

 private:
  struct Buffer {
    unsigned char* zone;  // the first element of the zone before
    unsigned char* data;
    size_t count, width;             // elements, bytes of each
    std::vector<unsigned char> was;  // inputs
  };
  void* add(const void* values, size_t count, size_t width, bool constant);
  size_t count_of(const void* data) const;
  void check_thrown(const std::string& what, const std::string& code, const std::string& part, void (*run)(const void*),
                    const void* body);

  Device& device_;
  std::string name_;
  uint64_t random_;
  std::vector<Buffer> buffers_;
  int passed_ = 0, failed_ = 0;
};

/// Adds a case to those of the executable.
struct Registration {
  Registration(const char* name, void (*body)(Test& test));
};

}  // namespace hrm::cuda::test

#define KERNEL_TEST(name) KERNEL_TEST_AT(name, __LINE__)
#define KERNEL_TEST_AT(name, line) KERNEL_TEST_NAMED(name, line)
#define KERNEL_TEST_NAMED(name, line)                                                              \
  static void kernel_test_##line(hrm::cuda::test::Test& test);                                     \
  static const hrm::cuda::test::Registration kernel_registration_##line(name, kernel_test_##line); \
  static void kernel_test_##line(hrm::cuda::test::Test& test)
