#pragma once
#include <napi.h>

#include <cstdint>
#include <exception>
#include <initializer_list>
#include <string>
#include <vector>

#include "binding/completions.h"

namespace hrm::binding {

/// The JavaScript error for a C++ exception: hrm::Error keeps its code (ERR_HRM_ARGUMENT as a RangeError), bad_alloc
/// gets ERR_HRM_OUT_OF_MEMORY, a JavaScript error passes through.
Napi::Value to_error(Napi::Env env, const std::exception_ptr& failure);

/// Runs the body of a function that JavaScript called; what it throws becomes a JavaScript error.
template <typename Body>
auto guarded(Napi::Env env, Body body) {
  try {
    return body();
  } catch (const Napi::Error&) {
    throw;
  } catch (...) {
    throw Napi::Error(env, to_error(env, std::current_exception()));
  }
}

/// The same for a function that returns a promise: it rejects instead.
template <typename Body>
Napi::Value promised(Napi::Env env, Body body) {
  std::exception_ptr failure;
  try {
    return body();
  } catch (...) {
    failure = std::current_exception();
  }
  const auto deferred = Napi::Promise::Deferred::New(env);
  deferred.Reject(to_error(env, failure));
  return deferred.Promise();
}

/// A value from JavaScript with the words for messages: "[operation] expected name to be …, got …". Every reader throws
/// a TypeError (wrong kind) or a RangeError (wrong value) with the code ERR_HRM_ARGUMENT. Arrays are copied at once:
/// the caller may change, detach or shrink their buffer afterwards.
class Argument {
 public:
  Argument(const char* operation, std::string name, Napi::Value value)
      : operation_(operation), name_(std::move(name)), value_(value) {}
  Argument(const char* operation, const Napi::CallbackInfo& info, size_t index, std::string name)
      : Argument(operation, std::move(name), info[index]) {}

  bool given() const { return !value_.IsUndefined(); }
  Argument field(const char* key) const;

  int64_t integer(int64_t low, int64_t high) const;
  double number() const;
  std::string text() const;
  bool boolean() const;
  /// The index of the text among these.
  size_t choice(std::initializer_list<const char*> names) const;
  std::vector<uint32_t> words(size_t count) const;

  std::vector<int32_t> int32s() const { return elements<int32_t>(napi_int32_array, "an Int32Array"); }
  std::vector<uint8_t> uint8s() const { return elements<uint8_t>(napi_uint8_array, "a Uint8Array"); }
  std::vector<float> float32s() const { return elements<float>(napi_float32_array, "a Float32Array"); }
  std::vector<double> float64s() const { return elements<double>(napi_float64_array, "a Float64Array"); }
  bool is_typed_array(napi_typedarray_type type) const;

  const Napi::Value& value() const { return value_; }
  [[noreturn]] void wrong_kind(const std::string& expected) const;
  [[noreturn]] void out_of_range(const std::string& expected) const;

 private:
  template <typename T>
  std::vector<T> elements(napi_typedarray_type type, const char* expected) const;
  std::string complaint(const std::string& expected) const;
  std::string describe() const;

  const char* operation_;
  std::string name_;
  Napi::Value value_;
};

/// A typed array of its own buffer, copied from the vector.
Napi::Value to_js(Napi::Env env, const std::vector<float>& values);
Napi::Value to_js(Napi::Env env, const std::vector<double>& values);
Napi::Value to_js(Napi::Env env, const std::vector<int32_t>& values);
Napi::Value to_js(Napi::Env env, const std::vector<uint8_t>& values);
Napi::Value to_js(Napi::Env env, const std::vector<uint32_t>& values);

/// The conversion to `undefined`.
inline Convert nothing() {
  return [](Napi::Env env) { return env.Undefined(); };
}

}  // namespace hrm::binding
