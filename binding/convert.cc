#include "binding/convert.h"

#include <cmath>
#include <cstring>
#include <new>

#include "core/error.h"

namespace hrm::binding {

namespace {

constexpr const char* kArgumentCode = "ERR_HRM_ARGUMENT";

template <typename ErrorClass>
ErrorClass coded(Napi::Env env, const std::string& code, const std::string& message) {
  ErrorClass error = ErrorClass::New(env, message);
  error.Set("code", Napi::String::New(env, code));
  return error;
}

template <typename Array, typename T>
Napi::Value copy_to_js(Napi::Env env, const std::vector<T>& values) {
  Array array = Array::New(env, values.size());
  if (!values.empty()) std::memcpy(array.Data(), values.data(), values.size() * sizeof(T));
  return array;
}

/// napi_create_error, napi_create_range_error. The code may be null.
using MakeError = decltype(&napi_create_error);

/// Takes no memory but JavaScript's: there may be none.
Napi::Value error_of(napi_env env, MakeError make, const char* code, const char* message) {
  napi_value code_text = nullptr, text = nullptr, error = nullptr;
  if (code) napi_create_string_utf8(env, code, NAPI_AUTO_LENGTH, &code_text);
  napi_create_string_utf8(env, message, NAPI_AUTO_LENGTH, &text);
  make(env, code_text, text, &error);
  return {env, error};
}

}  // namespace

Napi::Value to_error(Napi::Env env, const std::exception_ptr& failure) {
  try {
    std::rethrow_exception(failure);
  } catch (const Napi::Error& error) {
    return error.Value();
  } catch (const Error& error) {
    const MakeError make = error.code() == kArgumentCode ? napi_create_range_error : napi_create_error;
    return error_of(env, make, error.code().c_str(), error.what());
  } catch (const std::bad_alloc&) {
    return error_of(env, napi_create_error, "ERR_HRM_OUT_OF_MEMORY",
                    "[allocate] expected enough memory, got none; use a smaller batch or model");
  } catch (const std::exception& error) {
    return error_of(env, napi_create_error, nullptr, error.what());
  } catch (...) {
    return error_of(env, napi_create_error, nullptr, "an exception that is no std::exception was thrown");
  }
}

std::string Argument::describe() const {
  switch (value_.Type()) {
    case napi_undefined:
      return "undefined";
    case napi_null:
      return "null";
    case napi_boolean:
      return value_.As<Napi::Boolean>().Value() ? "true" : "false";
    case napi_number:
      return value_.ToString();
    case napi_string: {
      constexpr size_t kMaxLength = 60;  // characters quoted
      const std::string text = value_.As<Napi::String>();
      return text.size() <= kMaxLength ? '"' + text + '"' : "a string of " + std::to_string(text.size()) + " bytes";
    }
    case napi_symbol:
      return "a symbol";
    case napi_function:
      return "a function";
    case napi_bigint:
      return "a bigint";
    default:
      return value_.IsTypedArray() ? "another typed array" : value_.IsArray() ? "an array" : "an object";
  }
}

std::string Argument::complaint(const std::string& expected) const {
  return std::string("[") + operation_ + "] expected " + name_ + " to be " + expected + ", got " + describe();
}

void Argument::wrong_kind(const std::string& expected) const {
  throw coded<Napi::TypeError>(value_.Env(), kArgumentCode, complaint(expected));
}

void Argument::out_of_range(const std::string& expected) const {
  throw coded<Napi::RangeError>(value_.Env(), kArgumentCode, complaint(expected));
}

Argument Argument::field(const char* key) const {
  if (!value_.IsObject()) wrong_kind("an object");
  return {operation_, name_ + "." + key, value_.As<Napi::Object>().Get(key)};
}

int64_t Argument::integer(int64_t low, int64_t high) const {
  const std::string expected = "an integer between " + std::to_string(low) + " and " + std::to_string(high);
  if (!value_.IsNumber()) wrong_kind(expected);
  const double number = value_.As<Napi::Number>().DoubleValue();
  if (!(number >= static_cast<double>(low) && number <= static_cast<double>(high)) || number != std::floor(number))
    out_of_range(expected);
  return static_cast<int64_t>(number);
}

double Argument::number() const {
  if (!value_.IsNumber()) wrong_kind("a finite number");
  const double number = value_.As<Napi::Number>().DoubleValue();
  if (!std::isfinite(number)) out_of_range("a finite number");
  return number;
}

std::string Argument::text() const {
  if (!value_.IsString()) wrong_kind("a string");
  std::string text = value_.As<Napi::String>();
  if (text.find('\0') != std::string::npos) out_of_range("a string without NUL");
  return text;
}

bool Argument::boolean() const {
  if (!value_.IsBoolean()) wrong_kind("a boolean");
  return value_.As<Napi::Boolean>();
}

size_t Argument::choice(std::initializer_list<const char*> names) const {
  std::string list;
  size_t index = 0;
  for (const char* name : names) list += (list.empty() ? "'" : " or '") + std::string(name) + "'";
  if (!value_.IsString()) wrong_kind(list);
  const std::string text = value_.As<Napi::String>();
  for (const char* name : names) {
    if (text == name) return index;
    ++index;
  }
  out_of_range(list);
}

std::vector<uint32_t> Argument::words(size_t count) const {
  const std::string expected = "an array of " + std::to_string(count) + " numbers";
  if (!value_.IsArray()) wrong_kind(expected);
  const auto array = value_.As<Napi::Array>();
  if (array.Length() != count) out_of_range(expected);
  std::vector<uint32_t> words;
  for (uint32_t i = 0; i < count; ++i) {
    const Argument element(operation_, name_ + "[" + std::to_string(i) + "]", array.Get(i));
    words.push_back(static_cast<uint32_t>(element.integer(0, UINT32_MAX)));
  }
  return words;
}

bool Argument::is_typed_array(napi_typedarray_type type) const {
  napi_typedarray_type actual;
  return value_.IsTypedArray() &&
         napi_get_typedarray_info(value_.Env(), value_, &actual, nullptr, nullptr, nullptr, nullptr) == napi_ok &&
         actual == type;
}

template <typename T>
std::vector<T> Argument::elements(napi_typedarray_type type, const char* expected) const {
  if (!is_typed_array(type)) wrong_kind(expected);
  // Read here and now, not when the wrapper was made: an earlier getter may have detached or shrunk the buffer.
  size_t length = 0;
  void* data = nullptr;
  const napi_status status = napi_get_typedarray_info(value_.Env(), value_, nullptr, &length, &data, nullptr, nullptr);
  if (status != napi_ok) throw Napi::Error::New(value_.Env());
  std::vector<T> copy(length);
  if (data != nullptr && length > 0) std::memcpy(copy.data(), data, length * sizeof(T));
  return copy;
}

template std::vector<int32_t> Argument::elements(napi_typedarray_type, const char*) const;
template std::vector<uint8_t> Argument::elements(napi_typedarray_type, const char*) const;
template std::vector<float> Argument::elements(napi_typedarray_type, const char*) const;
template std::vector<double> Argument::elements(napi_typedarray_type, const char*) const;

Napi::Value to_js(Napi::Env env, const std::vector<float>& values) {
  return copy_to_js<Napi::Float32Array>(env, values);
}
Napi::Value to_js(Napi::Env env, const std::vector<double>& values) {
  return copy_to_js<Napi::Float64Array>(env, values);
}
Napi::Value to_js(Napi::Env env, const std::vector<int32_t>& values) {
  return copy_to_js<Napi::Int32Array>(env, values);
}
Napi::Value to_js(Napi::Env env, const std::vector<uint8_t>& values) {
  return copy_to_js<Napi::Uint8Array>(env, values);
}
Napi::Value to_js(Napi::Env env, const std::vector<uint32_t>& values) {
  return copy_to_js<Napi::Uint32Array>(env, values);
}

}  // namespace hrm::binding
