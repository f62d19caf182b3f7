#include "cuda/cuda_backend.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "core/error.h"
#include "cuda/cuda_storage.h"

namespace hrm {
namespace cuda {
namespace {

using Piece = std::shared_ptr<Memory>;

/// What a block's forward keeps, for `batch` sequences at most; x-hat: after the norm, rounded to the format.
struct Tape : BlockTape {
  Piece entry, mid, out;     // [rows, D] x-hat of the block's input, after attention, after SwiGLU
  Piece mid_rstd, out_rstd;  // [rows] f32
  Piece qkv, attention;      // [rows, 3D], [rows, D]
  Piece log_sums;            // [batch, heads, S] f32
  Piece gate_up;             // [rows, 2F]
};

/// Memory that ops share, each as large as the largest use so far.
enum Slot : int {
  kQkv,        // [rows, 3D], and its gradient
  kAttention,  // [rows, D], and its gradient
  kMid,        // [rows, D] and its partial sums
  kMidSums,
  kHidden,   // [rows, F]
  kGateUp,   // [rows, 2F] gradient
  kWork,     // partial sums of reductions
  kStaging,  // f32 of activations on their way to or from the host
  kIndices,  // rows to keep
  kSlots
};

/// A graph, with the shared memory that it refers to.
struct CudaRecording : Recording {
  explicit CudaRecording(std::shared_ptr<Place> place) : place(std::move(place)) {}

  const std::shared_ptr<Place> place;  // what the graph is of
  std::unique_ptr<Graph> graph;
  std::array<Piece, kSlots> slots;
};

const PlainStorage& plain(const Tensor& tensor) { return static_cast<const PlainStorage&>(*tensor); }

template <typename T>
T* data_of(const Tensor& tensor) {
  return tensor ? plain(tensor).data<T>() : nullptr;
}

[[noreturn]] void unsupported(const std::string& expected, int64_t got) {
  throw Error("ERR_HRM_CONFIG", "[cuda] expected " + expected + ", got " + std::to_string(got) +
                                    "; change the model's sizes or use device 'cpu'");
}

void check_sizes(const Shapes& shapes) {
  constexpr int64_t kMaxPositions = 2048;
  const int64_t head = shapes.HS();
  if (shapes.D % kNormGroup != 0) unsupported("a hidden size that is a multiple of 32", shapes.D);
  if (shapes.F % kNormGroup != 0) unsupported("a SwiGLU width that is a multiple of 32", shapes.F);
  if (head != 32 && head != 64 && head != 128) unsupported("heads of 32, 64 or 128 channels", head);
  if (shapes.S() > kMaxPositions) unsupported("2048 positions at most", shapes.S());
}

class CudaBackend : public Backend {
 public:
  CudaBackend(int index, Format format)
      : place_(std::make_shared<Place>(index)), device_(&place_->device), format_(format) {}

  std::string describe() const override {
    return "cuda " + device_->info().name + (format_ == Format::bf16 ? ", bf16" : ", fp32");
  }
  DType real() const override { return DType::f32; }
  int64_t bytes() const override { return place_->bytes; }

  // --- memory -------------------------------------------------------------------------------------------------
  Tensor allocate(DType dtype, size_t count) override {
    return std::make_shared<PlainStorage>(dtype, count, memory(count * hrm::size_of(dtype)), 0);
  }

  Tensor allocate_activations(const Shapes& shapes, int64_t batch) override {
    check_sizes(shapes);
    const auto rows = static_cast<size_t>(batch * shapes.S()), width = static_cast<size_t>(shapes.D);
    const Piece sums = memory(rows * (width / kNormGroup) * sizeof(float));
    const auto made = std::make_shared<ActivationStorage>(format_, shapes.D, rows,
                                                          memory(rows * width * cuda::size_of(format_)), sums, 0);
    const std::vector<float> final(sums->bytes() / sizeof(float), -1);
    device_->upload(sums->as(), final.data(), sums->bytes());
    return made;
  }

