#include "core/carry.h"

#include <string>
#include <utility>

#include "core/error.h"
#include "core/initialiser.h"
#include "core/philox.h"
#include "core/real_values.h"

namespace hrm {

Carry::Carry(const Model& model, int64_t batch, bool labelled)
    : model_(model), capacity_(batch), states_(model.allocate_states(batch)) {
  Backend& backend = model.backend();
  const auto rows = static_cast<size_t>(batch);
  const size_t tokens = rows * static_cast<size_t>(model.shapes().T);
  steps_ = backend.allocate(DType::i32, rows);
  halted_ = backend.allocate(DType::u8, rows);
  inputs_ = backend.allocate(DType::i32, tokens);
  if (labelled) labels_ = backend.allocate(DType::i32, tokens);
  puzzle_ids_ = backend.allocate(DType::i32, rows);
  next_inputs_ = backend.allocate(DType::i32, tokens);
  if (labelled) next_labels_ = backend.allocate(DType::i32, tokens);
  next_puzzle_ids_ = backend.allocate(DType::i32, rows);
  set_halted(std::vector<uint8_t>(rows, 1));
}

void Carry::stage(const Batch& next) {
  Backend& backend = model_.backend();
  backend.upload(next_inputs_, next.inputs.data(), 0, next.inputs.size());
  backend.upload(next_puzzle_ids_, next.puzzle_ids.data(), 0, next.puzzle_ids.size());
  if (!next.labels.empty()) backend.upload(next_labels_, next.labels.data(), 0, next.labels.size());
}

void Carry::replace_halted(int64_t batch, bool labelled) {
  Backend& backend = model_.backend();
  const Shapes& shapes = model_.shapes();
  backend.reset_halted(shapes, batch, halted_, model_.init_h(), model_.init_l(), states_.h, states_.l, steps_);
  backend.replace_halted(batch, shapes.T, halted_, next_inputs_, inputs_);
  backend.replace_halted(batch, 1, halted_, next_puzzle_ids_, puzzle_ids_);
  if (labelled) backend.replace_halted(batch, shapes.T, halted_, next_labels_, labels_);
}

void Carry::add_noise(int64_t slot, const StartNoise& noise) {
  Backend& backend = model_.backend();
  const auto hidden = static_cast<size_t>(model_.shapes().D);
  const size_t count = static_cast<size_t>(model_.shapes().S()) * hidden;
  uint64_t drawn = 0;
  for (const auto& [start, states] : {std::pair{model_.init_h(), states_.h}, {model_.init_l(), states_.l}}) {
    const std::vector<double> vector = download_real(backend, start, hidden);
    std::vector<double> values(count);
    PhiloxWords words{};
    for (size_t i = 0; i < count; ++i, ++drawn) {
      if (drawn % 4 == 0) words = philox_draw(noise.seed, PhiloxStream::start_noise, noise.run, drawn / 4);
      values[i] = vector[i % hidden] + noise.sigma * normal_from_word(words[drawn % 4]);
    }
    upload_real(backend, values, states, static_cast<size_t>(slot) * count);
  }
}

void Carry::set_halted(const std::vector<uint8_t>& flags) {
  model_.backend().upload(halted_, flags.data(), 0, flags.size());
}

void Carry::compact(std::span<const int32_t> keep) {
  Backend& backend = model_.backend();
  const Shapes& shapes = model_.shapes();
  backend.compact_rows(keep, shapes.S() * shapes.D, states_.h);
  backend.compact_rows(keep, shapes.S() * shapes.D, states_.l);
  backend.compact_rows(keep, 1, steps_);
  backend.compact_rows(keep, 1, halted_);
  backend.compact_rows(keep, shapes.T, inputs_);
  backend.compact_rows(keep, 1, puzzle_ids_);
  if (labels_) backend.compact_rows(keep, shapes.T, labels_);
}

std::vector<NamedTensor> Carry::tensors() const {
  const Shapes& shapes = model_.shapes();
  const int64_t B = capacity_;
  std::vector<NamedTensor> named = {{"carry.z_H", {B, shapes.S(), shapes.D}, states_.h},
                                    {"carry.z_L", {B, shapes.S(), shapes.D}, states_.l},
                                    {"carry.steps", {B}, steps_},
                                    {"carry.halted", {B}, halted_},
                                    {"carry.inputs", {B, shapes.T}, inputs_},
                                    {"carry.puzzle_identifiers", {B}, puzzle_ids_}};
  if (labels_) named.push_back({"carry.labels", {B, shapes.T}, labels_});
  return named;
}

void check_batch(const Model& model, const Batch& batch, int64_t rows, bool labelled) {
  const Shapes& shapes = model.shapes();
  const auto expect_size = [&](const char* what, size_t got, int64_t expected) {
    if (got != static_cast<size_t>(expected))
      throw Error("ERR_HRM_SHAPE", std::string("[batch] expected ") + std::to_string(expected) + " " + what + " for " +
                                       std::to_string(rows) + " rows, got " + std::to_string(got));
  };
  const auto expect_below = [&](const char* what, const std::vector<int32_t>& values, int64_t low, int64_t high) {
    for (size_t i = 0; i < values.size(); ++i)
      if (values[i] < low || values[i] >= high)
        throw Error("ERR_HRM_ARGUMENT", std::string("[batch] expected ") + what + " between " + std::to_string(low) +
                                            " and " + std::to_string(high - 1) + ", got " + std::to_string(values[i]) +
                                            " at index " + std::to_string(i));
  };
  expect_size("inputs", batch.inputs.size(), rows * shapes.T);
  expect_size("puzzle ids", batch.puzzle_ids.size(), rows);
  expect_below("input tokens", batch.inputs, 0, shapes.V);
  expect_below("puzzle ids", batch.puzzle_ids, 0, model.config().num_puzzle_identifiers);
  if (!labelled) return;
  expect_size("labels", batch.labels.size(), rows * shapes.T);
  expect_below("labels", batch.labels, INT32_MIN, shapes.V);
}

}  // namespace hrm
