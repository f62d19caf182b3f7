#include "binding/results.h"

#include "binding/convert.h"

namespace hrm::binding {

static const char* dtype_name(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return "F32";
    case DType::f64:
      return "F64";
    case DType::i32:
      return "I32";
    default:
      return "U8";
  }
}

Napi::Value to_js(Napi::Env env, const Values& values) {
  return std::visit([&](const auto& elements) { return to_js(env, elements); }, values);
}

Napi::Value to_js(Napi::Env env, const TensorInfo& info) {
  Napi::Array shape = Napi::Array::New(env, info.shape.size());
  for (uint32_t i = 0; i < info.shape.size(); ++i) shape.Set(i, static_cast<double>(info.shape[i]));
  Napi::Object object = Napi::Object::New(env);
  object.Set("name", info.name);
  object.Set("dtype", dtype_name(info.dtype));
  object.Set("shape", shape);
  return object;
}

Napi::Value to_js(Napi::Env env, const std::vector<TensorInfo>& infos) {
  Napi::Array array = Napi::Array::New(env, infos.size());
  for (uint32_t i = 0; i < infos.size(); ++i) array.Set(i, to_js(env, infos[i]));
  return array;
}

Napi::Value to_js(Napi::Env env, const StepResult& result) {
  const MetricSums& sums = result.metrics;
  Napi::Object metrics = Napi::Object::New(env);
  metrics.Set("count", sums.count);
  metrics.Set("accuracy", sums.accuracy);
  metrics.Set("exact_accuracy", sums.exact_accuracy);
  metrics.Set("q_halt_accuracy", sums.q_halt_accuracy);
  metrics.Set("steps", sums.steps);
  metrics.Set("lm_loss", sums.lm_loss);
  metrics.Set("q_halt_loss", sums.q_halt_loss);
  metrics.Set("q_continue_loss", sums.q_continue_loss);
  Napi::Object object = Napi::Object::New(env);
  object.Set("step", static_cast<double>(result.step));
  object.Set("lr", result.lr);
  object.Set("loss", result.loss);
  object.Set("gradNorm", result.grad_norm);
  object.Set("nonFinite", result.non_finite);
  object.Set("metrics", metrics);
  return object;
}

Napi::Value to_js(Napi::Env env, const SegmentResult& result) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("tokens", to_js(env, result.tokens));
  object.Set("qHalt", to_js(env, result.q_halt));
  object.Set("qContinue", to_js(env, result.q_continue));
  object.Set("steps", to_js(env, result.steps));
  if (!result.row_stats.empty()) object.Set("rowStats", to_js(env, result.row_stats));
  if (!result.residual.empty()) object.Set("residual", to_js(env, result.residual));
  return object;
}

}  // namespace hrm::binding