  Tensor view(const Tensor& tensor, size_t offset, size_t count) override {
    if (const ActivationStorage* whole = activations(tensor)) {
      const auto width = static_cast<size_t>(whole->D);
      return std::make_shared<ActivationStorage>(whole->format, whole->D, count / width, whole->x, whole->sums,
                                                 whole->first_row + offset / width);
    }
    return std::make_shared<PlainStorage>(tensor->dtype, count, plain(tensor).memory, plain(tensor).offset + offset);
  }

  void upload(const Tensor& tensor, const void* source, size_t offset, size_t count) override {
    if (count == 0) return;
    if (const ActivationStorage* target = activations(tensor)) {
      const size_t bytes = count * sizeof(float);
      void* staging = slot(kStaging, bytes);
      device_->upload(staging, source, bytes);
      narrow(*device_, format_, target->D, static_cast<const float*>(staging), offset, count, target->rows());
      return;
    }
    const size_t size = hrm::size_of(tensor->dtype);
    device_->upload(plain(tensor).data<unsigned char>() + offset * size, source, count * size);
    refresh(tensor);
  }

  void download(const Tensor& tensor, void* target, size_t offset, size_t count) override {
    if (count == 0) return;
    if (const ActivationStorage* source = activations(tensor)) {
      float* staging = static_cast<float*>(slot(kStaging, source->count * sizeof(float)));
      const auto rows = static_cast<int64_t>(source->count) / source->D;
      widen(*device_, format_, {.batch = rows, .S = 1, .D = source->D, .heads = 1, .F = 0, .norm_eps = norm_eps_},
            source->rows(), staging);
      device_->download(target, staging + offset, count * sizeof(float));
      return;
    }
    const size_t size = hrm::size_of(tensor->dtype);
    device_->download(target, plain(tensor).data<unsigned char>() + offset * size, count * size);
  }

  void copy(const Tensor& source, const Tensor& target, size_t count) override {
    const ActivationStorage *from = activations(source), *to = activations(target);
    if ((from == nullptr) != (to == nullptr))
      throw Error("ERR_HRM_ARGUMENT", "[cuda] expected two activations or two plain tensors to copy, got one of each");
    if (from != nullptr) {
      device_->copy(to->rows().x, from->rows().x, count * cuda::size_of(format_));
      device_->copy(to->rows().sums, from->rows().sums, count / kNormGroup * sizeof(float));
      return;
    }
    device_->copy(plain(target).data<void>(), plain(source).data<void>(), count * hrm::size_of(source->dtype));
    refresh(target);
  }

  void swap(const Tensor& a, const Tensor& b) override {
    exchange(*device_, static_cast<int64_t>(a->count), data_of<float>(a), data_of<float>(b));
    refresh(a);
    refresh(b);
  }

  std::unique_ptr<BlockTape> make_tape(const BlockParams& params, int64_t batch) override {
    const Shapes& s = params.shapes;
    check_sizes(s);
    const auto rows = static_cast<size_t>(batch * s.S());
    const auto piece = [&](int64_t width) {
      return memory(rows * static_cast<size_t>(width) * cuda::size_of(format_));
    };
    auto tape = std::make_unique<Tape>();
    tape->entry = piece(s.D);
    tape->mid = piece(s.D);
    tape->out = piece(s.D);
    tape->mid_rstd = memory(rows * sizeof(float));
    tape->out_rstd = memory(rows * sizeof(float));
    tape->qkv = piece(3 * s.D);
    tape->attention = piece(s.D);
    tape->log_sums = memory(rows * static_cast<size_t>(s.NH) * sizeof(float));
    tape->gate_up = piece(2 * s.F);
    return tape;
  }

  void wait() override { device_->wait(); }

  // Issued once before it is captured: by then everything that it needs is allocated.
  void record(std::unique_ptr<Recording>& recording, const std::function<void()>& body) override {
    if (first_use(recording))
      body();
    else
      device_->replay(captured(recording, body, [&] { return device_->end_capture(); }));
  }

