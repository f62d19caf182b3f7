#include "test/native/report.h"

#include <cstdio>

namespace hrm::optable {

void Report::check(const std::string& name, double error, double bound, const std::string& note) {
  const bool ok = error <= bound;
  ++(ok ? passed_ : failed_);
  std::printf("%s %s %.3g %.3g%s%s\n", ok ? "ok" : "FAIL", name.c_str(), error, bound, note.empty() ? "" : " ",
              note.c_str());
  std::fflush(stdout);
}

void Report::note(const std::string& name, const std::string& text) {
  ++passed_;
  std::printf("ok %s %s\n", name.c_str(), text.c_str());
  std::fflush(stdout);
}

void Report::skip(const std::string& name, const std::string& why) {
  ++skipped_;
  std::printf("skip %s: %s\n", name.c_str(), why.c_str());
}

int Report::finish() const {
  std::printf("%d passed, %d failed, %d skipped\n", passed_, failed_, skipped_);
  return failed_ > 0 || passed_ == 0 ? 1 : 0;
}

}  // namespace hrm::optable
