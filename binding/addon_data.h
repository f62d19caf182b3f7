#pragma once
#include <napi.h>

#include <list>
#include <memory>
#include <set>

#include "binding/completions.h"
#include "binding/engine_handle.h"
#include "core/os.h"

namespace hrm::binding {

/// What the addon keeps per environment (the main thread, each worker); nothing of JavaScript is shared between them.
struct AddonData {
  explicit AddonData(Napi::Env env) : completions(Completions::create(env)) {}

  std::shared_ptr<Completions> completions;
  std::list<std::shared_ptr<EngineHandle>> busy;  // once per pending promise, which keeps its engine alive
  Napi::FunctionReference session_class;
  std::set<std::shared_ptr<FileLock>> locks;  // held until released or the environment ends

  static AddonData& of(Napi::Env env) { return *env.GetInstanceData<AddonData>(); }
};

/// Makes the addon's exports.
Napi::Object initialise(Napi::Env env, Napi::Object exports);

// What each file adds to the addon's exports.
void export_engine(Napi::Env env, Napi::Object exports);
void export_session(Napi::Env env);
void export_os(Napi::Env env, Napi::Object exports);
void export_debug(Napi::Env env, Napi::Object exports);

}  // namespace hrm::binding