  void record_while(std::unique_ptr<Recording>& recording, const Tensor& again,
                    const std::function<void()>& body) override {
    if (first_use(recording)) {
      std::unique_ptr<Recording> none;
      Backend::record_while(none, again, body);
    } else {
      const auto end = [&] { return device_->end_capture_loop(data_of<uint8_t>(again)); };
      device_->replay(captured(recording, body, end));
    }
  }

  // --- carry --------------------------------------------------------------------------------------------------
  void reset_halted(const Shapes& shapes, int64_t batch, const Tensor& halted, const Tensor& init_h,
                    const Tensor& init_l, const Tensor& z_h, const Tensor& z_l, const Tensor& steps) override {
    cuda::reset_halted(*device_, format_, sizes_of(shapes, batch), data_of<uint8_t>(halted), data_of<float>(init_h),
                       data_of<float>(init_l), state(z_h), state(z_l), data_of<int32_t>(steps));
  }

  void replace_halted(int64_t batch, int64_t width, const Tensor& halted, const Tensor& next,
                      const Tensor& current) override {
    cuda::replace_halted(*device_, batch, width, data_of<uint8_t>(halted), data_of<int32_t>(next),
                         data_of<int32_t>(current));
  }

  void explore(int64_t batch, uint64_t seed, double probability, int64_t max_steps, const Tensor& hyper,
               const Tensor& min_steps) override {
    cuda::explore(*device_, batch, seed, static_cast<float>(probability), max_steps, data_of<double>(hyper),
                  data_of<int32_t>(min_steps));
  }

  void halt(int64_t batch, int64_t max_steps, HaltRule rule, const Tensor& q, const Tensor& min_steps,
            const Tensor& steps, const Tensor& halted) override {
    cuda::halt(*device_, batch, max_steps, rule, data_of<float>(q), data_of<int32_t>(min_steps),
               data_of<int32_t>(steps), data_of<uint8_t>(halted));
  }

  void none_done(int64_t batch, HaltRule rule, const Tensor& q, const Tensor& steps, const Tensor& limits,
                 const Tensor& adaptive, const Tensor& again) override {
    cuda::none_done(*device_, batch, rule, data_of<float>(q), data_of<int32_t>(steps), data_of<int32_t>(limits),
                    data_of<uint8_t>(adaptive), data_of<uint8_t>(again));
  }

  void q_continue_target(int64_t batch, int64_t max_steps, const Tensor& next_q, const Tensor& steps,
                         const Tensor& target) override {
    cuda::q_continue_target(*device_, batch, max_steps, data_of<float>(next_q), data_of<int32_t>(steps),
                            data_of<float>(target));
  }

  void compact_rows(std::span<const int32_t> keep, int64_t width, const Tensor& tensor) override {
    if (keep.empty()) return;
    auto* indices = static_cast<int32_t*>(slot(kIndices, keep.size_bytes()));
    device_->upload(indices, keep.data(), keep.size_bytes());
    const auto keep_bytes = [&](void* rows, int64_t row_bytes) {
      const size_t bytes = keep.size() * static_cast<size_t>(row_bytes);
      void* gathered = slot(kStaging, bytes);
      gather_bytes(*device_, static_cast<int64_t>(keep.size()), row_bytes, indices, rows, gathered);
      device_->copy(rows, gathered, bytes);
    };
    if (const ActivationStorage* states = activations(tensor)) {
      keep_bytes(states->rows().x, width * static_cast<int64_t>(cuda::size_of(format_)));
      keep_bytes(states->rows().sums, width / kNormGroup * static_cast<int64_t>(sizeof(float)));
    } else {
      keep_bytes(plain(tensor).data<void>(), width * static_cast<int64_t>(hrm::size_of(tensor->dtype)));
    }
  }

