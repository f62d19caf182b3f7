#include "binding/engine.h"

#include "binding/addon_data.h"
#include "binding/convert.h"
#include "binding/results.h"
#include "binding/session.h"

namespace hrm::binding {

namespace {

constexpr int64_t kMaxInteger = (int64_t{1} << 53) - 1;  // what a JavaScript number holds exactly
constexpr int64_t kMaxRows = 1 << 20;                    // of a batch or a session
constexpr int64_t kMaxThreads = 1024;
constexpr napi_type_tag kEngineTag = {0x68726d2d6e617469, 0x76652d456e67696e};

ModelConfig read_config(const Argument& config) {
  const auto count = [&](const char* key) { return config.field(key).integer(0, kMaxInteger); };
  const auto number = [&](const char* key) { return config.field(key).number(); };
  return {.vocab_size = count("vocabSize"),
          .seq_len = count("seqLen"),
          .puzzle_emb_ndim = count("puzzleEmbNdim"),
          .num_puzzle_identifiers = count("numPuzzleIdentifiers"),
          .h_cycles = count("hCycles"),
          .l_cycles = count("lCycles"),
          .h_layers = count("hLayers"),
          .l_layers = count("lLayers"),
          .hidden_size = count("hiddenSize"),
          .num_heads = count("numHeads"),
          .expansion = number("expansion"),
          .rope = config.field("posEncodings").choice({"rope", "learned"}) == 0,
          .rope_theta = number("ropeTheta"),
          .rms_norm_eps = number("rmsNormEps"),
          .halt_max_segments = count("haltMaxSegments"),
          .halt_exploration_prob = number("haltExplorationProb"),
          .loss_type = config.field("lossType").choice({"stablemax_cross_entropy", "softmax_cross_entropy"}) == 0
                           ? LossType::stablemax_cross_entropy
                           : LossType::softmax_cross_entropy,
          .halt_only = config.field("haltOnly").boolean()};
}

BackendOptions read_options(const Argument& options) {
  return {.device = options.field("device").text(),
          .threads = static_cast<int>(options.field("threads").integer(0, kMaxThreads)),
          .precision = static_cast<Precision>(options.field("precision").choice({"fp32", "fp64", "int8", "bf16"})),
          .isa = options.field("isa").text()};
}

TrainConfig read_train_config(const Argument& options) {
  const auto number = [&](const char* key) { return options.field(key).number(); };
  return {.batch_size = options.field("batchSize").integer(1, kMaxRows),
          .micro_batch = options.field("microBatchSize").integer(0, kMaxRows),
          .total_steps = options.field("totalSteps").integer(0, kMaxInteger),
          .lr = number("lr"),
          .lr_min_ratio = number("lrMinRatio"),
          .lr_warmup_steps = options.field("lrWarmupSteps").integer(0, kMaxInteger),
          .adam = {.beta1 = number("beta1"),
                   .beta2 = number("beta2"),
                   .weight_decay = number("weightDecay"),
                   .variant = options.field("optimizer").choice({"adam_atan2", "adam_atan2_inside"}) == 0
                                  ? AdamVariant::outside
                                  : AdamVariant::inside},
          .puzzle_emb_lr = number("puzzleEmbLr"),
          .puzzle_emb_weight_decay = number("puzzleEmbWeightDecay"),
          .ema = number("ema"),
          .ema_warmup = number("emaWarmup"),
          .seed = static_cast<uint64_t>(options.field("seed").integer(0, kMaxInteger))};
}

Batch read_batch(const Argument& batch) {
  return {.inputs = batch.field("inputs").int32s(),
          .labels = batch.field("labels").int32s(),
          .puzzle_ids = batch.field("puzzleIds").int32s()};
}

Values read_values(const Argument& values) {
  if (values.is_typed_array(napi_float32_array)) return values.float32s();
  if (values.is_typed_array(napi_float64_array)) return values.float64s();
  if (values.is_typed_array(napi_int32_array)) return values.int32s();
  if (values.is_typed_array(napi_uint8_array)) return values.uint8s();
  values.wrong_kind("a Float32Array, Float64Array, Int32Array or Uint8Array");
}

// Accessors. V8 checks the receiver of a method; that of an accessor can be any value, also an object of another class.
template <typename Read>
Napi::Value read_state(const char* name, const Napi::CallbackInfo& info, Read read) {
  return guarded(info.Env(), [&] {
    const auto& handle = EngineObject::handle_of(Argument(name, "the receiver", info.This()));
    return Napi::Value::From(info.Env(), read(*handle->state()));
  });
}

Napi::Value description(const Napi::CallbackInfo& info) {
  return read_state("description", info, [](const EngineState& state) { return state.description(); });
}

Napi::Value num_parameters(const Napi::CallbackInfo& info) {
  return read_state("numParameters", info, [](const EngineState& state) { return state.num_parameters(); });
}

Napi::Value bytes(const Napi::CallbackInfo& info) {
  return read_state("bytes", info, [](const EngineState& state) { return state.bytes(); });
}

}  // namespace

EngineObject::EngineObject(const Napi::CallbackInfo& info) : Napi::ObjectWrap<EngineObject>(info) {
  guarded(info.Env(), [&] {
    const ModelConfig config = read_config(Argument("Engine", info, 0, "config"));
    const BackendOptions options = read_options(Argument("Engine", info, 1, "options"));
    handle_ = std::make_shared<EngineHandle>(info.Env(), config, options);
    info.This().As<Napi::Object>().TypeTag(&kEngineTag);
  });
}

const std::shared_ptr<EngineHandle>& EngineObject::handle_of(const Argument& engine) {
  const Napi::Value value = engine.value();
  if (!value.IsObject() || !value.As<Napi::Object>().CheckTypeTag(&kEngineTag)) engine.wrong_kind("an Engine");
  return Unwrap(value.As<Napi::Object>())->handle_;
}

Napi::Value EngineObject::init(const Napi::CallbackInfo& info) {
  return promised(info.Env(), [&] {
    const auto seed = static_cast<uint64_t>(Argument("init", info, 0, "seed").integer(0, kMaxInteger));
    return handle_->run("init", [state = handle_->state(), seed] {
      state->initialise(seed);
      return nothing();
    });
  });
}

Napi::Value EngineObject::model_tensors(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    handle_->throw_if_disposed("modelTensors");
    return to_js(info.Env(), handle_->state()->model_infos());
  });
}

