#include "test/native/safetensors.h"

#include <cstdint>
#include <cstring>
#include <fstream>
#include <iterator>

#include "core/error.h"

namespace hrm::optable {
namespace {

/// Walks the header, whose form is {"name": {"dtype": "F32", "shape": [1, 2], "data_offsets": [0, 8]}, ...}.
class HeaderReader {
 public:
  explicit HeaderReader(std::string text) : text_(std::move(text)) {}

  bool take(char wanted) {
    at_ = text_.find_first_not_of(" \n", at_);
    if (at_ == std::string::npos || text_[at_] != wanted) return false;
    ++at_;
    return true;
  }
  void expect(char wanted) {
    if (!take(wanted)) fail();
  }
  std::string string() {
    expect('"');
    const size_t end = text_.find('"', at_);
    if (end == std::string::npos) fail();
    const std::string value = text_.substr(at_, end - at_);
    at_ = end + 1;
    return value;
  }
  std::vector<int64_t> integers() {
    std::vector<int64_t> values;
    expect('[');
    while (!take(']')) {
      size_t used = 0;
      values.push_back(std::stoll(text_.substr(at_, 20), &used));
      at_ += used;
      take(',');
    }
    return values;
  }

 private:
  [[noreturn]] void fail() const {
    throw Error("ERR_HRM_CORRUPT", "[golden] expected a safetensors header, got something else at byte " +
                                       std::to_string(at_) + "; make the file again");
  }
  std::string text_;
  size_t at_ = 0;
};

template <typename T>
std::vector<double> convert(const char* bytes, size_t size) {
  std::vector<T> values(size / sizeof(T));
  std::memcpy(values.data(), bytes, size);
  return {values.begin(), values.end()};
}

}  // namespace

std::map<std::string, GoldenTensor> read_safetensors(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw Error("ERR_HRM_IO", "[golden] expected a readable file, got none at " + path + "; give its folder");
  const std::string bytes{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  uint64_t header_size = 0;
  std::memcpy(&header_size, bytes.data(), sizeof header_size);
  HeaderReader header(bytes.substr(8, header_size));
  const char* data = bytes.data() + 8 + header_size;

  std::map<std::string, GoldenTensor> tensors;
  header.expect('{');
  do {
    const std::string name = header.string();
    GoldenTensor tensor;
    std::vector<int64_t> offsets;
    header.expect(':');
    header.expect('{');
    do {
      const std::string field = header.string();
      header.expect(':');
      if (field == "dtype") tensor.dtype = header.string();
      if (field == "shape") tensor.shape = header.integers();
      if (field == "data_offsets") offsets = header.integers();
    } while (header.take(','));
    header.expect('}');
    const char* begin = data + offsets.at(0);
    const auto size = static_cast<size_t>(offsets.at(1) - offsets.at(0));
    tensor.values = tensor.dtype == "F64"   ? convert<double>(begin, size)
                    : tensor.dtype == "F32" ? convert<float>(begin, size)
                                            : convert<int32_t>(begin, size);
    tensors.emplace(name, std::move(tensor));
  } while (header.take(','));
  return tensors;
}

}  // namespace hrm::optable