  // --- forward ------------------------------------------------------------------------------------------------
  void gather_rows(int64_t batch, int64_t width, const Tensor& table, const Tensor& ids, const Tensor& rows) override {
    cuda::gather_rows(*device_, batch, width, data_of<float>(table), data_of<int32_t>(ids), data_of<float>(rows));
  }

  void embed_forward(const Shapes& shapes, int64_t batch, const EmbedWeights& weights, const Tensor& tokens,
                     const Tensor& puzzle_rows, const Tensor& x) override {
    cuda::embed_forward(*device_, format_, shapes, batch, data_of<float>(weights.tokens),
                        data_of<float>(weights.positions), data_of<int32_t>(tokens), data_of<float>(puzzle_rows),
                        state(x));
  }

  void inject(const Shapes& shapes, int64_t batch, const Tensor& z, const Tensor& a, const Tensor& b) override {
    cuda::inject(*device_, format_, sizes_of(shapes, batch), state(z), state(a), b ? state(b) : Activation{});
  }

  void block_forward(const BlockParams& params, int64_t batch, const BlockWeights& weights, const Tensor& x,
                     BlockTape* kept) override {
    norm_eps_ = static_cast<float>(params.norm_eps);
    const BlockSizes sizes = sizes_of(params.shapes, batch);
    const auto* tape = static_cast<Tape*>(kept);
    const Activation state_of_x = state(x);
    const Activation mid = {scratch(kMid, sizes, sizes.D),
                            static_cast<float*>(slot(kMidSums, norm_sums(sizes) * sizeof(float)))};
    void* qkv = tape ? tape->qkv->as() : scratch(kQkv, sizes, 3 * sizes.D);
    void* attention = tape ? tape->attention->as() : scratch(kAttention, sizes, sizes.D);
    void* hidden = scratch(kHidden, sizes, sizes.F);

    if (tape) normalise(*device_, format_, sizes, state_of_x, tape->entry->as(), nullptr);
    qkv_forward(*device_, format_, sizes, state_of_x, weight(weights.qkv), rope_table(params), qkv);
    attention_forward(*device_, format_, sizes, qkv, attention, tape ? tape->log_sums->as<float>() : nullptr);
    residual_forward(*device_, format_, sizes, sizes.D, attention, weight(weights.o), state_of_x, mid);
    swiglu_forward(*device_, format_, sizes, mid, weight(weights.gate_up), tape ? tape->gate_up->as() : nullptr,
                   hidden);
    residual_forward(*device_, format_, sizes, sizes.F, hidden, weight(weights.down), mid, state_of_x);
    if (!tape) return;
    normalise(*device_, format_, sizes, mid, tape->mid->as(), tape->mid_rstd->as<float>());
    normalise(*device_, format_, sizes, state_of_x, tape->out->as(), tape->out_rstd->as<float>());
  }

  void readout_forward(const Shapes& shapes, int64_t batch, const HeadWeights& weights, const Tensor& z_h,
                       const Tensor& logits, const Tensor& q) override {
    cuda::readout_forward(*device_, format_, shapes, batch, norm_eps_, weight(weights.lm), weight(weights.q),
                          data_of<float>(weights.q_bias), state(z_h), data_of<float>(logits), data_of<float>(q));
  }

  void argmax(const Shapes& shapes, int64_t batch, const Tensor& logits, const Tensor& predictions) override {
    cuda::argmax(*device_, batch * shapes.T, shapes.V, data_of<float>(logits), data_of<int32_t>(predictions));
  }

  // --- loss and backward --------------------------------------------------------------------------------------
  void loss(const Shapes& shapes, int64_t batch, LossType type, double scale, const Tensor& logits, const Tensor& q,
            const Tensor& labels, const Tensor& target_q_continue, const Tensor& row_stats, const Tensor& grad_logits,
            const Tensor& grad_q) override {
    cuda::loss(*device_, shapes, batch, type, scale, data_of<float>(logits), data_of<float>(q),
               data_of<int32_t>(labels), data_of<float>(target_q_continue), data_of<double>(row_stats),
               data_of<float>(grad_logits), data_of<float>(grad_q));
  }

