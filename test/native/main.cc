// hrm_optable MODE [DIR] [--backend NAME] [--threads N] [--filter TEXT]
// Without --backend the environment variable HRM_ISA chooses the instruction set, else the best one is taken.
// hrm_optable backends: the names that --backend takes on this machine, one a line

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <map>
#include <stdexcept>

#include "test/native/backends.h"
#include "test/native/modes.h"

namespace {

using hrm::optable::Options;
using hrm::optable::Report;

const std::map<std::string, void (*)(const Options&, Report&)> kModes = {
    {"test", hrm::optable::run_test}, {"int8", hrm::optable::run_int8},
    {"grad", hrm::optable::run_grad}, {"model-grad", hrm::optable::run_model_grad},
    {"perf", hrm::optable::run_perf}, {"golden", hrm::optable::run_golden},
};

Options parse(int count, char** words) {
  Options options;
  if (const char* isa = std::getenv("HRM_ISA"); isa && *isa) options.backend = std::string("simd:") + isa;
  for (int i = 1; i < count; ++i) {
    const std::string word = words[i];
    if (word.rfind("--", 0) != 0) {
      (options.mode.empty() ? options.mode : options.directory) = word;
      continue;
    }
    if (i + 1 == count) throw std::invalid_argument("[optable] expected a value after " + word);
    const std::string value = words[++i];
    if (word == "--backend")
      options.backend = value;
    else if (word == "--threads")
      options.threads = std::stoi(value);
    else if (word == "--filter")
      options.filter = value;
    else
      throw std::invalid_argument("[optable] expected --backend, --threads or --filter, got " + word);
  }
  if (!kModes.count(options.mode)) {
    std::string names;
    for (const auto& [name, run] : kModes) names += " " + name;
    throw std::invalid_argument("[optable] expected one of the modes" + names + ", got '" + options.mode + "'");
  }
  return options;
}

}  // namespace

int main(int count, char** words) {
  try {
    if (count == 2 && std::string(words[1]) == "backends") {
      for (const std::string& name : hrm::optable::backend_names()) std::printf("%s\n", name.c_str());
      return 0;
    }
    const Options options = parse(count, words);
    Report report(options);
    kModes.at(options.mode)(options, report);
    return report.finish();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 2;
  }
}
