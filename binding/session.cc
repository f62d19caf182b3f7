#include "binding/session.h"

#include <cmath>

#include "binding/addon_data.h"
#include "binding/convert.h"
#include "binding/results.h"
#include "core/error.h"

namespace hrm::binding {

constexpr int64_t kMaxRows = 1 << 20;

SessionObject::SessionObject(const Napi::CallbackInfo& info) : Napi::ObjectWrap<SessionObject>(info) {
  guarded(info.Env(), [&] {
    const Argument parts("Session", info, 0, "the argument");
    if (!info[0].IsExternal()) parts.wrong_kind("what openSession() passes; call that");
    parts_ = std::move(*info[0].As<Napi::External<Parts>>().Data());
  });
}

Napi::Value SessionObject::make(Napi::Env env, Parts parts) {
  parts.closing = EngineThread::prepare(
      [engine = parts.engine->state(), session = parts.state] { engine->close_session(*session); });
  return AddonData::of(env).session_class.New({Napi::External<Parts>::New(env, &parts)});
}

void SessionObject::close(const Napi::CallbackInfo&) {
  const std::shared_ptr<EngineHandle> engine = parts_.engine;
  close();
  if (engine) engine->report_later();
}

void SessionObject::close() noexcept {
  if (closed_ || !parts_.engine) return;
  closed_ = true;
  parts_.engine->post(std::move(parts_.closing));
  parts_ = {};
}

void SessionObject::throw_if_closed(const char* operation) const {
  if (closed_)
    throw Error("ERR_HRM_DISPOSED", std::string("[") + operation + "] expected an open session, got a closed one");
}

/// Three words per row: low and high half of the seed, run.
static std::vector<StartNoise> read_noise(const Argument& noise) {
  const std::vector<double> sigmas = noise.field("sigmas").float64s();
  const Argument keys = noise.field("keys");
  const std::vector<int32_t> words = keys.int32s();
  if (words.size() != 3 * sigmas.size()) keys.out_of_range("three words for each of sigmas");
  std::vector<StartNoise> rows;
  for (size_t b = 0; b < sigmas.size(); ++b) {
    const double sigma = sigmas[b];
    if (!(sigma >= 0 && std::isfinite(sigma))) noise.field("sigmas").out_of_range("finite numbers from 0");
    const auto word = [&](size_t i) { return static_cast<uint32_t>(words[3 * b + i]); };
    rows.push_back({.sigma = sigma, .seed = uint64_t{word(1)} << 32 | word(0), .run = word(2)});
  }
  return rows;
}

static SegmentRequest read_request(const Argument& options) {
  SegmentRequest request;
  request.rows = options.field("rows").integer(1, kMaxRows);
  request.reset = options.field("reset").uint8s();
  request.batch.inputs = options.field("inputs").int32s();
  request.batch.puzzle_ids = options.field("puzzleIds").int32s();
  if (const Argument labels = options.field("labels"); labels.given()) {
    request.batch.labels = labels.int32s();
    // Core takes no labels for no evaluation; an empty array is neither.
    if (request.batch.labels.empty()) labels.out_of_range("rows * seqLen labels, or undefined");
  }
  if (const Argument keep = options.field("keep"); keep.given()) request.keep = keep.int32s();
  if (const Argument noise = options.field("noise"); noise.given()) request.noise = read_noise(noise);
  if (const Argument limits = options.field("limits"); limits.given()) {
    request.limits = limits.int32s();
    request.adaptive = options.field("adaptive").uint8s();
    // Core takes no limits for one segment; an empty array is neither.
    if (request.limits.empty()) limits.out_of_range("one limit a row, or undefined");
  }
  if (const Argument residual = options.field("residual"); residual.given()) request.residual = residual.boolean();
  return request;
}

Napi::Value SessionObject::segment(const Napi::CallbackInfo& info) {
  return promised(info.Env(), [&] {
    const SegmentRequest request = read_request(Argument("segment", info, 0, "options"));
    throw_if_closed("segment");
    return parts_.engine->run("segment", [session = parts_.state, request]() -> Convert {
      return [result = session->session->segment(request)](Napi::Env env) { return to_js(env, result); };
    });
  });
}

Napi::Value SessionObject::read(const Napi::CallbackInfo& info) {
  return promised(info.Env(), [&] {
    const std::string name = Argument("read", info, 0, "name").text();
    throw_if_closed("read");
    return parts_.engine->run("read", [session = parts_.state, name]() -> Convert {
      const Tensor tensor = find_tensor(session->session->trace_tensors(), name).tensor;
      return [values = download(session->model->backend(), tensor)](Napi::Env env) { return to_js(env, values); };
    });
  });
}

void export_session(Napi::Env env) {
  AddonData::of(env).session_class =
      Napi::Persistent(SessionObject::DefineClass(env, "Session",
                                                  {SessionObject::InstanceMethod<&SessionObject::segment>("segment"),
                                                   SessionObject::InstanceMethod<&SessionObject::read>("read"),
                                                   SessionObject::InstanceMethod<&SessionObject::close>("close")}));
}

}  // namespace hrm::binding