  void readout_backward(const Shapes& shapes, int64_t batch, const HeadWeights& weights, const Tensor& z_h,
                        const Tensor& grad_logits, const Tensor& grad_q, const HeadWeights& grads,
                        const Tensor& grad_z) override {
    cuda::readout_backward(*device_, format_, shapes, batch, norm_eps_, weight(weights.lm), weight(weights.q),
                           state(z_h), data_of<float>(grad_logits), data_of<float>(grad_q), data_of<float>(grads.lm),
                           data_of<float>(grads.q), data_of<float>(grads.q_bias), state(grad_z).x,
                           slot(kWork, readout_backward_workspace(*device_, shapes, batch)));
  }

  // Backwards through norm(mid + swiglu(mid)), then norm(x + attention(x)); g is the gradient of what is left.
  void block_backward(const BlockParams& params, int64_t batch, const BlockWeights& weights, const BlockTape& kept,
                      const Tensor& grad, const BlockWeights& grads) override {
    const BlockSizes sizes = sizes_of(params.shapes, batch);
    const auto& tape = static_cast<const Tape&>(kept);
    const int64_t rows = sizes.rows(), D = sizes.D, F = sizes.F;
    void* g = state(grad).x;
    void* grad_gate_up = scratch(kGateUp, sizes, 2 * F);
    void* hidden = scratch(kHidden, sizes, F);
    void* grad_attention = scratch(kAttention, sizes, D);
    void* grad_qkv = scratch(kQkv, sizes, 3 * D);
    const auto weight_grad = [&](int64_t N, int64_t K, const void* grad_out, const void* in, const Tensor& into) {
      weight_gradient(*device_, format_, rows, N, K, grad_out, in, data_of<float>(into),
                      slot(kWork, weight_gradient_workspace(*device_, format_, rows, N, K)));
    };
    const auto input_grad = [&](int64_t K, const void* grad_out, const Tensor& through, const void* addend,
                                void* into) {
      input_gradient(*device_, format_, rows, K, D, grad_out, weight(through), addend, into);
    };

    cuda::norm_backward(*device_, format_, sizes, tape.out->as(), tape.out_rstd->as<float>(), g, g);
    swiglu_input_gradient(*device_, format_, sizes, g, weight(weights.down), tape.gate_up->as(), grad_gate_up, hidden);
    weight_grad(D, F, g, hidden, grads.down);
    weight_grad(2 * F, D, grad_gate_up, tape.mid->as(), grads.gate_up);
    input_grad(2 * F, grad_gate_up, weights.gate_up, g, g);

    cuda::norm_backward(*device_, format_, sizes, tape.mid->as(), tape.mid_rstd->as<float>(), g, g);
    weight_grad(D, D, g, tape.attention->as(), grads.o);
    input_grad(D, g, weights.o, nullptr, grad_attention);
    attention_backward(*device_, format_, sizes, tape.qkv->as(), tape.attention->as(), tape.log_sums->as<float>(),
                       grad_attention, rope_table(params), grad_qkv,
                       slot(kWork, attention_backward_workspace(*device_, format_, sizes)));
    weight_grad(3 * D, D, grad_qkv, tape.entry->as(), grads.qkv);
    input_grad(3 * D, grad_qkv, weights.qkv, g, g);
  }

  void embed_backward(const Shapes& shapes, int64_t batch, const Tensor& tokens, const Tensor& grad_x,
                      const EmbedWeights& grads, const Tensor& grad_puzzle_rows) override {
    cuda::embed_backward(*device_, format_, shapes, batch, data_of<int32_t>(tokens), state(grad_x).x,
                         data_of<float>(grads.tokens), data_of<float>(grads.positions),
                         data_of<float>(grad_puzzle_rows),
                         slot(kWork, embed_backward_workspace(*device_, shapes, batch)));
  }

