#include <limits>

#include "cpu/reference/halting.h"
#include "test/cuda/activation_rows.h"

namespace hrm::cuda::test {
namespace {

std::vector<uint8_t> flags(Test& test, int64_t batch) {
  std::vector<uint8_t> halted;
  for (int64_t b = 0; b < batch; ++b) halted.push_back(static_cast<uint8_t>(test.integer(0, 1)));
  return halted;
}

std::vector<int32_t> integers(Test& test, int64_t count, int64_t low, int64_t high) {
  std::vector<int32_t> values;
  for (int64_t i = 0; i < count; ++i) values.push_back(static_cast<int32_t>(test.integer(low, high)));
  return values;
}

}  // namespace

KERNEL_TEST("reset_halted: halted sequences alone begin anew") {
  for (const Format format : {Format::bf16, Format::f32})
    for (const int64_t D : {32, 96, 192}) {
      const int64_t batch = 7, S = 11;
      const ActivationRows h(test, format, batch * S, D), l(test, format, batch * S, D);
      const std::vector<uint8_t> halted = flags(test, batch);
      const std::vector<float> init_h = test.normal(static_cast<size_t>(D)),
                               init_l = test.normal(static_cast<size_t>(D));
      const std::vector<int32_t> before = integers(test, batch, 1, 16);
      const Activation z_h = h.in_out(test, format), z_l = l.in_out(test, format);
      int32_t* steps = test.in_out(before);
      BlockSizes sizes = h.sizes();
      sizes.batch = batch;
      sizes.S = S;
      reset_halted(test.device(), format, sizes, test.input(halted), test.input(init_h), test.input(init_l), z_h, z_l,
                   steps);
      const auto expect = [&](const std::string& name, ActivationRows rows, const std::vector<float>& init,
                              Activation z) {
        reference::reset_state(batch, S, D, halted.data(), Test::rounded(format, init).data(), rows.x.data());
        const std::vector<float> final(static_cast<size_t>(D / kNormGroup), -1.0f);
        reference::reset_state(batch, S, D / kNormGroup, halted.data(), final.data(), rows.sums.data());
        test.equal(name_of(format) + " " + name, test.read(format, z.x), rows.x);
        test.equal(name_of(format) + " sums of " + name, test.read(z.sums), rows.sums);
      };
      expect("z_h", h, init_h, z_h);
      expect("z_l", l, init_l, z_l);
      std::vector<int32_t> after = before;
      for (size_t b = 0; b < after.size(); ++b)
        if (halted[b]) after[b] = 0;
      test.equal("steps", test.read(steps), after);
      test.finish();
    }
}

KERNEL_TEST("replace_halted: halted rows alone get the next data") {
  for (const int64_t width : {1, 5, 81}) {
    const int64_t batch = 37;
    const std::vector<uint8_t> halted = flags(test, batch);
    const std::vector<int32_t> next = integers(test, batch * width, 0, 99),
                               old = integers(test, batch * width, -99, -1);
    int32_t* current = test.in_out(old);
    replace_halted(test.device(), batch, width, test.input(halted), test.input(next), current);
    std::vector<int32_t> expected = old;
    for (size_t i = 0; i < old.size(); ++i)
      if (halted[i / static_cast<size_t>(width)]) expected[i] = next[i];
    test.equal("width " + std::to_string(width), test.read(current), expected);
    test.finish();
  }
}

KERNEL_TEST("explore: the draws of the CPU") {
  for (const int64_t max_steps : {2, 3, 16})
    for (const float probability : {0.0f, 0.1f, 0.5f, 1.0f}) {
      const int64_t batch = 300;
      const uint64_t seed = 0x123456789abcdefu;
      std::vector<double> hyper(kHyperCount);
      hyper[kStep] = 4294967301.0;  // beyond 32 bits
      int32_t* min_steps = test.output<int32_t>(batch);
      explore(test.device(), batch, seed, probability, max_steps, test.input(hyper), min_steps);
      std::vector<int32_t> expected(batch);
      reference::explore(batch, seed, probability, max_steps, 4294967301u, expected.data());
      test.equal("of " + std::to_string(max_steps) + " with " + std::to_string(probability), test.read(min_steps),
                 expected);
      test.finish();
    }
}

KERNEL_TEST("halt: both rules, in training and evaluation") {
  const int64_t batch = 301;
  for (const HaltRule rule : {HaltRule::over_continue, HaltRule::positive})
    for (const int64_t max_steps : {1, 16})
      for (const bool drawn : {true, false}) {
        std::vector<float> q = test.normal(static_cast<size_t>(2 * batch));
        q[4] = q[5] = 0.5f;  // a tie does not halt
        q[6] = 0;
        q[8] = std::numeric_limits<float>::quiet_NaN();
        const std::vector<int32_t> steps = integers(test, batch, 0, max_steps - 1);
        std::vector<int32_t> min_steps = integers(test, batch, 0, max_steps);
        int32_t* steps_buffer = test.in_out(steps);
        uint8_t* halted = test.output<uint8_t>(batch);
        halt(test.device(), batch, max_steps, rule, test.input(q), drawn ? test.input(min_steps) : nullptr,
             steps_buffer, halted);
        std::vector<int32_t> expected_steps = steps;
        std::vector<uint8_t> expected(batch);
        reference::halt(batch, max_steps, rule, q.data(), drawn ? min_steps.data() : nullptr, expected_steps.data(),
                        expected.data());
        const std::string label = std::to_string(max_steps) + (drawn ? " drawn" : " evaluation");
        test.equal("halted of " + label, test.read(halted), expected);
        test.equal("steps of " + label, test.read(steps_buffer), expected_steps);
        test.finish();
      }
}

KERNEL_TEST("q_continue_target: the better value, at the last step that of halting") {
  const int64_t batch = 257;
  const std::vector<float> q = test.normal(static_cast<size_t>(2 * batch), 3.0);
  const std::vector<int32_t> steps = integers(test, batch, 1, 16);
  float* target = test.output<float>(batch);
  q_continue_target(test.device(), batch, 16, test.input(q), test.input(steps), target);
  std::vector<double> expected(batch);
  reference::q_continue_target(batch, 16, doubles(q).data(), steps.data(), expected.data());
  test.near("targets", test.read(target), expected, kFloatLimit);
}

KERNEL_TEST("gather_bytes: rows of any width and alignment") {
  for (const size_t bytes : {1, 4, 6, 16, 20, 192})
    for (const size_t shift : {0, 1}) {
      std::vector<uint8_t> source, before(9 * bytes + shift, 7);
      for (size_t i = 0; i < 40 * bytes + shift; ++i) source.push_back(static_cast<uint8_t>(test.integer(0, 255)));
      const std::vector<int32_t> keep = {0, 3, 4, 8, 9, 17, 30, 38, 39};
      uint8_t* target = test.in_out(before);
      gather_bytes(test.device(), static_cast<int64_t>(keep.size()), static_cast<int64_t>(bytes), test.input(keep),
                   test.input(source) + shift, target + shift);
      std::vector<uint8_t> expected = before;
      for (size_t i = 0; i < keep.size(); ++i)
        for (size_t k = 0; k < bytes; ++k)
          expected[shift + i * bytes + k] = source[shift + static_cast<size_t>(keep[i]) * bytes + k];
      test.equal(std::to_string(bytes) + " bytes from " + std::to_string(shift) + " on", test.read(target), expected);
      test.finish();
    }
}

}  // namespace hrm::cuda::test
