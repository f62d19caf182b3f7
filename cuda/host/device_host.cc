// Device as a pretended GPU: launches run on the CPU, at once and in order. For tests of the kernels and of all that
// issues them, on machines without a GPU. Read when a device is made or listed:
//   HRM_CUDA_HOST_DEVICES          number of devices (1)
//   HRM_CUDA_HOST_MEMORY           bytes of each (4 GiB)
//   HRM_CUDA_HOST_SHARED_MEMORY    bytes of a block (232448, compute capability 9.0; 101376 on 8.6, 8.9 and 12.0)
//   HRM_CUDA_HOST_MULTIPROCESSORS  (132)
//   HRM_CUDA_HOST_SEED             of the order in which threads run (0)
//   HRM_CUDA_HOST_LOSE_AFTER       launches until the device is lost (never)

#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include "core/error.h"
#include "cuda/device.h"
#include "cuda/host/block.h"
#include "cuda/host/warp.h"

namespace hrm::cuda {
namespace {

constexpr size_t kAlignment = 256;  // of memory, as cudaMalloc's
constexpr size_t kGuard = 1024;     // bytes on both sides of each allocation that nobody may write
constexpr unsigned kMostThreads = 1024;

uint64_t setting(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text && *text ? std::strtoull(text, nullptr, 10) : otherwise;
}

DeviceInfo pretended() {
  return {.name = "CPU in place of a GPU",
          .major = 9,
          .minor = 0,
          .multiprocessors = static_cast<int>(setting("HRM_CUDA_HOST_MULTIPROCESSORS", 132)),
          .shared_memory = setting("HRM_CUDA_HOST_SHARED_MEMORY", 232448),
          .memory = setting("HRM_CUDA_HOST_MEMORY", uint64_t{4} << 30)};
}

struct RecordedGraph : Graph {
  std::vector<std::function<void()>> commands;
  const uint8_t* again = nullptr;
};

/// As the caller sees them, `bytes` from `memory`; with guards on both sides inside of `whole`.
struct Allocation {
  void* whole;
  size_t bytes;
};

}  // namespace

DeviceList list_devices() {
  const uint64_t count = setting("HRM_CUDA_HOST_DEVICES", 1);
  if (count == 0) return {.devices = {}, .reason = "HRM_CUDA_HOST_DEVICES is 0", .unusable = true};
  return {.devices = std::vector<DeviceInfo>(count, pretended()), .reason = ""};
}

struct Device::State {
  DeviceInfo info = pretended();
  uint64_t seed = setting("HRM_CUDA_HOST_SEED", 0);
  uint64_t launches = 0, lose_after = setting("HRM_CUDA_HOST_LOSE_AFTER", UINT64_MAX);
  std::map<unsigned char*, Allocation> allocations;
  size_t used = 0;
  std::string lost;  // why, or empty
  std::optional<std::vector<std::function<void()>>> captured;

  ~State() {
    for (const auto& [memory, allocation] : allocations) std::free(allocation.whole);
  }

  void require(const char* op, bool may_be_captured = false) {
    if (!lost.empty()) throw Error("ERR_HRM_CUDA", lost);
    if (captured && !may_be_captured)
      throw Error("ERR_HRM_CUDA", "[" + std::string(op) + "] expected no capture, got one; do it before or after");
  }

  /// Writes of kernels beside the memory they were given are found here, and when it is released.
  void synchronise(const char* op) {
    require(op);
    for (const auto& [memory, allocation] : allocations) check_guards(memory, allocation);
    require(op);
  }

  void check_guards(const unsigned char* memory, const Allocation& allocation) {
    for (const unsigned char* guard : {memory - kGuard, memory + padded(allocation.bytes)})
      if (const std::ptrdiff_t at = host::first_not_poison(guard, kGuard); at >= 0 && lost.empty())
        lost = "[memory] expected writes within " + std::to_string(allocation.bytes) +
               " bytes of device memory, got one at byte " + std::to_string(guard + at - memory);
  }

  static size_t padded(size_t bytes) { return (bytes + 1) / 2 * 2; }

  void issue(std::function<void()> command) {
    if (captured)
      captured->push_back(std::move(command));
    else
      command();
  }

