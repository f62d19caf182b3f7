#pragma once
// The one way from host code to a GPU: memory, launches, graphs. device_cudart.cu implements it with the CUDA runtime,
// host/device_host.cc by running the kernels on the CPU; a build links one of them.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace hrm::cuda {

/// What a build finds in a machine.
struct DeviceInfo {
  std::string name;          // "NVIDIA H200"
  int major = 0, minor = 0;  // compute capability
  int multiprocessors = 0;
  size_t shared_memory = 0;  // bytes a block can have
  size_t memory = 0;         // bytes
};

struct DeviceList {
  std::vector<DeviceInfo> devices;
  std::string reason;     // why there is none: no driver, too old a driver, no device visible, ...
  bool unusable = false;  // whether one is there that cannot be used, or a driver
};

/// Never throws for want of a driver or a device.
DeviceList list_devices();

/// Numbers of blocks and threads, and bytes of shared memory of one block.
struct Launch {
  unsigned blocks_x = 1, blocks_y = 1, blocks_z = 1;
  unsigned threads = 1;  // a multiple of 32, 1024 at most
  size_t shared = 0;
};

/// A sequence of launches and copies, to be replayed.
struct Graph {
  virtual ~Graph() = default;
};

/// One GPU with one stream; everything is done in the order of the calls. Used by one thread at a time. Every call
/// throws ERR_HRM_CUDA once the device is lost.
class Device {
 public:
  /// Throws ERR_HRM_NO_DEVICE, naming the reason, where there is no device of that index.
  explicit Device(int index);
  ~Device();
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  const DeviceInfo& info() const;
  size_t free_memory() const;

  /// Zero-filled, aligned to 256 bytes. Throws ERR_HRM_OUT_OF_MEMORY with the bytes needed and free.
  void* allocate(size_t bytes);
  void release(void* memory) noexcept;
  /// The source may change as soon as the call returns.
  void upload(void* target, const void* source, size_t bytes);
  /// Waits for all that was issued before.
  void download(void* target, const void* source, size_t bytes);
  /// Device to device. May be captured.
  void copy(void* target, const void* source, size_t bytes);
  void wait();

  /// Launches and copies between these two calls are kept instead of issued.
  void begin_capture();
  std::unique_ptr<Graph> end_capture();
  /// As end_capture(), for a graph that is run again as long as *again, on the device, is not 0 after it.
  std::unique_ptr<Graph> end_capture_loop(const uint8_t* again);
  /// Drops what was captured since begin_capture().
  void abandon_capture() noexcept;
  void replay(Graph& graph);

  /// Issues kernel(arguments...).
  template <typename... Parameters>
  void launch(const Launch& launch, void (*kernel)(Parameters...), std::type_identity_t<Parameters>... arguments) {
    static_assert((std::is_trivially_copyable_v<Parameters> && ...), "arguments are copied to the device");
    void* addresses[] = {static_cast<void*>(&arguments)..., nullptr};
    const auto call = [](const void* function, void** values) {
      const auto run = reinterpret_cast<void (*)(Parameters...)>(const_cast<void*>(function));
      apply(run, values, std::index_sequence_for<Parameters...>());
    };
    const size_t sizes[] = {sizeof(Parameters)..., 0};
    launch_kernel(launch, reinterpret_cast<const void*>(kernel), addresses, sizes, sizeof...(Parameters), call);
  }

 private:
  template <typename... Parameters, size_t... index>
  static void apply(void (*run)(Parameters...), void** values, std::index_sequence<index...>) {
    run(*static_cast<Parameters*>(values[index])...);
  }
  /// `call` runs one thread of the kernel on the host; a GPU has no use for it.
  void launch_kernel(const Launch& launch, const void* kernel, void** arguments, const size_t* sizes, size_t count,
                     void (*call)(const void* kernel, void** arguments));

  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace hrm::cuda
