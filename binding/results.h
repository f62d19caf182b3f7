#pragma once
#include <napi.h>

#include "binding/engine_state.h"

namespace hrm::binding {

// JavaScript values of what core returns, in the forms of lib/native.ts.
Napi::Value to_js(Napi::Env env, const Values& values);
Napi::Value to_js(Napi::Env env, const TensorInfo& info);
Napi::Value to_js(Napi::Env env, const std::vector<TensorInfo>& infos);
Napi::Value to_js(Napi::Env env, const StepResult& result);
Napi::Value to_js(Napi::Env env, const SegmentResult& result);

}  // namespace hrm::binding
