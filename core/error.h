#pragma once
#include <stdexcept>
#include <string>

namespace hrm {

/// An error with one of the codes of lib/errors.ts ("ERR_HRM_…"); binding/ turns it into a JavaScript error.
/// Message form: "[op] expected …, got …; do …".
class Error : public std::runtime_error {
 public:
  Error(std::string code, const std::string& message) : std::runtime_error(message), code_(std::move(code)) {}
  const std::string& code() const noexcept { return code_; }

 private:
  std::string code_;
};

}  // namespace hrm