  void add(const Tensor& sum, const Tensor& term) override {
    cuda::add(*device_, static_cast<int64_t>(sum->count), data_of<float>(sum), data_of<float>(term));
  }

  // --- optimisers ---------------------------------------------------------------------------------------------
  void sum_squares(const Tensor& tensor, const Tensor& sums, size_t index) override {
    cuda::sum_squares(*device_, static_cast<int64_t>(tensor->count), data_of<float>(tensor),
                      data_of<double>(sums) + index, slot(kWork, sum_squares_workspace()));
  }

  void guard(const Tensor& sums, const Tensor& row_stats, const Tensor& hyper) override {
    cuda::guard(*device_, static_cast<int64_t>(sums->count), data_of<double>(sums),
                static_cast<int64_t>(row_stats->count), data_of<double>(row_stats), data_of<double>(hyper));
  }

  void adam_atan2(const AdamParams& params, const Tensor& hyper, const Tensor& weight, const Tensor& grad,
                  const Tensor& m, const Tensor& v) override {
    cuda::adam_atan2(*device_, params, data_of<double>(hyper), static_cast<int64_t>(weight->count),
                     data_of<float>(weight), data_of<float>(grad), data_of<float>(m), data_of<float>(v),
                     rounded_of(weight));
  }

  void sign_sgd(int64_t batch, int64_t width, double weight_decay, const Tensor& hyper, const Tensor& table,
                const Tensor& ids, const Tensor& grad_rows) override {
    cuda::sign_sgd(*device_, batch, width, weight_decay, data_of<double>(hyper), data_of<float>(table),
                   data_of<int32_t>(ids), data_of<float>(grad_rows));
  }

  void ema(const Tensor& hyper, const Tensor& average, const Tensor& weight) override {
    cuda::ema(*device_, data_of<double>(hyper), static_cast<int64_t>(average->count), data_of<float>(average),
              data_of<float>(weight), rounded_of(average));
  }

 private:
  Piece memory(size_t bytes) { return std::make_shared<Memory>(place_, std::max<size_t>(bytes, 1)); }

  /// Whether the body has yet to be issued once.
  bool first_use(std::unique_ptr<Recording>& recording) {
    if (recording) return false;
    recording = std::make_unique<CudaRecording>(place_);
    return true;
  }

  /// The graph of a body, from `end` where it is not captured yet.
  template <typename End>
  Graph& captured(const std::unique_ptr<Recording>& recording, const std::function<void()>& body, const End& end) {
    auto& kept = static_cast<CudaRecording&>(*recording);
    if (!kept.graph) {
      device_->begin_capture();
      try {
        body();
        kept.graph = end();
      } catch (...) {
        device_->abandon_capture();
        throw;
      }
      kept.slots = slots_;
    }
    return *kept.graph;
  }

  /// Shared memory of at least this size. A recording keeps what it was captured with.
  void* slot(Slot which, size_t bytes) {
    Piece& piece = slots_[which];
    if (!piece || piece->bytes() < bytes) piece = memory(bytes);
    return piece->as();
  }
  void* scratch(Slot which, const BlockSizes& sizes, int64_t width) {
    return slot(which, static_cast<size_t>(sizes.rows() * width) * cuda::size_of(format_));
  }
  static size_t norm_sums(const BlockSizes& sizes) { return static_cast<size_t>(sizes.rows() * sizes.D / kNormGroup); }

  static const ActivationStorage* activations(const Tensor& tensor) {
    return dynamic_cast<const ActivationStorage*>(tensor.get());
  }
  static Activation state(const Tensor& tensor) { return static_cast<const ActivationStorage&>(*tensor).rows(); }

  BlockSizes sizes_of(const Shapes& shapes, int64_t batch) const {
    return {batch, shapes.S(), shapes.D, shapes.NH, shapes.F, norm_eps_};
  }

