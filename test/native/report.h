#pragma once
// One line per case on stdout, a summary at the end.

#include <string>

namespace hrm::optable {

/// What the command line asks for.
struct Options {
  std::string mode;
  std::string backend = "reference-f32";
  std::string filter;     // only cases whose name contains this
  std::string directory;  // golden mode: folder of ops.safetensors
  int threads = 0;        // 0: all cores
};

class Report {
 public:
  explicit Report(const Options& options) : filter_(options.filter) {}

  bool selects(const std::string& name) const { return name.find(filter_) != std::string::npos; }
  /// Passes if error <= bound; a NaN fails. `note` is printed after the figures.
  void check(const std::string& name, double error, double bound, const std::string& note = "");
  /// A case without a bound (timings).
  void note(const std::string& name, const std::string& text);
  void skip(const std::string& name, const std::string& why);
  /// Prints the summary; returns the exit status.
  int finish() const;

 private:
  std::string filter_;
  int passed_ = 0, failed_ = 0, skipped_ = 0;
};

}  // namespace hrm::optable