  void run(const Launch& launch, const std::function<void()>& thread) {
    if (launches == lose_after) lost = "[launch] the device was lost";
    require("launch");
    ++launches;
    try {
      host::run_grid(launch, seed + launches, thread);
    } catch (const Error& error) {
      lost = error.what();
      throw;
    }
  }
};

Device::Device(int index) {
  const DeviceList list = list_devices();
  if (index < 0 || static_cast<size_t>(index) >= list.devices.size())
    throw Error("ERR_HRM_NO_DEVICE",
                "[device] expected one of cuda:0 … cuda:" + std::to_string(static_cast<int>(list.devices.size()) - 1) +
                    ", got " + std::to_string(index) + (list.reason.empty() ? "" : ": " + list.reason));
  state_ = std::make_unique<State>();
}

Device::~Device() = default;

const DeviceInfo& Device::info() const { return state_->info; }

size_t Device::free_memory() const { return state_->info.memory - state_->used; }

void* Device::allocate(size_t bytes) {
  state_->require("allocate");
  const auto refuse = [&] {
    return Error("ERR_HRM_OUT_OF_MEMORY", "[allocate] expected " + std::to_string(bytes) +
                                              " free bytes on the device, got " + std::to_string(free_memory()) +
                                              "; use a smaller batch or model");
  };
  if (bytes > free_memory()) throw refuse();
  const size_t needed = State::padded(bytes) + 2 * kGuard + kAlignment;
  auto* whole = static_cast<unsigned char*>(std::calloc(needed, 1));
  if (!whole) throw refuse();
  unsigned char* memory = whole + kGuard;
  memory += -reinterpret_cast<uintptr_t>(memory) & (kAlignment - 1);
  host::poison(memory - kGuard, kGuard);
  host::poison(memory + State::padded(bytes), kGuard);
  state_->allocations[memory] = {whole, bytes};
  state_->used += bytes;
  return memory;
}

void Device::release(void* memory) noexcept {
  const auto found = state_->allocations.find(static_cast<unsigned char*>(memory));
  if (found == state_->allocations.end()) return;
  state_->check_guards(found->first, found->second);
  state_->used -= found->second.bytes;
  std::free(found->second.whole);
  state_->allocations.erase(found);
}

void Device::upload(void* target, const void* source, size_t bytes) {
  state_->require("upload");
  std::memcpy(target, source, bytes);
}

void Device::download(void* target, const void* source, size_t bytes) {
  state_->synchronise("download");
  std::memcpy(target, source, bytes);
}

void Device::copy(void* target, const void* source, size_t bytes) {
  state_->require("copy", true);
  state_->issue([=] { std::memmove(target, source, bytes); });
}

void Device::wait() { state_->synchronise("wait"); }

void Device::begin_capture() {
  state_->require("begin_capture");
  state_->captured.emplace();
}

std::unique_ptr<Graph> Device::end_capture() {
  state_->require("end_capture", true);
  auto graph = std::make_unique<RecordedGraph>();
  graph->commands = std::move(state_->captured.value());
  state_->captured.reset();
  return graph;
}

std::unique_ptr<Graph> Device::end_capture_loop(const uint8_t* again) {
  auto graph = end_capture();
  static_cast<RecordedGraph&>(*graph).again = again;
  return graph;
}

void Device::abandon_capture() noexcept { state_->captured.reset(); }

void Device::replay(Graph& graph) {
  state_->require("replay");
  const auto& recorded = static_cast<RecordedGraph&>(graph);
  do
    for (const auto& command : recorded.commands) command();
  while (recorded.again && *recorded.again != 0);
}

void Device::launch_kernel(const Launch& launch, const void* kernel, void** arguments, const size_t* sizes,
                           size_t count, void (*call)(const void* kernel, void** arguments)) {
  state_->require("launch", true);
  const auto refuse = [](const std::string& what) { return Error("ERR_HRM_CUDA", "[launch] expected " + what); };
  if (launch.threads == 0 || launch.threads > kMostThreads || launch.threads % 32 != 0)
    throw refuse("a multiple of 32 of at most 1024 threads, got " + std::to_string(launch.threads));
  if (launch.shared > info().shared_memory)
    throw refuse("at most " + std::to_string(info().shared_memory) + " bytes of shared memory, got " +
                 std::to_string(launch.shared));
  if (launch.blocks_x == 0 || launch.blocks_x > 0x7fffffffu || launch.blocks_y == 0 || launch.blocks_y > 65535 ||
      launch.blocks_z == 0 || launch.blocks_z > 65535)
    throw refuse("1 … 2147483647, 65535 and 65535 blocks, got " + std::to_string(launch.blocks_x) + ", " +
                 std::to_string(launch.blocks_y) + " and " + std::to_string(launch.blocks_z));
  std::vector<std::vector<std::max_align_t>> values;
  for (size_t i = 0; i < count; ++i) {
    auto& copy = values.emplace_back(sizes[i] / sizeof(std::max_align_t) + 1);
    std::memcpy(copy.data(), arguments[i], sizes[i]);
  }
  state_->issue([state = state_.get(), launch, kernel, call, values]() mutable {
    std::vector<void*> addresses;
    for (auto& value : values) addresses.push_back(value.data());
    state->run(launch, [&] { call(kernel, addresses.data()); });
  });
}

}  // namespace hrm::cuda