  /// A weight as kernels read it.
  const void* weight(const Tensor& tensor) {
    auto& storage = static_cast<PlainStorage&>(*tensor);
    if (format_ == Format::f32) return storage.data();
    if (!storage.rounded) {
      storage.rounded = memory(storage.count * cuda::size_of(Format::bf16));
      refresh(tensor);
    }
    return storage.rounded->as();
  }
  static void* rounded_of(const Tensor& tensor) {
    const Piece& rounded = plain(tensor).rounded;
    return rounded ? rounded->as() : nullptr;
  }
  /// Brings the kernels' copy of a weight that was written up to date.
  void refresh(const Tensor& tensor) {
    if (void* rounded = rounded_of(tensor))
      round_to_bf16(*device_, static_cast<int64_t>(tensor->count), data_of<float>(tensor), rounded);
  }

  /// cos and sin of position * theta^(-2i / head size); frequencies and angles are rounded to float, as officially
  /// (models/layers.py RotaryEmbedding).
  RopeTable rope_table(const BlockParams& params) {
    if (!params.rope) return {nullptr, nullptr};
    const int64_t positions = params.shapes.S(), half = params.shapes.HS() / 2;
    if (positions != rope_positions_ || half != rope_half_ || params.rope_theta != rope_theta_) {
      std::vector<float> table(static_cast<size_t>(2 * positions * half));
      for (int64_t i = 0; i < half; ++i) {
        const float exponent = static_cast<float>(i) / static_cast<float>(half);
        const float frequency = 1 / std::pow(static_cast<float>(params.rope_theta), exponent);
        for (int64_t s = 0; s < positions; ++s) {
          const float angle = static_cast<float>(s) * frequency;
          table[static_cast<size_t>(s * half + i)] = std::cos(angle);
          table[static_cast<size_t>((positions + s) * half + i)] = std::sin(angle);
        }
      }
      rope_ = memory(table.size() * sizeof(float));
      device_->upload(rope_->as(), table.data(), rope_->bytes());
      rope_positions_ = positions;
      rope_half_ = half;
      rope_theta_ = params.rope_theta;
    }
    return {rope_->as<float>(), rope_->as<float>() + positions * half};
  }

  const std::shared_ptr<Place> place_;
  Device* const device_;
  const Format format_;
  std::array<Piece, kSlots> slots_;
  float norm_eps_ = 1e-5f;  // of the norms that are pending: that of the last block
  Piece rope_;              // [2, S, head size / 2] f32: cosines, then sines
  int64_t rope_positions_ = 0, rope_half_ = 0;
  double rope_theta_ = 0;
};

}  // namespace
}  // namespace cuda

CudaInfo cuda_info() {
  CudaInfo info;
  const cuda::DeviceList list = cuda::list_devices();
  info.reason = list.reason;
  info.unusable = list.unusable;
  for (const cuda::DeviceInfo& device : list.devices)
    info.devices.push_back({device.name, std::to_string(device.major) + "." + std::to_string(device.minor),
                            device.multiprocessors, device.memory});
  return info;
}

namespace {

cuda::Format format_of(Precision precision) {
  if (precision != Precision::bf16 && precision != Precision::fp32)
    throw Error("ERR_HRM_NO_DEVICE",
                "[cuda] expected precision bf16 or fp32, got another; use one of these or device 'cpu'");
  return precision == Precision::bf16 ? cuda::Format::bf16 : cuda::Format::f32;
}

}  // namespace

double cuda_peak_gflops(int index, Precision precision, double milliseconds) {
  const cuda::Format format = format_of(precision);
  cuda::Device device(index);
  return cuda::multiply_add_gflops(device, format, milliseconds);
}

std::unique_ptr<Backend> make_cuda_backend(int index, Precision precision) {
  return std::make_unique<cuda::CudaBackend>(index, format_of(precision));
}

}  // namespace hrm
