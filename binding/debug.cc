// NativeDebug of lib/native.ts: hooks for parity runs and tests.
#include <napi.h>

#include <functional>
#include <utility>

#include "binding/addon_data.h"
#include "binding/convert.h"
#include "binding/engine.h"
#include "binding/results.h"
#include "core/backend_select.h"
#include "core/initialiser.h"
#include "core/optimisers.h"
#include "core/philox.h"

namespace hrm::binding {

namespace {

constexpr int64_t kMaxInteger = (int64_t{1} << 53) - 1;
constexpr int64_t kMaxMilliseconds = 600'000;

Napi::Value start_stages(const Napi::CallbackInfo& info) {
  return promised(info.Env(), [&] {
    const auto& engine = EngineObject::handle_of(Argument("startStages", info, 0, "engine"));
    return engine->run("startStages", [state = engine->state()] {
      state->start_stages();
      return nothing();
    });
  });
}

Napi::Value take_stages(const Napi::CallbackInfo& info) {
  return promised(info.Env(), [&] {
    const auto& engine = EngineObject::handle_of(Argument("takeStages", info, 0, "engine"));
    return engine->run("takeStages", [state = engine->state()]() -> Convert {
      return [stages = state->take_stages()](Napi::Env env) {
        Napi::Array list = Napi::Array::New(env, stages.size());
        for (uint32_t i = 0; i < stages.size(); ++i) {
          Napi::Array stage = Napi::Array::New(env, 2);
          stage.Set(uint32_t{0}, stages[i].first);
          stage.Set(uint32_t{1}, to_js(env, stages[i].second));
          list.Set(i, stage);
        }
        return list;
      };
    });
  });
}

Napi::Value schedule(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const auto argument = [&](size_t index, const char* name) { return Argument("learningRate", info, index, name); };
    const int64_t step = argument(0, "step").integer(0, kMaxInteger);
    const double base = argument(1, "base").number();
    const int64_t warmup = argument(2, "warmup").integer(0, kMaxInteger);
    const int64_t total = argument(3, "total").integer(0, kMaxInteger);
    const double min_ratio = argument(4, "minRatio").number();
    return Napi::Number::New(info.Env(), learning_rate(step, base, warmup, total, min_ratio));
  });
}

Napi::Value truncated_normal(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    constexpr int64_t kMaxCount = 1 << 27;
    const auto argument = [&](size_t index, const char* name) {
      return Argument("truncatedNormal", info, index, name);
    };
    const TruncatedNormal distribution(argument(0, "std").number());
    const auto seed = static_cast<uint64_t>(argument(1, "seed").integer(0, kMaxInteger));
    std::vector<double> values(static_cast<size_t>(argument(2, "count").integer(0, kMaxCount)));
    if (const Argument u = argument(3, "u"); u.given()) {
      values = u.float64s();
      for (double& value : values) value = distribution.from_erf(value);
    } else {
      distribution.fill(values, seed, 0);
    }
    return to_js(info.Env(), values);
  });
}

Napi::Value philox_words(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const std::vector<uint32_t> key = Argument("philox", info, 0, "key").words(2);
    const std::vector<uint32_t> counter = Argument("philox", info, 1, "counter").words(4);
    const auto words = philox(key[0], key[1], {{counter[0], counter[1], counter[2], counter[3]}});
    return to_js(info.Env(), std::vector<uint32_t>(words.words, words.words + 4));
  });
}

/// A number that is measured on a thread of its own.
Napi::Value measured_apart(Napi::Env env, std::function<double()> measure) {
  EngineThread thread;
  const auto work = [measure = std::move(measure)]() -> Convert {
    return [value = measure()](Napi::Env loop) { return Napi::Number::New(loop, value); };
  };
  return AddonData::of(env).completions->run(env, thread, work, [] {});
}

Napi::Value peak_flops(const Napi::CallbackInfo& info) {
  return promised(info.Env(), [&] {
    constexpr int64_t kMaxThreads = 1024;
    const auto threads = static_cast<int>(Argument("peakFlops", info, 0, "threads").integer(0, kMaxThreads));
    const std::string isa = Argument("peakFlops", info, 1, "isa").text();
    const int64_t milliseconds = Argument("peakFlops", info, 2, "ms").integer(1, kMaxMilliseconds);
    return measured_apart(info.Env(), [isa, threads, milliseconds] {
      return measure_peak_gflops(isa, threads, static_cast<double>(milliseconds));
    });
  });
}

Napi::Value gpu_peak_flops(const Napi::CallbackInfo& info) {
  return promised(info.Env(), [&] {
    const std::string device = Argument("gpuPeakFlops", info, 0, "device").text();
    const bool bf16 = Argument("gpuPeakFlops", info, 1, "precision").choice({"fp32", "bf16"}) == 1;
    const int64_t milliseconds = Argument("gpuPeakFlops", info, 2, "ms").integer(1, kMaxMilliseconds);
    return measured_apart(info.Env(), [device, bf16, milliseconds] {
      const Precision precision = bf16 ? Precision::bf16 : Precision::fp32;
      return measure_gpu_peak_gflops(device, precision, static_cast<double>(milliseconds));
    });
  });
}

Napi::Value steps_to_time(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const std::vector<StepInfo>& steps = timed_steps();
    Napi::Array list = Napi::Array::New(info.Env(), steps.size());
    for (uint32_t i = 0; i < steps.size(); ++i) {
      Napi::Object step = Napi::Object::New(info.Env());
      step.Set("name", steps[i].name);
      step.Set("batched", steps[i].batched);
      step.Set("training", steps[i].training);
      list.Set(i, step);
    }
    return list;
  });
}

Napi::Value time_step(const Napi::CallbackInfo& info) {
  return promised(info.Env(), [&] {
    constexpr int64_t kMaxBatch = 1 << 20;
    const auto& engine = EngineObject::handle_of(Argument("timeStep", info, 0, "engine"));
    const std::string step = Argument("timeStep", info, 1, "step").text();
    const int64_t batch = Argument("timeStep", info, 2, "batch").integer(1, kMaxBatch);
    const int64_t milliseconds = Argument("timeStep", info, 3, "ms").integer(1, kMaxMilliseconds);
    return engine->run("timeStep", [state = engine->state(), step, batch, milliseconds]() -> Convert {
      return [times = state->time_step(step, batch, static_cast<double>(milliseconds))](Napi::Env env) {
        Napi::Object result = Napi::Object::New(env);
        result.Set("gflop", times.gflop);
        result.Set("ms", to_js(env, times.milliseconds));
        return result;
      };
    });
  });
}

}  // namespace

void export_debug(Napi::Env env, Napi::Object exports) {
  Napi::Object debug = Napi::Object::New(env);
  debug.Set("startStages", Napi::Function::New(env, start_stages, "startStages"));
  debug.Set("takeStages", Napi::Function::New(env, take_stages, "takeStages"));
  debug.Set("learningRate", Napi::Function::New(env, schedule, "learningRate"));
  debug.Set("truncatedNormal", Napi::Function::New(env, truncated_normal, "truncatedNormal"));
  debug.Set("philox", Napi::Function::New(env, philox_words, "philox"));
  debug.Set("timedSteps", Napi::Function::New(env, steps_to_time, "timedSteps"));
  debug.Set("timeStep", Napi::Function::New(env, time_step, "timeStep"));
  debug.Set("peakFlops", Napi::Function::New(env, peak_flops, "peakFlops"));
  debug.Set("gpuPeakFlops", Napi::Function::New(env, gpu_peak_flops, "gpuPeakFlops"));
  exports.Set("debug", debug);
}

}  // namespace hrm::binding
