// Files and the machine: what TypeScript lacks.
#include "core/os.h"

#include <napi.h>

#include "binding/addon_data.h"
#include "binding/convert.h"
#include "core/backend_select.h"

namespace hrm::binding {

static Napi::Value cpu_info(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return guarded(env, [&] {
    const CpuFeatures features = cpu_features();
    Napi::Array isas = Napi::Array::New(env, features.isas.size());
    for (uint32_t i = 0; i < features.isas.size(); ++i) isas.Set(i, features.isas[i]);
    Napi::Object result = Napi::Object::New(env);
    result.Set("isa", features.isa);
    result.Set("isas", isas);
    result.Set("threads", features.threads);
    return result;
  });
}

static Napi::Value gpu_info(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return guarded(env, [&] {
    const GpuFeatures features = gpu_features();
    Napi::Array devices = Napi::Array::New(env, features.devices.size());
    for (uint32_t i = 0; i < features.devices.size(); ++i) {
      const GpuFeatures::Device& found = features.devices[i];
      Napi::Object device = Napi::Object::New(env);
      device.Set("name", found.name);
      device.Set("capability", found.capability);
      device.Set("multiprocessors", found.multiprocessors);
      device.Set("memoryBytes", static_cast<double>(found.memory_bytes));
      devices.Set(i, device);
    }
    Napi::Object result = Napi::Object::New(env);
    result.Set("devices", devices);
    result.Set("reason", features.reason);
    result.Set("unusable", features.unusable);
    return result;
  });
}

static Napi::Value map_file(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return guarded(env, [&] {
    auto file = std::make_unique<MappedFile>(Argument("mapFile", info, 0, "path").text());
    if (file->size() == 0) return Napi::ArrayBuffer::New(env, 0);
    Napi::ArrayBuffer buffer = Napi::ArrayBuffer::New(
        env, file->data(), file->size(), [](Napi::Env, void*, MappedFile* mapping) { delete mapping; }, file.get());
    file.release();
    return buffer;
  });
}

static Napi::Value lock_file(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return guarded(env, [&]() -> Napi::Value {
    const std::shared_ptr<FileLock> lock = FileLock::try_acquire(Argument("lockFile", info, 0, "path").text());
    if (!lock) return env.Undefined();
    Napi::Object handle = Napi::Object::New(env);
    const auto release = [weak = std::weak_ptr(lock)](const Napi::CallbackInfo& call) {
      if (const auto held = weak.lock()) AddonData::of(call.Env()).locks.erase(held);
    };
    handle.Set("release", Napi::Function::New(env, release, "release"));
    AddonData::of(env).locks.insert(lock);
    return handle;
  });
}

void export_os(Napi::Env env, Napi::Object exports) {
  exports.Set("cpuInfo", Napi::Function::New(env, cpu_info, "cpuInfo"));
  exports.Set("gpuInfo", Napi::Function::New(env, gpu_info, "gpuInfo"));
  exports.Set("mapFile", Napi::Function::New(env, map_file, "mapFile"));
  exports.Set("lockFile", Napi::Function::New(env, lock_file, "lockFile"));
}

}  // namespace hrm::binding
