// Rules of the programming model that kernels run on the CPU must not break unnoticed: one broken kernel each, over
// several orders of the threads. Not part of the executable for GPUs.

#include <cstdlib>
#include <string>

#include "core/error.h"
#include "cuda/primitives.h"
#include "test/cuda/harness.h"

namespace hrm::cuda::test {
namespace {

constexpr int kSeeds = 8;
constexpr uint32_t kAll = 0xffffffffu;

enum class Fault : int {
  none,
  no_wait,
  early_wait,
  no_barrier,
  no_second_barrier,
  barrier_of_some,
  two_barriers,
  return_before_barrier,
  shuffle_of_some,
  shuffle_from_outside_of_mask,
  two_shuffles,
  return_before_shuffle,
  write_past_shared,
  write_before_shared,
  copy_past_shared,
  copy_misaligned,
  source_misaligned,
  matrices_past_shared,
  matrices_misaligned,
  matrices_by_some,
  write_past_memory,
};

/// out[i] <- in[i rotated by one within the block] + 1, twice over: by cp.async, shared memory and barriers.
__global__ void rotate(Fault fault, const float* in, float* out) {
  auto* shared = shared_memory<float>();  // [2][threads]
  const unsigned threads = blockDim.x, thread = threadIdx.x, lane = thread % 32;
  if (fault == Fault::return_before_barrier && thread == 7) return;
  if (thread % 4 == 0) {
    const bool odd = fault == Fault::copy_misaligned || fault == Fault::source_misaligned;
    copy_async(shared + thread + (fault == Fault::copy_misaligned), in + thread + (fault == Fault::source_misaligned),
               !odd || thread == 0);
    copy_async_commit();
    if (fault == Fault::copy_past_shared) copy_async(shared + 2 * threads + thread, in + thread, true);
    if (fault == Fault::early_wait)
      copy_async_wait<1>();
    else if (fault != Fault::no_wait)
      copy_async_wait<0>();
  }
  if (fault == Fault::barrier_of_some) {
    if (thread % 64 != 3) __syncthreads();
  } else if (fault == Fault::two_barriers) {
    if (thread < 32)
      __syncthreads();
    else
      __syncthreads();
  } else if (fault != Fault::no_barrier) {
    __syncthreads();
  }
  float value = shared[(thread + 1) % threads];
  if (fault == Fault::write_past_shared && thread == 0) shared[2 * threads] = value;
  if (fault == Fault::write_before_shared && thread == 0) shared[-1] = value;
  shared[threads + thread] = value;
  if (fault != Fault::no_second_barrier) __syncthreads();
  value = shared[threads + (thread + 64) % threads] + 1;

  if (fault == Fault::return_before_shuffle && lane == 30) return;
  if (fault == Fault::shuffle_of_some) {
    if (lane < 20) value += 0 * __shfl_xor_sync(kAll, value, 1);
  } else if (fault == Fault::shuffle_from_outside_of_mask) {
    if (lane < 16) value += 0 * __shfl_sync(0xffffu, value, 20);
  } else if (fault == Fault::two_shuffles) {
    if (lane < 16)
      value += 0 * __shfl_xor_sync(kAll, value, 1);
    else
      value += 0 * __shfl_xor_sync(kAll, value, 1);
  } else {
    value += 0 * __shfl_xor_sync(kAll, value, 1);
  }

  uint32_t r[4];
  const auto* rows = reinterpret_cast<const uint16_t*>(shared);
  if (fault == Fault::matrices_past_shared) load_matrices(r, rows + lane * 8 + 4 * threads - 248);
  if (fault == Fault::matrices_misaligned) load_matrices(r, rows + lane * 8 + 1);
  if (fault == Fault::matrices_by_some && lane != 4) load_matrices(r, rows + lane * 8);
  const size_t past = fault == Fault::write_past_memory && thread == 0 ? threads + kSentinels : 0;
  out[thread + past] = value;
}

struct Expectation {
  Fault fault;
  const char* what;
  const char* message;  // a part of it; empty: the results are wrong
};

KERNEL_TEST("rules on the CPU") {
  constexpr unsigned threads = 96;
  const std::vector<float> in = test.normal(threads + 4);
  const auto run = [&](Fault fault, int seed) {
    setenv("HRM_CUDA_HOST_SEED", std::to_string(seed).c_str(), 1);
    Device device(0);
    unsetenv("HRM_CUDA_HOST_SEED");
    Test own(device, "rotate");
    float* out = own.output<float>(threads);
    device.launch({.threads = threads, .shared = 2 * threads * sizeof(float)}, rotate, fault, own.input(in), out);
    const std::vector<float> got = own.read(out);
    for (unsigned i = 0; i < threads; ++i)
      if (got[i] != in[((i + 64) % threads + 1) % threads] + 1) return false;
    return true;
  };
  const Expectation expectations[] = {
      {Fault::no_wait, "a copy that is not waited for", ""},
      {Fault::early_wait, "a wait for all but the group that is needed", ""},
      {Fault::no_barrier, "no barrier after copies", ""},
      {Fault::no_second_barrier, "no barrier between warps", ""},
      {Fault::barrier_of_some, "a barrier that some threads pass by", "barrier at host_rules.cu"},
      {Fault::two_barriers, "a barrier in either branch", "while another thread waits at that of host_rules.cu"},
      {Fault::return_before_barrier, "a thread that ends before a barrier", "reached by 95 of 96 threads"},
      {Fault::shuffle_of_some, "a shuffle that some lanes pass by", "waits for lanes that never reach it"},
      {Fault::shuffle_from_outside_of_mask, "a shuffle from a lane outside of its mask", "not in the mask"},
      {Fault::two_shuffles, "a shuffle in either branch", "of the same warp is in a shuffle"},
      {Fault::return_before_shuffle, "a lane that ends before a shuffle", "waits for lanes that never reach it"},
      {Fault::write_past_shared, "a write past the shared memory", "got one at byte 768"},
      {Fault::write_before_shared, "a write before the shared memory", "got one at byte -4"},
      {Fault::copy_past_shared, "a copy past the shared memory", "of 768 bytes of shared memory"},
      {Fault::copy_misaligned, "a copy to no multiple of 16 bytes", "not aligned to 16"},
      {Fault::source_misaligned, "a copy from no multiple of 16 bytes", "not aligned to 16"},
      {Fault::matrices_past_shared, "ldmatrix past the shared memory", "of 768 bytes of shared memory"},
      {Fault::matrices_misaligned, "ldmatrix from no multiple of 16 bytes", "not aligned to 16"},
      {Fault::matrices_by_some, "ldmatrix without one lane", "waits for lanes that never reach it"},
      {Fault::write_past_memory, "a write past the device memory", "bytes of device memory, got one at byte"},
  };
  for (int seed = 0; seed < kSeeds; ++seed) test.check("the kernel without a fault", run(Fault::none, seed) ? 0 : 1, 0);
  for (const Expectation& expectation : expectations) {
    int missed = 0;
    for (int seed = 0; seed < kSeeds; ++seed) {
      bool caught = false;
      try {
        caught = !run(expectation.fault, seed) && !*expectation.message;
      } catch (const Error& error) {
        caught = *expectation.message && error.code() == "ERR_HRM_CUDA" &&
                 std::string(error.what()).find(expectation.message) != std::string::npos;
      }
      missed += !caught;
    }
    test.check(expectation.what, missed, 0);
  }
}

KERNEL_TEST("launches that no device takes") {
  const auto launch = [&](const Launch& sizes) {
    Device device(0);
    device.launch(sizes, rotate, Fault::none, static_cast<const float*>(nullptr), static_cast<float*>(nullptr));
  };
  const std::string code = "ERR_HRM_CUDA";
  test.throws("too many threads", code, "got 1056", [&] { launch({.threads = 1056}); });
  test.throws("part of a warp", code, "got 48", [&] { launch({.threads = 48}); });
  test.throws("too much shared memory", code, "got 232449", [&] { launch({.threads = 32, .shared = 232449}); });
  test.throws("no blocks", code, "got 0, 1 and 1", [&] { launch({.blocks_x = 0, .threads = 32}); });
  test.throws("too many rows of blocks", code, "got 1, 65536 and 1",
              [&] { launch({.blocks_y = 65536, .threads = 32}); });
}

KERNEL_TEST("the end of memory and of the device") {
  setenv("HRM_CUDA_HOST_MEMORY", "1000", 1);
  setenv("HRM_CUDA_HOST_LOSE_AFTER", "2", 1);
  Device device(0);
  unsetenv("HRM_CUDA_HOST_MEMORY");
  unsetenv("HRM_CUDA_HOST_LOSE_AFTER");
  void* memory = device.allocate(800);
  test.throws("too little memory", "ERR_HRM_OUT_OF_MEMORY", "expected 201 free bytes on the device, got 200",
              [&] { device.allocate(201); });
  device.release(memory);
  auto* in = static_cast<float*>(device.allocate(400));
  auto* out = static_cast<float*>(device.allocate(384));
  const auto launch = [&] { device.launch({.threads = 96, .shared = 768}, rotate, Fault::none, in, out); };
  launch();
  launch();
  test.throws("a third launch", "ERR_HRM_CUDA", "the device was lost", launch);
  test.throws("a wait after that", "ERR_HRM_CUDA", "the device was lost", [&] { device.wait(); });
  test.throws("an allocation after that", "ERR_HRM_CUDA", "the device was lost", [&] { device.allocate(4); });
  device.release(in);
  device.release(out);
  setenv("HRM_CUDA_HOST_DEVICES", "0", 1);
  test.check("no device", list_devices().devices.empty() && !list_devices().reason.empty() ? 0 : 1, 0);
  test.throws("no device to take", "ERR_HRM_NO_DEVICE", "HRM_CUDA_HOST_DEVICES is 0", [] { Device none(0); });
  unsetenv("HRM_CUDA_HOST_DEVICES");
}

}  // namespace
}  // namespace hrm::cuda::test