Napi::Value EngineObject::trainer_tensors(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    handle_->throw_if_disposed("trainerTensors");
    return to_js(info.Env(), handle_->state()->trainer_infos());
  });
}

Napi::Value EngineObject::tensor_info(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const std::string name = Argument("tensorInfo", info, 0, "name").text();
    handle_->throw_if_disposed("tensorInfo");
    const std::optional<TensorInfo> found = handle_->state()->find_info(name);
    return found ? to_js(info.Env(), *found) : info.Env().Undefined();
  });
}

Napi::Value EngineObject::read(const Napi::CallbackInfo& info) {
  return promised(info.Env(), [&] {
    const std::string name = Argument("read", info, 0, "name").text();
    return handle_->run("read", [state = handle_->state(), name]() -> Convert {
      return [values = state->read(name)](Napi::Env env) { return to_js(env, values); };
    });
  });
}

Napi::Value EngineObject::write(const Napi::CallbackInfo& info) {
  return promised(info.Env(), [&] {
    const std::string name = Argument("write", info, 0, "name").text();
    Values values = read_values(Argument("write", info, 1, "values"));
    return handle_->run("write", [state = handle_->state(), name, values = std::move(values)] {
      state->write(name, values);
      return nothing();
    });
  });
}

Napi::Value EngineObject::start_training(const Napi::CallbackInfo& info) {
  return promised(info.Env(), [&] {
    const TrainConfig config = read_train_config(Argument("startTraining", info, 0, "options"));
    const int64_t step = Argument("startTraining", info, 1, "step").integer(0, kMaxInteger);
    return handle_->run("startTraining", [state = handle_->state(), config, step] {
      state->start_training(config, step);
      return nothing();
    });
  });
}

Napi::Value EngineObject::train_step(const Napi::CallbackInfo& info) {
  return promised(info.Env(), [&] {
    const Batch batch = read_batch(Argument("trainStep", info, 0, "batch"));
    std::optional<Draws> draws;
    if (const Argument given("trainStep", info, 1, "draws"); given.given())
      draws = {.u = given.field("u").float32s(), .min_steps = given.field("minSteps").int32s()};
    return handle_->run("trainStep", [state = handle_->state(), batch, draws]() -> Convert {
      return [result = state->train_step(batch, draws)](Napi::Env env) { return to_js(env, result); };
    });
  });
}

Napi::Value EngineObject::end_training(const Napi::CallbackInfo& info) {
  return promised(info.Env(), [&] {
    return handle_->run("endTraining", [state = handle_->state()] {
      state->end_training();
      return nothing();
    });
  });
}

Napi::Value EngineObject::swap_ema(const Napi::CallbackInfo& info) {
  return promised(info.Env(), [&] {
    return handle_->run("swapEma", [state = handle_->state()] {
      state->swap_ema();
      return nothing();
    });
  });
}

Napi::Value EngineObject::open_session(const Napi::CallbackInfo& info) {
  return promised(info.Env(), [&] {
    const int64_t capacity = Argument("openSession", info, 0, "capacity").integer(1, kMaxRows);
    // The handle goes along by address: the pending promise keeps it alive, and the thread must not come to own it.
    return handle_->run("openSession", [handle = handle_.get(), state = handle_->state(), capacity]() -> Convert {
      return [handle, session = state->open_session(capacity)](Napi::Env env) {
        return SessionObject::make(env, {handle->shared_from_this(), session});
      };
    });
  });
}

void EngineObject::dispose(const Napi::CallbackInfo&) { handle_->dispose(); }

void export_engine(Napi::Env env, Napi::Object exports) {
  using Self = EngineObject;
  const Napi::Function engine = Self::DefineClass(
      env, "Engine",
      {Self::InstanceMethod<&Self::init>("init"), Self::InstanceMethod<&Self::model_tensors>("modelTensors"),
       Self::InstanceMethod<&Self::trainer_tensors>("trainerTensors"),
       Self::InstanceMethod<&Self::tensor_info>("tensorInfo"), Self::InstanceMethod<&Self::read>("read"),
       Self::InstanceMethod<&Self::write>("write"), Self::InstanceMethod<&Self::start_training>("startTraining"),
       Self::InstanceMethod<&Self::train_step>("trainStep"), Self::InstanceMethod<&Self::end_training>("endTraining"),
       Self::InstanceMethod<&Self::swap_ema>("swapEma"), Self::InstanceMethod<&Self::open_session>("openSession"),
       Self::InstanceMethod<&Self::dispose>("dispose")});
  engine.Get("prototype")
      .As<Napi::Object>()
      .DefineProperties({Napi::PropertyDescriptor::Accessor<description>("description"),
                         Napi::PropertyDescriptor::Accessor<num_parameters>("numParameters"),
                         Napi::PropertyDescriptor::Accessor<bytes>("bytes")});
  exports.Set("Engine", engine);
}

}  // namespace hrm::binding
