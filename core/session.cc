#include "core/session.h"

#include <cmath>
#include <numeric>
#include <string>

#include "core/error.h"
#include "core/real_values.h"

namespace hrm {

namespace {

/// |after - before| / |after| of each of `rows` rows, L2 norms over the row.
std::vector<double> relative_change(const std::vector<double>& before, const std::vector<double>& after, size_t rows) {
  const size_t width = after.size() / rows;
  std::vector<double> change(rows);
  for (size_t b = 0; b < rows; ++b) {
    double moved = 0, size = 0;
    for (size_t i = b * width; i < (b + 1) * width; ++i) {
      moved += (after[i] - before[i]) * (after[i] - before[i]);
      size += after[i] * after[i];
    }
    change[b] = moved > 0 ? std::sqrt(moved / size) : 0;
  }
  return change;
}

}  // namespace

Session::Session(const Model& model, int64_t capacity)
    : model_(model), backend_(model.backend()), carry_(model, capacity, true) {
  const Shapes& s = model.shapes();
  const DType real = backend_.real();
  const auto allocate = [&](DType dtype, int64_t count) {
    return backend_.allocate(dtype, static_cast<size_t>(count));
  };
  if (s.E > 0) puzzle_rows_ = allocate(real, capacity * s.E);
  x_ = backend_.allocate_activations(s, capacity);
  logits_ = allocate(real, capacity * s.T * s.V);
  q_ = allocate(real, capacity * 2);
  predictions_ = allocate(DType::i32, capacity * s.T);
  row_stats_ = allocate(DType::f64, capacity * kRowStats);
  limits_ = allocate(DType::i32, capacity);
  adaptive_ = allocate(DType::u8, capacity);
  again_ = allocate(DType::u8, 1);
}

SegmentResult Session::segment(const SegmentRequest& request) {
  const Shapes& s = model_.shapes();
  const int64_t n = request.rows;
  const bool labelled = !request.batch.labels.empty();
  if (n < 1 || n > carry_.capacity())
    throw Error("ERR_HRM_SHAPE",
                "[segment] expected 1 to " + std::to_string(carry_.capacity()) + " rows, got " + std::to_string(n));
  if (request.reset.size() != static_cast<size_t>(n))
    throw Error("ERR_HRM_SHAPE", "[segment] expected " + std::to_string(n) + " reset flags, got " +
                                     std::to_string(request.reset.size()));
  check_batch(model_, request.batch, n, labelled);
  if (!request.noise.empty() && request.noise.size() != static_cast<size_t>(n))
    throw Error("ERR_HRM_SHAPE", "[segment] expected noise for " + std::to_string(n) + " rows, got " +
                                     std::to_string(request.noise.size()));
  const bool looping = !request.limits.empty();
  const auto all_rows = static_cast<size_t>(n);
  if (looping &&
      (request.limits.size() != all_rows || request.adaptive.size() != all_rows || labelled || request.residual))
    throw Error("ERR_HRM_SHAPE", "[segment] expected limits and adaptive flags for " + std::to_string(n) +
                                     " rows, without labels and residual, got others");
  constexpr int32_t kMostSegments = 65536;
  for (const int32_t limit : request.limits)
    if (limit < 1 || limit > kMostSegments)
      throw Error("ERR_HRM_ARGUMENT", "[segment] expected limits of 1 to " + std::to_string(kMostSegments) +
                                          " segments, got " + std::to_string(limit));
  int64_t kept = rows_;
  if (request.keep) {
    int64_t previous = -1;
    for (const int32_t slot : *request.keep) {
      if (slot <= previous || slot >= rows_)
        throw Error("ERR_HRM_ARGUMENT", "[segment] expected ascending slots below " + std::to_string(rows_) +
                                            " to keep, got " + std::to_string(slot));
      previous = slot;
    }
    kept = static_cast<int64_t>(request.keep->size());
  }
  for (int64_t b = kept; b < n; ++b)
    if (!request.reset[static_cast<size_t>(b)])
      throw Error("ERR_HRM_ARGUMENT",
                  "[segment] expected slot " + std::to_string(b) + " to be reset, as it was not in use; got reset = 0");

  rows_ = 0;  // should this segment fail, every slot starts afresh
  if (request.keep) carry_.compact(*request.keep);
  carry_.stage(request.batch);
  carry_.set_halted(request.reset);
  if (!request.noise.empty() || request.residual || looping) {
    carry_.replace_halted(n, labelled);
    carry_.set_halted(std::vector<uint8_t>(static_cast<size_t>(n), 0));
  }
  for (size_t b = 0; b < request.noise.size(); ++b)
    if (request.reset[b] && request.noise[b].sigma > 0) carry_.add_noise(static_cast<int64_t>(b), request.noise[b]);
  const States& z = carry_.states();
  const auto rows = static_cast<size_t>(n);
  const size_t state_count = rows * static_cast<size_t>(s.S() * s.D);
  const std::vector<double> before =
      request.residual ? download_real(backend_, z.h, state_count) : std::vector<double>();
  if (looping) {
    backend_.upload(limits_, request.limits.data(), 0, all_rows);
    backend_.upload(adaptive_, request.adaptive.data(), 0, all_rows);
    backend_.record_while(loops_[n], again_, [&] {
      think_once(n, false);
      backend_.none_done(n, model_.config().halt_rule(), q_, carry_.steps(), limits_, adaptive_, again_);
    });
  } else {
    backend_.record(segments_[{n, labelled}], [&] {
      carry_.replace_halted(n, labelled);
      think_once(n, labelled);
    });
  }

  rows_ = n;
  SegmentResult result;
  result.tokens.resize(rows * static_cast<size_t>(s.T));
  backend_.download(predictions_, result.tokens.data(), 0, result.tokens.size());
  result.steps.resize(rows);
  backend_.download(carry_.steps(), result.steps.data(), 0, rows);
  const std::vector<double> q = download_real(backend_, q_, rows * 2);
  for (size_t b = 0; b < rows; ++b) {
    result.q_halt.push_back(static_cast<float>(q[2 * b]));
    result.q_continue.push_back(static_cast<float>(q[2 * b + 1]));
  }
  if (request.residual) result.residual = relative_change(before, download_real(backend_, z.h, state_count), rows);
  if (labelled) {
    result.row_stats.resize(rows * kRowStats);
    backend_.download(row_stats_, result.row_stats.data(), 0, result.row_stats.size());
  }
  return result;
}

void Session::think_once(int64_t n, bool labelled) {
  const Shapes& s = model_.shapes();
  const ModelConfig& config = model_.config();
  const States& z = carry_.states();
  if (s.E > 0) backend_.gather_rows(n, s.E, model_.puzzle_table(), carry_.puzzle_ids(), puzzle_rows_);
  model_.embed(n, carry_.inputs(), puzzle_rows_, x_);
  model_.think(n, z, x_);
  model_.last_update(n, z, x_, nullptr);
  model_.readout(n, z.h, logits_, q_);
  backend_.argmax(s, n, logits_, predictions_);
  backend_.halt(n, config.halt_max_segments, config.halt_rule(), q_, {}, carry_.steps(), carry_.halted());
  if (labelled) backend_.loss(s, n, config.loss_type, 1, logits_, q_, carry_.labels(), {}, row_stats_, {}, {});
}

std::vector<NamedTensor> Session::trace_tensors() const {
  const Shapes& s = model_.shapes();
  const int64_t B = carry_.capacity();
  std::vector<NamedTensor> named = carry_.tensors();
  named.push_back({"last.logits", {B, s.T, s.V}, logits_});
  named.push_back({"last.q_logits", {B, 2}, q_});
  return named;
}

}  // namespace hrm
